import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defineTables, nodeFromK8s } from '@ciliate/model';
import { createDatabase } from '@ciliate/tables';
import { ProxyHealthz } from './proxy-healthz.ts';

const now = new Date('2026-11-21T00:00:00Z');

function healthz(node: unknown, lastUpdated: number | undefined): ProxyHealthz {
  const database = createDatabase();
  const tables = defineTables(database);
  const parsed = nodeFromK8s(node, 'n1');
  database.write(txn => {
    if ('row' in parsed) tables.nodes.insert(txn, parsed.row);
  });
  return new ProxyHealthz(
    { nodeName: 'n1', host: '127.0.0.1', port: 0 },
    { nodes: tables.nodes, lastUpdated: () => lastUpdated, log: { warn: () => undefined } },
  );
}

const plain = { metadata: { name: 'n1' } };
const tainted = { ...plain, spec: { taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] } };
const deleted = { metadata: { name: 'n1', deletionTimestamp: '2026-11-20T00:00:00Z' } };

const cases: readonly (readonly [
  name: string,
  node: unknown,
  last: number | undefined,
  healthz: number,
  livez: number,
])[] = [
  ['a node that works', plain, 1000, 200, 200],
  ['services were never written', plain, undefined, 503, 503],
  ['the autoscaler is about to delete the node', tainted, 1000, 503, 200],
  ['the node is being deleted', deleted, 1000, 503, 200],
];
for (const [name, node, last, wantedHealthz, wantedLivez] of cases) {
  test(`proxy health: ${name}`, () => {
    const server = healthz(node, last);
    assert.equal(server.answer(true, now).status, wantedHealthz);
    assert.equal(server.answer(false, now).status, wantedLivez);
    assert.equal(JSON.parse(server.answer(true, now).body).currentTime, '2026-11-21T00:00:00.000Z');
  });
}
