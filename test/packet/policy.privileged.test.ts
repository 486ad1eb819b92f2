/** Network policy at an endpoint: what is judged, remembered, judged again; both families. */
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import { EndpointFlags, mapSpecs, PolicyDirection, PolicyFlags } from '../../packages/abi/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { echo, eth, icmp, ip, tcp, udp } from './frame.ts';
import { Harness } from './program-run.ts';

const { POLICY_DENY, POLICY_DEFAULT, POLICY_AUDIT, POLICY_KNOWN } = PolicyFlags;
const { POLICY_INGRESS, POLICY_EGRESS } = PolicyDirection;
const [client, server, group] = [5, 6, 7];
const clientIdentity = 1000 + client;

interface Rule {
  readonly direction?: number;
  readonly identity: number;
  /** 0: any protocol. */
  readonly proto?: number;
  readonly port?: number;
  /** Of the port; absent: 16 with a port, else 0. */
  readonly bits?: number;
  readonly flags?: number;
  readonly rule?: number;
}

function entryOf(rule: Rule) {
  const portBits = rule.bits ?? (rule.port === undefined ? 0 : 16);
  const key = {
    prefixlen: rule.proto === undefined ? 40 : 48 + portBits,
    identity: rule.identity,
    direction: rule.direction ?? POLICY_INGRESS,
    proto: rule.proto ?? 0,
    dport: rule.port ?? 0,
  };
  return [key, { ruleId: rule.rule ?? 0, proxyPort: 0, flags: rule.flags ?? 0, packets: 0n, bytes: 0n }] as const;
}

const defaultDeny = { identity: 0, flags: POLICY_DENY | POLICY_DEFAULT } as const;

const families = [
  { name: 'IPv4', client: '10.244.1.5', server: '10.244.1.6', number: 4, icmp: 1, request: 8, reply: 0 },
  {
    name: 'IPv6',
    client: 'fd00:10:244:1::5',
    server: 'fd00:10:244:1::6',
    number: 6,
    icmp: 58,
    request: 128,
    reply: 129,
  },
] as const;

