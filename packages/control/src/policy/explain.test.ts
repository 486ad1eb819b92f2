import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parse, parseAllDocuments } from 'yaml';
import { explainFlow } from './explain.ts';
import { oracleVerdict, type Party, type RawPolicy } from './oracle.test-lib.ts';
import { cidrGroups, flows, policies } from './policies.test-lib.ts';
import type { PolicyScene, Somebody } from './scene.ts';
import { somebodyNamed } from './scene-names.ts';
import { type PlacedObject, sceneDefaults, sceneFromObjects } from './scene-objects.ts';
import { yamlText } from './yaml-text.ts';

const shop = `
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
status: {podIP: 10.244.1.5}
---
kind: Deployment
metadata: {name: api, namespace: shop}
spec:
  template:
    metadata: {labels: {app: api, tier: back}}
    spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
---
kind: StatefulSet
metadata: {name: postgres, namespace: db}
spec:
  template:
    metadata: {labels: {app: postgres}}
    spec: {containers: [{name: c}]}
---
kind: NetworkPolicy
metadata: {name: db, namespace: db}
spec:
  podSelector: {}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}, podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 5432}]
---
kind: CiliumNetworkPolicy
metadata: {name: no-metadata, namespace: shop}
spec:
  endpointSelector: {}
  egressDeny: [{toCIDR: [169.254.169.254/32]}]
  enableDefaultDeny: {egress: false}
---
kind: CiliumNetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress: [{fromEndpoints: [{matchLabels: {app: web}}], toPorts: [{ports: [{port: http, protocol: TCP}]}]}]
`;

const settings = { ...sceneDefaults, now: 0 };

function objectsOf(text: string): readonly PlacedObject[] {
  return parseAllDocuments(text).map((document, i) => ({ place: `document ${i}`, object: document.toJS() as unknown }));
}

function sceneOf(text: string): PolicyScene {
  const { scene, problems } = sceneFromObjects(objectsOf(text), settings);
  assert.deepEqual(problems, []);
  return scene;
}

function one(scene: PolicyScene, name: string): Somebody {
  const [found] = somebodyNamed(scene, name);
  assert.ok(found !== undefined, name);
  return found;
}

function explain(text: string, from: string, to: string, port: number, protocol = 6) {
  const scene = sceneOf(text);
  return explainFlow(scene, one(scene, from), one(scene, to), protocol, port);
}

describe('explain', () => {
  test('an allowed flow names policy, rule and direction', () => {
    const { allowed, sides } = explain(shop, 'shop/api', 'db/postgres', 5432);
    assert.equal(allowed, true);
    assert.deepEqual(
      sides.map(({ direction, rule }) => [direction, rule]),
      [
        ['egress', 'no policy isolates egress'],
        ['ingress', 'NetworkPolicy db/db, spec.ingress[0]'],
      ],
    );
  });

  test('a default deny names who isolates, the nearest rule and the term that fails', () => {
    const { allowed, sides } = explain(shop, 'shop/web', 'db/postgres', 5432);
    assert.equal(allowed, false);
    assert.deepEqual(sides[1]?.isolatedBy, [{ kind: 'NetworkPolicy', namespace: 'db', name: 'db' }]);
    assert.deepEqual(sides[1]?.nearest, {
      rule: 'NetworkPolicy db/db, spec.ingress[0]',
      failed: ["from app=api: it has 'web'"],
    });
  });

  test('the port that fails is named with those that are allowed', () => {
    const { sides } = explain(shop, 'shop/api', 'db/postgres', 80);
    assert.deepEqual(sides[1]?.nearest?.failed, ['ports 5432/TCP: the flow is 80/TCP']);
  });

  test('the smallest policy is a NetworkPolicy beside NetworkPolicies', () => {
    const { sides } = explain(shop, 'shop/web', 'db/postgres', 5432);
    assert.deepEqual(parse(sides[1]?.yaml ?? ''), {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'allow-web-to-postgres-5432-tcp', namespace: 'db' },
      spec: {
        podSelector: { matchLabels: { app: 'postgres' } },
        policyTypes: ['Ingress'],
        ingress: [
          {
            from: [
              {
                namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } },
                podSelector: { matchLabels: { app: 'web' } },
              },
            ],
            ports: [{ protocol: 'TCP', port: 5432 }],
          },
        ],
      },
    });
  });

  test('a deny rule is named, and no allow rule is offered against it', () => {
    const [egress] = explain(shop, 'shop/web', '169.254.169.254', 80).sides;
    assert.equal(egress?.rule, 'CiliumNetworkPolicy shop/no-metadata, spec.egressDeny[0]');
    assert.equal(egress?.yaml, undefined);
    assert.match(egress?.remedy ?? '', /narrow or remove CiliumNetworkPolicy shop\/no-metadata/);
  });

  test('named ports are those of the pod that is called', () => {
    assert.equal(explain(shop, 'shop/web', 'shop/api', 8080).allowed, true);
    assert.equal(explain(shop, 'shop/web', 'shop/api', 8081).allowed, false);
  });

  test('the node reaches its pods, and the answer says so', () => {
    const { allowed, sides } = explain(shop, 'host', 'db/postgres', 80);
    assert.equal(allowed, true);
    assert.equal(sides[1]?.reference.kind, 'local-host');
  });
});

