/** Each entity against everybody, where both families have a world of their own and where there is one; blocks by labels of their groups. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAddress } from '@ciliate/model';
import type { Somebody } from './scene.ts';
import { sceneDefaults, sceneFromObjects } from './scene-objects.ts';

const pod = (name: string, namespace = 'shop') => ({
  kind: 'Pod',
  metadata: { name, namespace, labels: { app: name } },
});
const node = {
  kind: 'Node',
  metadata: { name: 'n2', labels: { zone: 'a' } },
  status: { addresses: [{ type: 'InternalIP', address: '172.30.0.12' }] },
};
const reserved = ['host', 'remote-node', 'kube-apiserver', 'health', 'ingress', 'init', 'unmanaged'];
const cluster = [...reserved, 'node:n2', 'other/far', 'shop/near'];

function reachable(rule: object, dualStack: boolean, more: readonly object[] = []): readonly string[] {
  const spec = { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [rule] };
  const policy = { kind: 'CiliumNetworkPolicy', metadata: { name: 'p', namespace: 'shop' }, spec };
  const objects = [pod('web'), pod('near'), pod('far', 'other'), node, policy, ...more];
  const placed = objects.map(object => ({ place: '', object }));
  const { scene, problems } = sceneFromObjects(placed, { ...sceneDefaults, now: 0, dualStack, allowLocalHost: false });
  assert.deepEqual(problems, []);
  const [web] = scene.input.pods;
  assert.ok(web !== undefined);
  const outside = ['192.0.2.7', '198.51.100.7', '2001:db8::7'].map(text => scene.outside(parseAddress(text)));
  const everybody: readonly Somebody[] = [...scene.input.pods, ...scene.reserved(), ...scene.nodes(), ...outside];
  const allowed = everybody.filter(one => one !== web && scene.side('ingress', web, one, 6, 80).allowed);
  return allowed.map(({ name }) => name).toSorted();
}

const sorted = (...names: readonly string[]) => names.toSorted();
const four = ['192.0.2.7', '198.51.100.7'];
const six = ['2001:db8::7'];

const single: Readonly<Record<string, readonly string[]>> = {
  all: [...cluster, 'world', ...four, ...six],
  none: [],
  world: ['world', ...four, ...six],
  'world-ipv4': [],
  'world-ipv6': [],
  cluster,
  host: ['host'],
  'remote-node': ['remote-node', 'kube-apiserver', 'node:n2'],
  'kube-apiserver': ['kube-apiserver'],
  health: ['health'],
  ingress: ['ingress'],
  init: ['init'],
  unmanaged: ['unmanaged'],
};
const dual: Readonly<Record<string, readonly string[]>> = {
  ...single,
  all: [...cluster, 'world-ipv4', 'world-ipv6', ...four, ...six],
  world: ['world-ipv4', 'world-ipv6', ...four, ...six],
  'world-ipv4': ['world-ipv4', ...four],
  'world-ipv6': ['world-ipv6', ...six],
};

for (const [stack, table] of Object.entries({ single, dual })) {
  describe(`entities, ${stack} stack`, () => {
    for (const [entity, wanted] of Object.entries(table)) {
      test(entity, () => {
        assert.deepEqual(reachable({ fromEntities: [entity] }, stack === 'dual'), sorted(...wanted));
      });
    }
  });
}

describe('groups of blocks', () => {
  const group = (name: string, labels: object, externalCIDRs: readonly string[]) => ({
    ...{ kind: 'CiliumCIDRGroup', metadata: { name, labels }, spec: { externalCIDRs } },
  });
  const groups = [
    group('partners', { trust: 'high' }, ['192.0.2.0/24', '2001:db8::/32']),
    group('others', { trust: 'low' }, ['198.51.100.0/24']),
  ];
  const cases: readonly (readonly [name: string, set: object, wanted: readonly string[]])[] = [
    ['by name', { cidrGroupRef: 'partners' }, ['192.0.2.7', ...six]],
    ['by name, except', { cidrGroupRef: 'partners', except: ['192.0.2.0/28'] }, six],
    ['by a name that nobody has', { cidrGroupRef: 'nobody' }, []],
    ['by labels', { cidrGroupSelector: { matchLabels: { trust: 'low' } } }, ['198.51.100.7']],
    [
      'by an expression',
      { cidrGroupSelector: { matchExpressions: [{ key: 'trust', operator: 'Exists' }] } },
      [...four, ...six],
    ],
    ['by labels, except', { cidrGroupSelector: {}, except: ['198.51.100.7/32'] }, ['192.0.2.7', ...six]],
  ];
  for (const [name, set, wanted] of cases) {
    test(name, () => assert.deepEqual(reachable({ fromCIDRSet: [set] }, true, groups), sorted(...wanted)));
  }
});

test('nodes by label, and the entity of all nodes', () => {
  assert.deepEqual(reachable({ fromNodes: [{ matchLabels: { zone: 'a' } }] }, true), ['node:n2']);
  assert.deepEqual(reachable({ fromNodes: [{ matchLabels: { zone: 'b' } }] }, true), []);
  assert.deepEqual(reachable({ fromNodes: [{}] }, true), sorted('remote-node', 'kube-apiserver', 'node:n2'));
});