describe('policy at from_container', privileged('bpf'), () => {
  const harness = new Harness('lxc.bpf.o', 'from_container');
  after(() => harness.close());

  for (const family of families) {
    const endpoint = (last: number, text: string, flags: number, revision: number): void => {
      harness.endpoint(text, last);
      const entry = harness.map(mapSpecs.endpoints).lookup({ address: address(text) });
      assert.ok(entry !== undefined);
      harness
        .map(mapSpecs.endpoints)
        .put({ address: address(text) }, { ...entry, flags, policyGroup: group, policyRevision: revision });
    };
    /** The server is isolated by these rules; the client is free. */
    const isolate = (rules: readonly Rule[], revision = 1, extra = 0): void => {
      harness.policyGroup(group, [entryOf(defaultDeny), ...rules.map(entryOf)]);
      endpoint(client, family.client, 0, 0);
      endpoint(server, family.server, EndpointFlags.ENDPOINT_POLICY_INGRESS | extra, revision);
    };
    const send = (l4: Parameters<typeof ip>[2]) =>
      harness.run(eth(ip(family.client, family.server, l4), { sourceMac: client }));
    const answer = (l4: Parameters<typeof ip>[2]) =>
      harness.run(eth(ip(family.server, family.client, l4), { sourceMac: server }));
    const flows = () => [...harness.map(mapSpecs.ct).keys()].length;

    describe(family.name, () => {
      beforeEach(() => {
        for (const key of [...harness.map(mapSpecs.ct).keys()]) harness.map(mapSpecs.ct).remove(key);
      });

      test('a direction that is isolated drops what no rule names, as a denied default', () => {
        isolate([]);
        assert.equal(send(tcp(1000, 80)).dropped, 'DROP_POLICY');
        assert.equal(flows(), 0, 'nothing is remembered');
      });

      test('a rule for identity, protocol and port lets that through and nothing else', () => {
        isolate([{ identity: clientIdentity, proto: 6, port: 80 }]);
        assert.equal(send(tcp(1000, 80)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(send(tcp(1000, 81)).dropped, 'DROP_POLICY');
        assert.equal(send(udp(1000, 80)).dropped, 'DROP_POLICY');
      });

      test('a port range is a prefix; any protocol and any port are shorter ones', () => {
        isolate([{ identity: clientIdentity, proto: 6, port: 8080, bits: 12 }]);
        assert.equal(send(tcp(1000, 8095)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(send(tcp(1000, 8096)).dropped, 'DROP_POLICY');
        isolate([{ identity: clientIdentity }], 2);
        assert.equal(send(udp(1000, 53)).verdict, 'TC_ACT_REDIRECT');
        isolate([{ identity: 0, proto: 17 }], 3);
        assert.equal(send(udp(1001, 53)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(send(tcp(1001, 53)).dropped, 'DROP_POLICY');
      });

      test('a deny for everybody wins over an allow for the peer, and the other way round', () => {
        isolate([{ identity: clientIdentity }, { identity: 0, proto: 6, port: 80, flags: POLICY_DENY }]);
        assert.equal(send(tcp(1000, 80)).dropped, 'DROP_POLICY_DENY');
        assert.equal(send(tcp(1000, 443)).verdict, 'TC_ACT_REDIRECT');
        isolate(
          [
            { identity: clientIdentity, flags: POLICY_DENY },
            { identity: 0, proto: 6, port: 80 },
          ],
          2,
        );
        assert.equal(send(tcp(1000, 80)).dropped, 'DROP_POLICY_DENY');
      });

      test('replies of an allowed flow pass, whatever the policy says about their own direction', () => {
        harness.policyGroup(group, [
          entryOf(defaultDeny),
          entryOf({ ...defaultDeny, direction: POLICY_EGRESS }),
          entryOf({ identity: clientIdentity, proto: 6, port: 80 }),
        ]);
        endpoint(client, family.client, 0, 0);
        const both = EndpointFlags.ENDPOINT_POLICY_INGRESS | EndpointFlags.ENDPOINT_POLICY_EGRESS;
        endpoint(server, family.server, both, 1);
        assert.equal(answer(tcp(80, 1000, 'SYN,ACK')).dropped, 'DROP_POLICY', 'no flow yet');
        assert.equal(send(tcp(1000, 80)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(answer(tcp(80, 1000, 'SYN,ACK')).verdict, 'TC_ACT_REDIRECT');
        assert.equal(answer(tcp(80, 1001, 'SYN,ACK')).dropped, 'DROP_POLICY', 'not of the flow');
      });

      test('a change of policy cuts an established flow in both directions, a change of the peer too', () => {
        isolate([{ identity: clientIdentity, proto: 6, port: 80 }]);
        assert.equal(send(tcp(1000, 80)).verdict, 'TC_ACT_REDIRECT');
        isolate([], 2);
        assert.equal(send(tcp(1000, 80, 'ACK')).dropped, 'DROP_POLICY');
        isolate([{ identity: clientIdentity, proto: 6, port: 80 }], 3);
        assert.equal(send(tcp(1000, 80, 'ACK')).verdict, 'TC_ACT_REDIRECT');
        const key = { address: address(family.client) };
        const entry = harness.map(mapSpecs.endpoints).lookup(key);
        assert.ok(entry !== undefined);
        harness.map(mapSpecs.endpoints).put(key, { ...entry, identity: 4711 });
        assert.equal(send(tcp(1000, 80, 'ACK')).dropped, 'DROP_POLICY');
      });

      test('a flow that the isolated endpoint began has its answers judged by the new policy', () => {
        isolate([]);
        assert.equal(answer(tcp(2000, 443)).verdict, 'TC_ACT_REDIRECT', 'egress is free');
        assert.equal(send(tcp(443, 2000, 'SYN,ACK')).verdict, 'TC_ACT_REDIRECT');
        harness.policyGroup(group, [entryOf(defaultDeny), entryOf({ ...defaultDeny, direction: POLICY_EGRESS })]);
        const both = EndpointFlags.ENDPOINT_POLICY_INGRESS | EndpointFlags.ENDPOINT_POLICY_EGRESS;
        endpoint(server, family.server, both, 2);
        assert.equal(send(tcp(443, 2000, 'ACK')).dropped, 'DROP_POLICY');
      });

      test('ICMP is named by its type; the answer of an allowed echo passes', () => {
        isolate([{ identity: clientIdentity, proto: family.icmp, port: family.request }]);
        assert.equal(send(echo(family.number, 7)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(
          answer(icmp(family.number, family.reply, 0, Buffer.from([0, 7, 0, 0]))).verdict,
          'TC_ACT_REDIRECT',
        );
        isolate([], 2);
        assert.equal(send(echo(family.number, 7)).dropped, 'DROP_POLICY');
      });

      test('audit lets through what it would drop; lockdown drops all', () => {
        isolate([{ identity: clientIdentity, flags: POLICY_DENY | POLICY_AUDIT }]);
        assert.equal(send(tcp(1000, 80)).verdict, 'TC_ACT_REDIRECT');
        isolate([], 2, EndpointFlags.ENDPOINT_POLICY_AUDIT);
        assert.equal(send(tcp(1001, 80)).verdict, 'TC_ACT_REDIRECT');
        isolate([{ identity: clientIdentity }], 3, EndpointFlags.ENDPOINT_POLICY_LOCKDOWN);
        assert.equal(send(tcp(1002, 80)).dropped, 'DROP_POLICY');
      });

      test('an address block that holds pods is asked for by its class, where a policy has such', () => {
        const classIdentity = 0x0200_0001;
        const block = family.number === 4 ? { prefixlen: 120, address: address('10.244.1.0') } : undefined;
        const prefix = block ?? { prefixlen: 64, address: address('fd00:10:244:1::') };
        harness.map(mapSpecs.policy_classes).put(prefix, { identity: classIdentity });
        isolate([{ identity: classIdentity, proto: 6, port: 80 }], 1, EndpointFlags.ENDPOINT_POLICY_CLASS);
        assert.equal(send(tcp(1000, 80)).verdict, 'TC_ACT_REDIRECT');
        isolate([{ identity: classIdentity, proto: 6, port: 80 }], 2);
        assert.equal(send(tcp(1000, 80)).dropped, 'DROP_POLICY', 'an endpoint without such a rule does not ask');
      });

      test('a node is asked for by the class of its address; who has the address alone is none', () => {
        const [classIdentity, remoteNode] = [0x0280_0001, 6];
        const node = family.number === 4 ? '192.0.2.77' : '2001:db8::77';
        const ipcache = harness.map(mapSpecs.ipcache);
        const of = { prefixlen: 128, address: address(node) };
        const knows = (identity: number) => ipcache.put(of, { identity, tunnelEndpoint: new Uint8Array(16), flags: 0 });
        harness.map(mapSpecs.node_classes).put({ address: address(node) }, { identity: classIdentity });
        const rule = entryOf({ direction: POLICY_EGRESS, identity: classIdentity, proto: 6, port: 80 });
        harness.policyGroup(group, [entryOf({ ...defaultDeny, direction: POLICY_EGRESS }), rule]);
        const { ENDPOINT_POLICY_EGRESS, ENDPOINT_POLICY_CLASS } = EndpointFlags;
        endpoint(client, family.client, ENDPOINT_POLICY_EGRESS | ENDPOINT_POLICY_CLASS, 1);
        const dropped = (port: number) =>
          harness.run(eth(ip(family.client, node, tcp(1000, port)), { sourceMac: client })).dropped;
        knows(remoteNode);
        assert.notEqual(dropped(80), 'DROP_POLICY');
        assert.equal(dropped(81), 'DROP_POLICY');
        knows(2);
        assert.equal(dropped(80), 'DROP_POLICY', 'an outsider with the address of a node');
        ipcache.remove(of);
      });

      test('where some are denied and all others free, who is not known yet does not pass', () => {
        const ipcache = harness.map(mapSpecs.ipcache);
        const of = { prefixlen: 128, address: address(family.client) };
        const knows = (identity: number) => ipcache.put(of, { identity, tunnelEndpoint: new Uint8Array(16), flags: 1 });
        const open = { identity: 0, flags: POLICY_DEFAULT | POLICY_KNOWN } as const;
        harness.policyGroup(group, [entryOf(open), entryOf({ identity: 4711, flags: POLICY_DENY })]);
        endpoint(client, family.client, 0, 0);
        endpoint(server, family.server, EndpointFlags.ENDPOINT_POLICY_INGRESS, 1);
        ipcache.remove(of);
        assert.equal(send(tcp(1000, 80)).dropped, 'DROP_POLICY');
        knows(clientIdentity + 1);
        assert.equal(send(tcp(1000, 80)).dropped, 'DROP_POLICY', 'somebody else has the address');
        knows(clientIdentity);
        assert.equal(send(tcp(1000, 80)).verdict, 'TC_ACT_REDIRECT');
        ipcache.remove(of);
      });

      test('SCTP is judged by its port', () => {
        isolate([{ identity: clientIdentity, proto: 132, port: 5000 }]);
        const init = (port: number) => {
          const header = Buffer.alloc(32);
          header.writeUInt16BE(1000, 0);
          header.writeUInt16BE(port, 2);
          header.writeUInt8(1, 12);
          header.writeUInt16BE(20, 14);
          return { protocol: 132, bytes: header, checksumAt: 8 };
        };
        assert.equal(send(init(5000)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(send(init(5001)).dropped, 'DROP_POLICY');
      });

      test('an endpoint that no policy selects has no conntrack entry', () => {
        endpoint(client, family.client, 0, 0);
        endpoint(server, family.server, 0, 0);
        assert.equal(send(tcp(1000, 80)).verdict, 'TC_ACT_REDIRECT');
        assert.equal(flows(), 0);
      });

      test('a group without a map lets nothing through', () => {
        isolate([]);
        harness.map(mapSpecs.policy).remove(group);
        assert.equal(send(tcp(1000, 80)).dropped, 'DROP_POLICY');
      });
    });
  }

  test('an encapsulated packet of a pod is forged', () => {
    harness.endpoint('10.244.1.5', client);
    harness.endpoint('172.30.0.11', 0, 1);
    const packet = eth(ip('10.244.1.5', '172.30.0.11', udp(1000, 8472)), { sourceMac: client });
    assert.equal(harness.run(packet).dropped, 'DROP_FORGED_OVERLAY');
  });
});