const party = (somebody: Somebody): Party => {
  const labels = Object.entries(somebody.labels).map(([key, value]) => (value === '' ? key : `${key}=${value}`));
  const protocolName: Readonly<Record<string, string>> = { 6: 'TCP', 17: 'UDP' };
  const ports = [...somebody.namedPorts].map(([key, [port = 0]]) => {
    const [protocol = '', name = ''] = key.split('/');
    return { protocol: protocolName[protocol] ?? '', name, port };
  });
  const [cidr] = somebody.addresses;
  return { labels, ports, ...(cidr === undefined ? {} : { cidr }) };
};

const people = ['n1/a', 'n1/b', 'n2/a'].map((name, i) => ({
  kind: 'Pod',
  metadata: { name: name.slice(3), namespace: name.slice(0, 2), labels: { app: name.slice(3) } },
  spec: { containers: [{ ports: [{ name: 'http', containerPort: 80 }] }] },
  status: { podIP: `10.244.1.${i + 1}` },
}));
const around = [
  { kind: 'Namespace', metadata: { name: 'n1', labels: { env: 'prod' } } },
  { kind: 'Namespace', metadata: { name: 'n2', labels: { env: 'dev', team: 'x' } } },
  { kind: 'CiliumCIDRGroup', metadata: { name: 'partners' }, spec: { externalCIDRs: cidrGroups.partners } },
];
const protocolOf = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;
const single = { ...settings, dualStack: false };

function build(extra: readonly unknown[]): PolicyScene {
  const placed = [...people, ...around, ...extra].map(object => ({ place: '', object }));
  return sceneFromObjects(placed, single).scene;
}

test('explanations agree with the API texts, and what they offer allows the flow', () => {
  const names = fc.constantFrom('n1/a', 'n1/b', 'n2/a', 'host', '10.9.9.9', '203.0.113.7', '172.16.5.9');
  fc.assert(
    fc.property(
      fc.array(policies, { minLength: 1, maxLength: 3 }),
      names,
      names,
      fc.constantFrom(...flows),
      (list, from, to, flow) => {
        fc.pre(from !== to);
        const unique = [
          ...new Map(list.map(policy => [JSON.stringify([policy.kind, policy.metadata]), policy])).values(),
        ];
        const scene = build(unique);
        const [a, b] = [one(scene, from), one(scene, to)];
        const { sides } = explainFlow(scene, a, b, protocolOf[flow.protocol], flow.port);
        for (const side of sides) {
          const [subject, peer] = side.direction === 'egress' ? [a, b] : [b, a];
          if (!side.hasPolicy) continue;
          checkSide(unique, side, party(subject), party(peer), flow);
          if (side.yaml === undefined) continue;
          const again = build([...unique, parse(side.yaml) as unknown]);
          const [x, y] = [one(again, subject.name), one(again, peer.name)];
          const verdict = again.side(side.direction, x, y, protocolOf[flow.protocol], flow.port);
          assert.ok(verdict.allowed, `${side.direction} of ${subject.name} stays denied with\n${side.yaml}`);
        }
      },
    ),
    { numRuns: 1000 * Number(process.env.FUZZ ?? 1) },
  );
});

function checkSide(
  raw: readonly RawPolicy[],
  side: ReturnType<typeof explainFlow>['sides'][number],
  subject: Party,
  peer: Party,
  flow: (typeof flows)[number],
): void {
  const options = { groups: cidrGroups, allowLocalHost: true };
  const wanted = oracleVerdict(raw, side.direction, subject, peer, flow, options);
  assert.equal(side.allowed ? 'allowed' : 'denied', wanted);
  const { reference } = side;
  if (reference.kind !== 'default-deny') return;
  const isolating = reference.policies.map(({ kind, name }) => `${kind} ${name}`);
  assert.ok(isolating.length > 0);
  if (side.nearest !== undefined) assert.ok(side.nearest.failed.length > 0);
}

test('YAML text reads back as what it was', () => {
  const scalars = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constantFrom('true', '5432', '', 'a: b', '- x'));
  const values = fc.letrec(tie => ({
    value: fc.oneof({ maxDepth: 3 }, scalars, tie('list'), tie('object')),
    list: fc.array(tie('value'), { maxLength: 3 }),
    object: fc.dictionary(fc.string({ minLength: 1 }), tie('value'), { maxKeys: 3, noNullPrototype: true }),
  }));
  fc.assert(
    fc.property(fc.oneof(values.object, values.list), value => {
      assert.deepEqual(parse(yamlText(value)), value);
    }),
  );
});
