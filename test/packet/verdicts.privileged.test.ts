/** Which flows have a verdict event, and what it says. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ConfigFlags, EndpointFlags, EventType, mapSpecs, PolicyFlags } from '../../packages/abi/src/index.ts';
import { EventStream } from '../../packages/datapath/src/index.ts';
import { decodeEvent } from '../../packages/hubble/src/index.ts';
import type { MonitorEvent } from '../../packages/protocol/src/index.ts';
import { eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { eth, ip, tcp } from './frame.ts';
import { Harness } from './program-run.ts';

const { POLICY_DENY, POLICY_DEFAULT, POLICY_AUDIT, POLICY_LOG } = PolicyFlags;
const [client, server, group] = [5, 6, 7];
const addresses = { client: '10.244.1.5', server: '10.244.1.6' };

/** A rule for one port, as rule 100 + port. */
const rule = (port: number, flags: number) =>
  [
    { prefixlen: port === 0 ? 40 : 64, identity: 0, direction: 0, proto: port === 0 ? 0 : 6, dport: port },
    { ruleId: 100 + port, proxyPort: 0, flags, packets: 0n, bytes: 0n },
  ] as const;

for (const [name, flags, wanted] of [
  ['for what is denied, tried out or logged', 63, ['2 deny 102', '3 audit 103', '4 allow 104', '5 deny 100']],
  [
    'for every new flow where that is asked for',
    63 | ConfigFlags.CONFIG_POLICY_VERDICTS,
    ['1 allow 101', '2 deny 102', '3 audit 103', '4 allow 104', '5 deny 100'],
  ],
] as const) {
  describe('verdict events', privileged('bpf'), () => {
    const harness = new Harness('lxc.bpf.o', 'from_container', { flags });
    const errors: unknown[] = [];
    const stream = new EventStream({
      ...{ ringFd: harness.fd('events'), kernelLost: () => 0, onError: error => void errors.push(error) },
    });
    after(() => {
      stream.stop();
      harness.close();
    });

    test(name, async () => {
      for (const [last, text, bits] of [
        [client, addresses.client, 0],
        [server, addresses.server, EndpointFlags.ENDPOINT_POLICY_INGRESS],
      ] as const) {
        harness.endpoint(text, last);
        const key = { address: address(text) };
        const entry = harness.map(mapSpecs.endpoints).lookup(key);
        assert.ok(entry !== undefined);
        harness.map(mapSpecs.endpoints).put(key, { ...entry, flags: bits, policyGroup: group, policyRevision: 1 });
      }
      harness.policyGroup(group, [
        ...[rule(1, 0), rule(2, POLICY_DENY), rule(3, POLICY_DENY | POLICY_AUDIT), rule(4, POLICY_LOG)],
        rule(0, POLICY_DENY | POLICY_DEFAULT),
      ]);
      const heard: MonitorEvent[] = [];
      const unsubscribe = stream.subscribe({
        types: [EventType.EVENT_POLICY_VERDICT],
        record: bytes => {
          const event = decodeEvent(bytes, { bootTime: 0, ruleText: id => `rule ${id}` });
          if (event !== undefined) heard.push(event);
        },
        lost: count => assert.fail(`${count} lost`),
      });
      for (const port of [1, 2, 3, 4, 5]) {
        const packet = eth(ip(addresses.client, addresses.server, tcp(1000, port)), { sourceMac: client });
        for (let times = 0; times < 2; times += 1) harness.run(packet);
      }
      const texts = () =>
        heard.map(({ packet, verdict }) => `${packet?.destinationPort} ${verdict?.action} ${verdict?.ruleId}`);
      // What is remembered has one, what is dropped one each time.
      const all = wanted.flatMap(text => (text.includes('deny') ? [text, text] : [text]));
      await eventually('the events', async () => (texts().length >= all.length ? true : undefined), 10_000);
      assert.deepEqual(texts(), all);
      assert.deepEqual(errors, []);
      unsubscribe();
    });
  });
}
