/** What each annotation service.cilium.io/… changes in the frontends of a service, and that it changes nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FrontendRow, parseAddress, portKey, serviceFromK8s } from '@ciliate/model';
import { compileFrontends, type FrontendContext } from './compile-frontends.ts';

const context: FrontendContext = {
  ipv4: true,
  ipv6: false,
  nodeName: 'here',
  nodeLabels: { zone: 'a', 'service.cilium.io/node': 'front' },
  nodePortAddresses: [parseAddress('172.30.0.11')],
  nodeAddresses: [parseAddress('172.30.0.11')],
  algorithm: 'random',
  forwarding: { mode: 'snat', byAnnotation: true },
  externalClusterIP: false,
  sourceRangesForAll: false,
};

function frontends(annotations: object, more: Partial<FrontendContext> = {}): readonly FrontendRow[] {
  const parsed = serviceFromK8s({
    metadata: { namespace: 'test', name: 'echo', annotations },
    spec: {
      type: 'LoadBalancer',
      clusterIP: '10.96.0.1',
      externalIPs: ['203.0.113.5'],
      loadBalancerSourceRanges: ['10.0.0.0/8'],
      ports: [{ port: 80, nodePort: 30080 }],
    },
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } },
  });
  assert.ok('row' in parsed);
  assert.deepEqual(parsed.problems, []);
  return compileFrontends([parsed.row], [], { ...context, ...more });
}

const all = frontends({});
const addresses = (rows: readonly FrontendRow[]): readonly string[] => rows.map(portKey).sort();
const every = (rows: readonly FrontendRow[], of: (row: FrontendRow) => unknown): unknown[] => [
  ...new Set(rows.map(of)),
];

const ofType: Readonly<Record<string, readonly string[]>> = {
  ClusterIP: ['10.96.0.1:80/TCP'],
  NodePort: ['0.0.0.0:30080/TCP', '172.30.0.11:30080/TCP'],
  LoadBalancer: ['192.0.2.1:80/TCP'],
  nodeport: ['0.0.0.0:30080/TCP', '172.30.0.11:30080/TCP'],
};
for (const [type, expected] of Object.entries(ofType)) {
  test(`type: ${type}`, () => {
    const rows = frontends({ 'service.cilium.io/type': type });
    assert.deepEqual(addresses(rows), expected);
    assert.deepEqual(
      rows,
      all.filter(row => expected.includes(portKey(row))),
    );
  });
}

test('node: by the label of that name, and nothing of the service elsewhere', () => {
  assert.deepEqual(frontends({ 'service.cilium.io/node': 'front' }), all);
  assert.deepEqual(frontends({ 'service.cilium.io/node': 'back' }), []);
});

test('node-selector: by labels of the node; it counts more than node', () => {
  assert.deepEqual(frontends({ 'service.cilium.io/node-selector': 'zone in (a, b)' }), all);
  assert.deepEqual(frontends({ 'service.cilium.io/node-selector': 'zone=b' }), []);
  const both = { 'service.cilium.io/node-selector': 'zone=a', 'service.cilium.io/node': 'back' };
  assert.deepEqual(frontends(both), all);
});

test('lb-algorithm: either way, whatever the node does', () => {
  const maglev = { algorithm: 'maglev' } as const;
  const outer = (rows: readonly FrontendRow[]) => rows.filter(row => row.routable);
  assert.deepEqual(
    every(outer(frontends({ 'service.cilium.io/lb-algorithm': 'maglev' })), row => row.maglev),
    [true],
  );
  assert.deepEqual(
    every(outer(frontends({}, maglev)), row => row.maglev),
    [true],
  );
  assert.deepEqual(
    every(frontends({ 'service.cilium.io/lb-algorithm': 'random' }, maglev), row => row.maglev),
    [false],
  );
});

test('forwarding-mode: either way, whatever the node does, when its options let services say', () => {
  assert.deepEqual(
    every(frontends({ 'service.cilium.io/forwarding-mode': 'dsr' }), row => row.dsr),
    [true],
  );
  const byDsr = { forwarding: { mode: 'dsr', byAnnotation: true } } as const;
  const snat = frontends({ 'service.cilium.io/forwarding-mode': 'snat' }, byDsr);
  assert.deepEqual(
    every(snat, row => row.dsr),
    [false],
  );
});

test('src-ranges-policy: the ranges say who may, or who may not', () => {
  const denies = (value: string) =>
    frontends({ 'service.cilium.io/src-ranges-policy': value })
      .filter(row => row.sourceRanges.length > 0)
      .map(row => [row.type, row.sourceRangesDeny]);
  assert.deepEqual(denies('deny').sort(), [
    ['ExternalIPs', true],
    ['LoadBalancer', true],
  ]);
  assert.deepEqual(frontends({ 'service.cilium.io/src-ranges-policy': 'allow' }), all);
});

test('proxy-delegation: delegate-if-local', () => {
  const delegated = frontends({ 'service.cilium.io/proxy-delegation': 'delegate-if-local' });
  assert.deepEqual(
    every(delegated, row => row.delegatesToProxy),
    [true],
  );
  assert.deepEqual(frontends({ 'service.cilium.io/proxy-delegation': 'none' }), all);
});

for (const value of ['none', 'local', 'remote']) {
  test(`affinity: ${value} is between clusters, and one has no other`, () => {
    assert.deepEqual(frontends({ 'service.cilium.io/affinity': value }), all);
  });
}
