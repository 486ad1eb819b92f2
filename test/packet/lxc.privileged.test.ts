/** from_container: packet in, verdict and packet out, both families. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { mapSpecs } from '../../packages/abi/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { arpRequest, echo, eth, ip, tcp, udp } from './frame.ts';
import { Harness } from './program-run.ts';

const families = [
  {
    name: 'IPv4',
    client: '10.244.1.5',
    peer: '10.244.1.6',
    service: '10.96.0.10',
    empty: '10.96.0.11',
    remote: '10.244.2.7',
    stranger: '10.244.1.99',
    host: '172.30.0.11',
    bits: 120,
  },
  {
    name: 'IPv6',
    client: 'fd00:10:244:1::5',
    peer: 'fd00:10:244:1::6',
    service: 'fd00:10:96::a',
    empty: 'fd00:10:96::b',
    remote: 'fd00:10:244:2::7',
    stranger: 'fd00:10:244:1::99',
    host: 'fd00:172:30::11',
    bits: 64,
  },
] as const;

describe('from_container', privileged('bpf'), () => {
  const harness = new Harness('lxc.bpf.o', 'from_container');
  after(() => harness.close());
  for (const family of families) {
    harness.endpoint(family.client, 5);
    harness.endpoint(family.peer, 6);
    harness.endpoint(family.host, 0, 1);
    harness.service(family.service, 80, 6, family.bits, [[family.peer, 8080]]);
    harness.service(family.empty, 80, 6, family.bits + 1, []);
    harness.clusterPrefix(family.remote, family.bits, '172.30.0.12');

    test(`${family.name}: to a pod of this node it is redirected with that pod's MAC and one hop less`, () => {
      const result = harness.run(eth(ip(family.client, family.peer, tcp(1000, 80)), { sourceMac: 5 }));
      assert.equal(result.verdict, 'TC_ACT_REDIRECT');
      assert.equal(result.packet, `ee > 6, TCP ${family.client} > ${family.peer}, 1000 > 80, ttl 63`);
      assert.equal([...harness.map(mapSpecs.ct).keys()].length, 0, 'a plain flow makes no conntrack entry');
    });

    test(`${family.name}: another pod's source address is dropped with the reason`, () => {
      assert.deepEqual(
        harness.run(eth(ip(family.stranger, family.peer, tcp(1000, 80)), { sourceMac: 5 })).dropped,
        'DROP_INVALID_SIP',
      );
    });

    test(`${family.name}: another MAC is dropped with the reason`, () => {
      const result = harness.run(eth(ip(family.client, family.peer, tcp(1000, 80)), { sourceMac: 9 }));
      assert.deepEqual([result.verdict, result.dropped], ['TC_ACT_SHOT', 'DROP_INVALID_SMAC']);
    });

    test(`${family.name}: to the node itself it goes up the stack unchanged`, () => {
      const result = harness.run(
        eth(ip(family.client, family.host, echo(family.name === 'IPv4' ? 4 : 6, 7)), { sourceMac: 5 }),
      );
      assert.equal(result.verdict, 'TC_ACT_OK');
    });

    test(`${family.name}: to a pod of another node it enters the overlay`, () => {
      const result = harness.run(eth(ip(family.client, family.remote, udp(1000, 53)), { sourceMac: 5 }));
      assert.equal(result.verdict, 'TC_ACT_REDIRECT');
      assert.match(result.packet, /ttl 63$/);
    });

    test(`${family.name}: a ClusterIP becomes its backend, and the reply comes from the ClusterIP again`, () => {
      const request = harness.run(eth(ip(family.client, family.service, tcp(31_337, 80)), { sourceMac: 5 }));
      assert.equal(request.verdict, 'TC_ACT_REDIRECT');
      assert.equal(request.packet, `ee > 6, TCP ${family.client} > ${family.peer}, 31337 > 8080, ttl 63`);
      const reply = harness.run(eth(ip(family.peer, family.client, tcp(8080, 31_337, 'SYN,ACK')), { sourceMac: 6 }));
      assert.equal(reply.packet, `ee > 5, TCP ${family.service} > ${family.client}, 80 > 31337, ttl 63`);
      for (const key of harness.map(mapSpecs.ct).keys()) harness.map(mapSpecs.ct).remove(key);
    });

    test(`${family.name}: a service without backends answers port unreachable`, () => {
      const result = harness.run(
        eth(ip(family.client, family.empty, tcp(1000, 80, 'SYN', 'x'.repeat(family.name === 'IPv4' ? 16 : 36))), {
          sourceMac: 5,
        }),
      );
      assert.equal(result.verdict, 'TC_ACT_REDIRECT');
      const expected = family.name === 'IPv4' ? 'ICMP' : 'ICMPv6';
      const [type, code] = family.name === 'IPv4' ? [3, 3] : [1, 4];
      assert.equal(
        result.packet,
        `ee > 5, ${expected} ${family.empty} > ${family.client}, type ${type} code ${code} id 0, ttl 64`,
      );
    });

    test(`${family.name}: the last hop goes up the stack, which answers time exceeded`, () => {
      assert.equal(
        harness.run(eth(ip(family.client, family.peer, tcp(1000, 80), { ttl: 1 }), { sourceMac: 5 })).verdict,
        'TC_ACT_OK',
      );
    });

    test(`${family.name}: truncated packets are dropped, none gets through`, () => {
      const whole = eth(ip(family.client, family.peer, tcp(1000, 80)), { sourceMac: 5 });
      // The kernel itself refuses a test run whose IP header is cut.
      const header = family.name === 'IPv4' ? 34 : 54;
      for (const length of [header, header + 3, header + 12]) {
        const result = harness.run(whole.subarray(0, length));
        assert.deepEqual([result.verdict, result.dropped], ['TC_ACT_SHOT', 'DROP_INVALID'], `${length} bytes`);
      }
    });
  }

  test('ARP for any address is answered with the device of the node', () => {
    const result = harness.run(arpRequest('10.244.1.5', '10.244.1.1', 5));
    assert.equal(result.verdict, 'TC_ACT_REDIRECT');
    assert.equal(result.packet, 'ee > 5, ARP reply 10.244.1.1 is at ee');
  });

  test('ARP in the name of another pod is dropped', () => {
    assert.equal(harness.run(arpRequest('10.244.1.99', '10.244.1.1', 5)).dropped, 'DROP_INVALID_SIP');
  });

  test('a protocol that is not IP is dropped with the reason', () => {
    const frame = eth(Buffer.alloc(40), { type: 0x88cc, sourceMac: 5 });
    assert.equal(harness.run(frame).dropped, 'DROP_UNKNOWN_L3');
  });
});
