import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { oracleVerdict, type Party, type RawPolicy } from './oracle.test-lib.ts';
import { cidrGroups, flows, policies } from './policies.test-lib.ts';
import type { PolicyScene, Somebody } from './scene.ts';
import { somebodyNamed } from './scene-names.ts';
import { sceneDefaults, sceneFromObjects } from './scene-objects.ts';

const protocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;
const settings = { ...sceneDefaults, dualStack: false, now: 1000 };
const people = ['n1/a', 'n1/b', 'n2/a'].map((name, i) => ({
  kind: 'Pod',
  metadata: { name: name.slice(3), namespace: name.slice(0, 2), labels: { app: name.slice(3) } },
  status: { podIP: `10.244.1.${i + 1}` },
}));
const around = [
  { kind: 'Namespace', metadata: { name: 'n1', labels: { env: 'prod' } } },
  { kind: 'Namespace', metadata: { name: 'n2', labels: { env: 'dev', team: 'x' } } },
  { kind: 'CiliumCIDRGroup', metadata: { name: 'partners' }, spec: { externalCIDRs: cidrGroups.partners } },
];

function build(list: readonly unknown[]): PolicyScene {
  return sceneFromObjects(
    [...people, ...around, ...list].map(object => ({ place: '', object })),
    settings,
  ).scene;
}

function one(scene: PolicyScene, name: string): Somebody {
  const [found] = somebodyNamed(scene, name);
  assert.ok(found !== undefined, name);
  return found;
}

function party({ labels, addresses: [cidr] }: Somebody): Party {
  const own = Object.entries(labels).map(([key, value]) => (value === '' ? key : `${key}=${value}`));
  return { labels: own, ...(cidr === undefined ? {} : { cidr }) };
}

const audited = (policy: RawPolicy): unknown => ({
  ...policy,
  metadata: { ...policy.metadata, annotations: { 'ciliate.io/audit': 'true' } },
});

/** Without what it denies, and without isolating: what an audited policy is to flows. */
function allowing(policy: RawPolicy): RawPolicy {
  const specs = [policy.spec, ...(policy.specs ?? [])].flatMap(spec => spec ?? []);
  return {
    ...policy,
    spec: undefined as never,
    specs: specs.map(({ ingressDeny: _in, egressDeny: _out, ...spec }) => ({
      ...spec,
      enableDefaultDeny: { ingress: false, egress: false },
    })),
  };
}

/** NetworkPolicies have no deny rules: theirs is the default, and it is audited when all that isolate are. */
const ciliumPolicies = policies.filter(policy => policy.kind !== 'NetworkPolicy');

test('an audited policy denies nothing, and opens nothing that the others close', () => {
  const names = fc.constantFrom('n1/a', 'n1/b', 'n2/a', 'host', '203.0.113.7', '172.16.5.9');
  fc.assert(
    fc.property(fc.array(policies, { maxLength: 2 }), ciliumPolicies, names, names, (enforced, tried, from, to) => {
      fc.pre(from !== to);
      const keyOf = ({ kind, metadata }: RawPolicy) => JSON.stringify([kind, metadata]);
      const byKey = new Map(enforced.map(policy => [keyOf(policy), policy]));
      byKey.delete(keyOf(tried));
      const others = [...byKey.values()];
      const scene = build([...others, audited(tried)]);
      const [subject, peer] = [one(scene, from), one(scene, to)];
      fc.pre(scene.hasPolicy(subject));
      for (const direction of ['ingress', 'egress'] as const) {
        for (const flow of flows) {
          const { allowed, audit } = scene.side(direction, subject, peer, protocols[flow.protocol], flow.port);
          const ask = (list: readonly RawPolicy[]) =>
            oracleVerdict(list, direction, party(subject), party(peer), flow, {
              groups: cidrGroups,
              allowLocalHost: true,
            });
          assert.equal(
            allowed ? 'allowed' : 'denied',
            ask([...others, allowing(tried)]),
            `${direction} ${JSON.stringify(flow)}`,
          );
          if (audit) assert.equal(ask([...others, tried]), 'denied', 'what is reported would be denied');
        }
      }
    }),
    { numRuns: 300 * Number(process.env.FUZZ ?? 1) },
  );
});

test('a tried deny of what is allowed is reported', () => {
  const deny = {
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'p', namespace: 'n1' },
    spec: {
      endpointSelector: { matchLabels: { app: 'a' } },
      ingressDeny: [
        { fromEndpoints: [{ matchLabels: { app: 'b' } }], toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }] }] },
      ],
      enableDefaultDeny: { ingress: false },
    },
  };
  const scene = build([audited(deny)]);
  const [a, b] = [one(scene, 'n1/a'), one(scene, 'n1/b')];
  assert.deepEqual(
    { ...scene.side('ingress', a, b, 6, 80), reference: undefined },
    { allowed: true, audit: true, reference: undefined },
  );
  assert.equal(scene.side('ingress', a, b, 6, 81).audit, false);
});

test('a default deny is tried only when all that isolate are', () => {
  const isolate = (name: string) => ({
    kind: 'NetworkPolicy',
    metadata: { name, namespace: 'n1' },
    spec: { podSelector: {} },
  });
  const side = (...list: readonly unknown[]) => {
    const scene = build(list);
    const { allowed, audit } = scene.side('ingress', one(scene, 'n1/a'), one(scene, 'n2/a'), 6, 80);
    return [allowed, audit];
  };
  assert.deepEqual(side(audited(isolate('p'))), [true, true]);
  assert.deepEqual(side(audited(isolate('p')), isolate('q')), [false, false]);
});
