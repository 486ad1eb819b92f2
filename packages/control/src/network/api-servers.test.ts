import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defineTables, type EndpointSliceRow, type NodeRow, nodeConfigDefaults, parseAddress } from '@ciliate/model';
import { createDatabase, FakeClock } from '@ciliate/tables';
import { blockIdentity } from '../policy/peers.ts';
import { registerControllers } from '../register-controllers.ts';

const node = (name: string, local: boolean, address: string): NodeRow => ({
  name,
  local,
  labels: {},
  addresses: [{ type: 'InternalIP', address }],
  podCIDRs: [],
  routerAddresses: [],
  healthAddresses: [],
});
const slice = (addresses: readonly string[]): EndpointSliceRow => ({
  namespace: 'default',
  name: 'kubernetes',
  service: 'kubernetes',
  family: 'IPv4',
  ports: [],
  endpoints: addresses.map(address => ({
    address: parseAddress(address),
    ...{ ready: true, serving: true, terminating: false },
    ...{ nodeName: '', zone: '', zoneHints: undefined, nodeHints: undefined },
    targetPod: '',
  })),
});

test('the API server has an identity of its own: other nodes by number 7, outsiders by their block', async () => {
  const db = createDatabase();
  const tables = defineTables(db);
  const clock = new FakeClock();
  const modules = { database: db, clock, onError: (error: unknown) => assert.fail(String(error)) };
  const config = { ...nodeConfigDefaults, nodeName: 'here', ipv4: true, ipv6: true };
  const controllers = registerControllers(tables, config, modules);
  for (const controller of controllers) controller.start();
  const settle = async () => {
    await clock.advance(1000);
    return Object.fromEntries(tables.ipcacheRows.all().map(row => [row.prefix, row.value.identity]));
  };
  db.write(txn => {
    tables.nodes.insert(txn, node('here', true, '172.30.0.11'));
    tables.nodes.insert(txn, node('there', false, '172.30.0.12'));
  });
  const before = { '172.30.0.11/32': 1, '172.30.0.12/32': 6 };
  assert.deepEqual(await settle(), before);
  db.write(txn => {
    tables.endpointSlices.insert(txn, slice(['172.30.0.11', '172.30.0.12', '192.0.2.1']));
  });
  const block = 0x0100_0000;
  assert.deepEqual(await settle(), { '172.30.0.11/32': 1, '172.30.0.12/32': 7, '192.0.2.1/32': block });
  const [row] = tables.addressBlocks.all();
  assert.ok(row !== undefined);
  assert.deepEqual(blockIdentity(row, false).labels, {
    'reserved:world': '',
    'cidr:192.0.2.1/32': '',
    'reserved:kube-apiserver': '',
  });
  db.write(txn => {
    tables.endpointSlices.delete(txn, 'default/kubernetes');
  });
  assert.deepEqual(await settle(), before);
  for (const controller of controllers) controller.stop();
});
