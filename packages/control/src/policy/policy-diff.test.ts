import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '@ciliate/model';
import { changedFlows, lockOuts, policyDiff } from './policy-diff.ts';
import type { PolicyScene, Somebody } from './scene.ts';
import { somebodyNamed } from './scene-names.ts';
import { sceneDefaults, sceneFromObjects } from './scene-objects.ts';

const pod = (namespace: string, name: string, app: string) => ({
  kind: 'Pod',
  metadata: { namespace, name, labels: { app } },
});
const pods = [
  pod('shop', 'web-1', 'web'),
  pod('shop', 'web-2', 'web'),
  pod('shop', 'api', 'api'),
  pod('db', 'pg', 'pg'),
];
const db = (from: string) => ({
  kind: 'NetworkPolicy',
  metadata: { namespace: 'db', name: 'pg' },
  spec: {
    podSelector: {},
    ingress: [
      { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: from } } }], ports: [{ port: 5432 }] },
    ],
  },
});
const hostPolicy = (ingress: readonly unknown[]) => ({
  kind: 'CiliumClusterwideNetworkPolicy',
  metadata: { name: 'nodes' },
  spec: { nodeSelector: {}, ingress },
});

function scene(...policies: readonly unknown[]): PolicyScene {
  const objects = [...pods, ...policies].map(object => ({ place: '', object }));
  const { scene: made, problems } = sceneFromObjects(objects, { ...sceneDefaults, now: 0, dualStack: false });
  assert.deepEqual(problems, []);
  return made;
}

function one(of: PolicyScene, name: string): Somebody {
  const [found] = somebodyNamed(of, name);
  assert.ok(found !== undefined);
  return found;
}

test('pairs that change are named once, with their ports and the rule', () => {
  assert.deepEqual(policyDiff(scene(db('web')), scene(db('api'))), [
    {
      from: ['shop/web-1', 'shop/web-2'],
      to: ['db/pg'],
      ports: ['5432/TCP'],
      becomes: 'denied',
      rule: 'default deny (ingress) by NetworkPolicy db/pg',
    },
    {
      from: ['shop/api'],
      to: ['db/pg'],
      ports: ['5432/TCP'],
      becomes: 'allowed',
      rule: 'NetworkPolicy db/pg, spec.ingress[0]',
    },
  ]);
});

test('nothing changes when the same is applied again, or a policy that says the same', () => {
  assert.deepEqual(policyDiff(scene(db('web')), scene(db('web'))), []);
  const twin = { ...db('web'), metadata: { namespace: 'db', name: 'twin' } };
  assert.deepEqual(policyDiff(scene(db('web')), scene(db('web'), twin)), []);
});

test('a first policy closes what was open for everybody else', () => {
  const changes = policyDiff(scene(), scene(db('web')));
  assert.ok(changes.every(({ becomes, to }) => becomes === 'denied' && to.includes('db/pg')));
  const ofApi = changes.find(({ from }) => from.includes('shop/api'));
  assert.deepEqual(ofApi?.ports.toSorted(), ['5432/TCP', 'other/TCP', 'other/UDP']);
  assert.ok(!changes.some(({ from }) => from.includes('host')), 'the node reaches its pods');
});

test('blocks that one of the two names are compared', () => {
  const block = (...cidrs: readonly string[]) => ({
    kind: 'CiliumNetworkPolicy',
    metadata: { namespace: 'shop', name: 'api' },
    spec: { endpointSelector: { matchLabels: { app: 'api' } }, ingress: [{ fromCIDR: cidrs }] },
  });
  const changes = policyDiff(
    scene(block('198.51.100.0/24', '10.9.0.0/16')),
    scene(block('203.0.113.0/24', '10.9.0.0/16')),
  );
  assert.deepEqual(
    changes.map(({ from, becomes }) => [from, becomes]),
    [
      [['198.51.100.1'], 'denied'],
      [['203.0.113.1'], 'allowed'],
    ],
  );
});

test('recorded flows are judged one by one', () => {
  const [before, after] = [scene(db('web')), scene(db('api'))];
  const [web, api, pg] = ['shop/web-1', 'shop/api', 'db/pg'].map(name => one(before, name)) as [
    Somebody,
    Somebody,
    Somebody,
  ];
  const flows = [
    { from: web, to: pg, protocol: 6, port: 5432 },
    { from: web, to: api, protocol: 6, port: 80 },
  ];
  assert.deepEqual(
    changedFlows(before, after, flows).map(({ from, becomes, rule }) => [from.name, becomes, rule]),
    [['shop/web-1', 'denied', 'default deny (ingress) by NetworkPolicy db/pg']],
  );
});

test('host policies that close the ways to the node are called out', () => {
  const after = scene(hostPolicy([{ fromEntities: ['kube-apiserver'], toPorts: [{ ports: [{ port: '10250' }] }] }]));
  const ssh = { client: after.outside(parseAddress('198.51.100.4')), port: 22 };
  assert.deepEqual(
    lockOuts(scene(), after, { apiServerPort: 6443, ssh }).map(({ way }) => way),
    [
      'the kubelet (10250/TCP) from remote-node',
      'the API server of this node (6443/TCP) from remote-node',
      'this SSH session (22/TCP) from 198.51.100.4',
    ],
  );
});

test('host policies that keep the ways open are not', () => {
  const rules = [{ fromEntities: ['kube-apiserver', 'remote-node'] }, { fromCIDR: ['198.51.100.0/24'] }];
  const after = scene(hostPolicy(rules));
  const ssh = { client: after.outside(parseAddress('198.51.100.4')), port: 22 };
  assert.deepEqual(lockOuts(scene(), after, { apiServerPort: 6443, ssh }), []);
});
