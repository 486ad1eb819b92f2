import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defineTables,
  endpointSliceFromK8s,
  nodeConfigDefaults,
  nodeFromK8s,
  type Parsed,
  parsePrefix,
  serviceFromK8s,
} from '@ciliate/model';
import { createDatabase, FakeClock } from '@ciliate/tables';
import { nothingRestored, registerControllers } from '../register-controllers.ts';

function rowOf<Row>(parsed: Parsed<Row>): Row {
  assert.ok('row' in parsed);
  return parsed.row;
}

/** Addresses on which a NodePort answers outsiders. */
async function answering(cidrs: readonly string[]): Promise<readonly string[]> {
  const database = createDatabase();
  const tables = defineTables(database);
  const clock = new FakeClock();
  const config = { ...nodeConfigDefaults, nodeName: 'here', nodePortCIDRs: cidrs.map(parsePrefix) };
  for (const controller of registerControllers(tables, config, { database, clock }, nothingRestored))
    controller.start();
  const addresses = ['172.30.0.11', '198.51.100.7'].map((address, i) => ({
    type: i === 0 ? 'InternalIP' : 'ExternalIP',
    address,
  }));
  const metadata = { namespace: 'a', name: 'web' };
  const spec = { type: 'NodePort', clusterIP: '10.96.0.1', ports: [{ port: 80, nodePort: 30_080 }] };
  const slice = {
    metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ port: 80 }],
    endpoints: [{ addresses: ['10.0.0.1'] }],
  };
  database.write(txn => {
    tables.nodes.insert(txn, rowOf(nodeFromK8s({ metadata: { name: 'here' }, status: { addresses } }, 'here')));
    tables.services.insert(txn, rowOf(serviceFromK8s({ metadata, spec })));
    tables.endpointSlices.insert(txn, rowOf(endpointSliceFromK8s(slice)));
  });
  await clock.advance(10);
  return tables.frontends
    .all()
    .filter(row => row.type === 'NodePort' && row.routable)
    .map(row => row.address);
}

test('NodePorts answer on all addresses of the node, or on those that are asked for', async () => {
  assert.deepEqual(await answering([]), ['172.30.0.11', '198.51.100.7']);
  assert.deepEqual(await answering(['172.30.0.0/24', 'fd00::/64']), ['172.30.0.11']);
  assert.deepEqual(await answering(['203.0.113.0/24']), []);
});
