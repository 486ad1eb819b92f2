/** from_overlay without a tunnel key (a test run cannot make one; test/netns has real tunnels). */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { privileged } from '../lib/privileged.ts';
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
