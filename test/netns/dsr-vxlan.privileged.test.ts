import { testDsr } from './dsr.ts';

const direct = { tcp: true, udp: true };

testDsr({
  name: 'overlay, option',
  routing: 'vxlan',
  options: ['bpf-lb-mode=dsr'],
  direct,
  told: /\(DSR\), and its node answers as .*, which it knows by an IPv[46] (option|extension header) of this packet[\s\S]*by the overlay/,
});

testDsr({
  name: 'overlay, encapsulation where there is no overlay',
  routing: 'vxlan',
  options: ['bpf-lb-mode=dsr', 'bpf-lb-dsr-dispatch=ipip'],
  direct,
  told: /which it knows by an IPv[46] (option|extension header) of this packet[\s\S]*by the overlay/,
});

testDsr({
  name: 'overlay, hybrid',
  routing: 'vxlan',
  options: ['bpf-lb-mode=hybrid'],
  direct: { tcp: true, udp: false },
  told: /which it knows by an IPv[46] (option|extension header) of this packet/,
});
