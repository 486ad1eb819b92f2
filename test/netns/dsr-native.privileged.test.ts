import { testDsr } from './dsr.ts';

const direct = { tcp: true, udp: true };

testDsr({
  name: 'native routing, option',
  routing: 'native',
  options: ['bpf-lb-mode=dsr'],
  direct,
  told: /which it knows by an IPv[46] (option|extension header) of this packet[\s\S]*by routing/,
});

testDsr({
  name: 'native routing, encapsulation',
  routing: 'native',
  options: ['bpf-lb-mode=dsr', 'bpf-lb-dsr-dispatch=ipip'],
  direct,
  told: /which it knows by this packet inside of another[\s\S]*by routing/,
});

testDsr({
  name: 'native routing, hybrid',
  routing: 'native',
  options: ['bpf-lb-mode=hybrid'],
  direct: { tcp: true, udp: false },
  told: /which it knows by an IPv[46] (option|extension header) of this packet/,
});
