/** from_overlay without a tunnel key (a test run cannot make one; test/netns has real tunnels), and to_container. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { mapSpecs } from '../../packages/abi/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { eth, ip, tcp } from './frame.ts';
import { Harness } from './program-run.ts';

const families = [
  { name: 'IPv4', pod: '10.244.1.5', remote: '10.244.2.7', service: '10.96.0.10', id: 4 },
  { name: 'IPv6', pod: 'fd00:10:244:1::5', remote: 'fd00:10:244:2::7', service: 'fd00:10:96::a', id: 6 },
] as const;

describe('from_overlay', privileged('bpf'), () => {
  const harness = new Harness('overlay.bpf.o', 'from_overlay');
  after(() => harness.close());
  for (const { name, pod, remote } of families) {
    harness.endpoint(pod, 5);
    test(`${name}: what did not come through a tunnel reaches no pod, whole or cut off`, () => {
      const whole = eth(ip(remote, pod, tcp(1000, 80)));
      for (const length of [whole.length, whole.length - 1, whole.length - 20]) {
        const result = harness.run(whole.subarray(0, length));
        assert.deepEqual([result.verdict, result.dropped], ['TC_ACT_SHOT', 'DROP_NO_TUNNEL_KEY'], `${length} bytes`);
      }
    });
  }
});

describe('to_container', privileged('bpf'), () => {
  const harness = new Harness('lxc.bpf.o', 'to_container');
  after(() => harness.close());
  for (const { name, pod, remote, service, id } of families) {
    const reply = eth(ip(remote, pod, tcp(8080, 1000, 'SYN,ACK')));
    harness.service(service, 80, 6, id, [[remote, 8080]]);

    test(`${name}: while nothing was translated at tc a packet passes as it is`, () => {
      harness.map(mapSpecs.datapath_state).put(0, { egressTracked: 0, ingressTracked: 0 });
      const result = harness.run(reply);
      assert.equal(result.verdict, 'TC_ACT_OK');
      assert.ok(result.bytes.equals(reply));
    });

    test(`${name}: the answer of a flow that was translated at tc comes from its frontend`, () => {
      harness.map(mapSpecs.datapath_state).put(0, { egressTracked: 1, ingressTracked: 0 });
      harness.map(mapSpecs.ct).put(
        { saddr: address(pod), daddr: address(remote), sport: 1000, dport: 8080, proto: 6, direction: 0 },
        {
          ...{ packets: 1n, bytes: 60n, expires: 0xffff_ffff, backendId: 0, peerIdentity: 0, revNatId: id },
          ...{ flags: 0, ifindex: 1, policyRevision: 0 },
        },
      );
      const result = harness.run(reply);
      assert.equal(result.verdict, 'TC_ACT_OK');
      assert.match(result.packet, new RegExp(`TCP ${service} > ${pod}, 80 > 1000`));
      const other = eth(ip(remote, pod, tcp(8080, 1001, 'SYN,ACK')));
      assert.ok(harness.run(other).bytes.equals(other), 'another flow is left alone');
    });
  }
});
