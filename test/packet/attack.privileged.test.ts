/** Packets that try to slip past a policy that lets TCP port 80 in and nothing else; both families. */
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import { EndpointFlags, mapSpecs, PolicyDirection, PolicyFlags } from '../../packages/abi/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { eth, icmp, ip, tcp } from './frame.ts';
import { fragmented, withOptions } from './odd-frames.ts';
import { Harness } from './program-run.ts';

const { POLICY_INGRESS, POLICY_EGRESS } = PolicyDirection;
const [client, server, group] = [5, 6, 7];

const families = [
  { name: 'IPv4', client: '10.244.1.5', server: '10.244.1.6', number: 4, unreachable: [3, 3] },
  { name: 'IPv6', client: 'fd00:10:244:1::5', server: 'fd00:10:244:1::6', number: 6, unreachable: [1, 4] },
] as const;

describe('attacks at from_container', privileged('bpf'), () => {
  const harness = new Harness('lxc.bpf.o', 'from_container');
  after(() => harness.close());

  for (const family of families) {
    const headerSize = family.number === 4 ? 20 : 40;
    const sent = (frame: Buffer) => harness.run(eth(frame, { sourceMac: client }));
    const answered = (frame: Buffer) => harness.run(eth(frame, { sourceMac: server }));
    const packet = (port: number, flags: Parameters<typeof tcp>[2] = 'SYN') =>
      ip(family.client, family.server, tcp(1000, port, flags));
    const flows = (): number => [...harness.map(mapSpecs.ct).keys()].length;
    const endpoint = (last: number, text: string, flags: number): void => {
      harness.endpoint(text, last);
      const endpoints = harness.map(mapSpecs.endpoints);
      const entry = endpoints.lookup({ address: address(text) });
      assert.ok(entry !== undefined);
      endpoints.put({ address: address(text) }, { ...entry, flags, policyGroup: group, policyRevision: 1 });
    };

    describe(family.name, () => {
      beforeEach(() => {
        for (const key of [...harness.map(mapSpecs.ct).keys()]) harness.map(mapSpecs.ct).remove(key);
        for (const key of [...harness.map(mapSpecs.frag).keys()]) harness.map(mapSpecs.frag).remove(key);
        const value = { ruleId: 1, proxyPort: 0, flags: 0, packets: 0n, bytes: 0n };
        const denied = { ...value, flags: PolicyFlags.POLICY_DENY | PolicyFlags.POLICY_DEFAULT };
        const all = { prefixlen: 40, identity: 0, proto: 0, dport: 0 };
        harness.policyGroup(group, [
          [{ ...all, direction: POLICY_INGRESS }, denied],
          [{ ...all, direction: POLICY_EGRESS }, denied],
          [{ prefixlen: 64, identity: 1000 + client, direction: POLICY_INGRESS, proto: 6, dport: 80 }, value],
        ]);
        endpoint(client, family.client, 0);
        endpoint(server, family.server, EndpointFlags.ENDPOINT_POLICY_INGRESS | EndpointFlags.ENDPOINT_POLICY_EGRESS);
      });

      const first = { id: 77, offset: 0, more: true };
      const last = { id: 77, offset: 3, more: false };
      const rest = Buffer.from('the rest of it..');

      test('what is allowed passes, whole and in fragments', () => {
        assert.equal(sent(packet(80)).verdict, 'TC_ACT_REDIRECT');
        const whole = packet(80);
        assert.equal(sent(fragmented(whole, whole.subarray(headerSize), first)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(sent(fragmented(whole, rest, last)).verdict, 'TC_ACT_REDIRECT');
      });

      test('a first fragment too short for its header is dropped', () => {
        const whole = packet(80);
        for (const size of [2, 4, 8, 12]) {
          const tiny = fragmented(whole, whole.subarray(headerSize, headerSize + size), first);
          assert.equal(sent(tiny).dropped, 'DROP_INVALID', `${size} bytes`);
        }
      });

      test('fragments of a packet that is forbidden are forbidden, and those that come before their first', () => {
        const whole = packet(81);
        assert.equal(sent(fragmented(whole, rest, last)).dropped, 'DROP_FRAG_NOT_FOUND');
        assert.equal(sent(fragmented(whole, whole.subarray(headerSize), first)).dropped, 'DROP_POLICY');
        assert.equal(sent(fragmented(whole, rest, last)).dropped, 'DROP_POLICY');
        assert.equal(flows(), 0);
      });

      test('a second first fragment that names another port is judged by it, and so is what follows', () => {
        const [good, bad] = [packet(80), packet(81)];
        assert.equal(sent(fragmented(good, good.subarray(headerSize), first)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(sent(fragmented(bad, bad.subarray(headerSize), first)).dropped, 'DROP_POLICY');
        assert.equal(sent(fragmented(bad, rest, last)).dropped, 'DROP_POLICY');
      });

      test('options do not hide the port', () => {
        for (const count of [1, 3, 5]) {
          assert.equal(sent(withOptions(packet(81), count)).dropped, 'DROP_POLICY', `${count}: the decoy says 80`);
          assert.equal(sent(withOptions(packet(80), count)).verdict, 'TC_ACT_REDIRECT', `${count}: it is 80`);
        }
      });

      test('headers that lie about their length are dropped', () => {
        if (family.number === 6) {
          assert.equal(sent(withOptions(packet(80), 7)).dropped, 'DROP_INVALID_EXTHDR', 'more than anybody needs');
          const long = withOptions(packet(80), 1);
          long[41] = 200;
          assert.equal(sent(long).dropped, 'DROP_INVALID', 'options that end behind the packet');
          return;
        }
        const [short, long] = [packet(80), packet(80)];
        short[0] = 0x44;
        long[0] = 0x4f;
        assert.equal(sent(short).dropped, 'DROP_INVALID', 'shorter than an IPv4 header');
        assert.equal(sent(long).dropped, 'DROP_INVALID', 'options that end behind the packet');
      });

      test('TCP flags that no connection has open nothing', () => {
        for (const flags of [0x00, 0x29, 0x03, 0x06, 0x3f, 0x10]) {
          const frame = packet(81);
          frame[headerSize + 13] = flags;
          assert.equal(sent(frame).dropped, 'DROP_POLICY', `flags ${flags.toString(16)}`);
          const answer = ip(family.server, family.client, tcp(80, 1000));
          answer[headerSize + 13] = flags;
          assert.equal(answered(answer).dropped, 'DROP_POLICY', `as an answer to nothing, flags ${flags.toString(16)}`);
        }
        assert.equal(flows(), 0);
      });

      test('an ICMP error passes for a flow that there is, not for one that never was', () => {
        const [type, code] = family.unreachable;
        const about = (sport: number) =>
          icmp(
            family.number,
            type,
            code,
            Buffer.concat([Buffer.alloc(4), ip(family.client, family.server, tcp(sport, 80))]),
          );
        const error = (sport: number) => answered(ip(family.server, family.client, about(sport)));
        assert.equal(error(1000).dropped, 'DROP_POLICY', 'no flow yet');
        assert.equal(sent(packet(80)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(error(1000).verdict, 'TC_ACT_REDIRECT');
        assert.equal(error(1001).dropped, 'DROP_POLICY', 'another port');
      });
    });
  }
});
