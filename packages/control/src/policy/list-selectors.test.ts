import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkPolicyFromK8s, parsePrefix } from '@ciliate/model';
import { listSelectors } from './list-selectors.ts';
import { blockIdentity, noPeerContext, type PeerIdentity } from './peers.ts';

const policy = (name: string, from: readonly unknown[]) => {
  const parsed = networkPolicyFromK8s({
    metadata: { namespace: 'shop', name },
    spec: { podSelector: { matchLabels: { app: 'db' } }, ingress: [{ from }] },
  });
  assert.ok('row' in parsed);
  return parsed.row;
};
const pod = (id: number, app: string): PeerIdentity => ({
  id,
  labels: { 'k8s:app': app, 'k8s:io.kubernetes.pod.namespace': 'shop' },
  prefix: undefined,
  kind: 'labels',
  namedPorts: new Map(),
});
const web = { podSelector: { matchLabels: { app: 'web' } } };
const block = { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } };

test('selectors name whom they stand for, and who uses them', () => {
  const policies = [policy('one', [web, block]), policy('two', [web])];
  const blocks = [
    blockIdentity({ kind: 'class', prefix: parsePrefix('10.0.0.0/8'), id: 0x0200_0000 }, false),
    blockIdentity({ kind: 'class', prefix: parsePrefix('10.1.0.0/16'), id: 0x0200_0001 }, false),
  ];
  const listed = listSelectors(policies, [pod(400, 'web'), pod(300, 'web'), pod(500, 'db'), ...blocks], noPeerContext);
  const view = listed.map(({ selector, identities, users, policies: by }) => [
    selector,
    identities,
    users,
    by.map(({ name }) => name),
  ]);
  assert.deepEqual(view, [
    ['io.kubernetes.pod.namespace=shop, app=db', [500], 2, ['one', 'two']],
    ['io.kubernetes.pod.namespace=shop, app=web', [300, 400], 2, ['one', 'two']],
    ['ipBlock:10.0.0.0/8 except 10.1.0.0/16', [0x0200_0000], 1, ['one']],
  ]);
});
