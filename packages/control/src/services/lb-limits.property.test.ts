/** Whatever services come and go: what their rows write is never more than the maps hold, and who is refused is served when there is room. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defineTables,
  endpointSliceFromK8s,
  nodeConfigDefaults,
  nodeFromK8s,
  type Parsed,
  serviceFromK8s,
} from '@ciliate/model';
import { createDatabase, FakeClock } from '@ciliate/tables';
import * as fc from 'fast-check';
import { nothingRestored, registerControllers } from '../register-controllers.ts';
import { lbWrites } from './lb-writes.ts';

const limits = { lbServicesMax: 14, lbBackendsMax: 8, lbRevnatMax: 6, lbSourceRangesMax: 3 };
const config = { ...nodeConfigDefaults, nodeName: 'here', lbMode: 'dsr', ...limits } as const;

const backends = [1, 2, 3, 4, 5, 6, 7, 8].map(n => `10.0.0.${n}`);

const service = fc.record({
  name: fc.constantFrom('a', 'b', 'c', 'd'),
  ports: fc.subarray([80, 81, 82], { minLength: 1 }),
  balancers: fc.subarray(['192.0.2.1', '192.0.2.2']),
  ranges: fc.subarray(['10.0.0.0/8', 'fd00::/8']),
  affinity: fc.boolean(),
  backends: fc.oneof(fc.subarray(backends, { maxLength: 4 }), fc.constant(backends)),
});
/** All backends are of this node, the first is near for it, and other nodes may choose any: lb_dsr has more than there are slots. */
const zoneOf = (address: string): string => (address === '10.0.0.1' ? 'a' : 'b');
const zoneLabel = 'topology.kubernetes.io/zone';

type Wanted = typeof service extends fc.Arbitrary<infer T> ? T : never;
const steps = fc.array(fc.record({ wanted: service, deleted: fc.boolean() }), { minLength: 1, maxLength: 12 });

function rowOf<Row>(parsed: Parsed<Row>): Row {
  assert.ok('row' in parsed);
  return parsed.row;
}

function serviceRow({ name, ports, balancers, ranges, affinity }: Wanted) {
  return rowOf(
    serviceFromK8s({
      metadata: { namespace: 'ns', name },
      spec: {
        trafficDistribution: 'PreferClose',
        ...{ type: 'LoadBalancer', clusterIP: `10.96.0.${name.charCodeAt(0)}`, loadBalancerSourceRanges: ranges },
        ...{ ports: ports.map(port => ({ name: `p${port}`, port })), sessionAffinity: affinity ? 'ClientIP' : 'None' },
      },
      status: { loadBalancer: { ingress: balancers.map(ip => ({ ip })) } },
    }),
  );
}

function sliceRow({ name, ports, backends }: Wanted) {
  return rowOf(
    endpointSliceFromK8s({
      metadata: { namespace: 'ns', name, labels: { 'kubernetes.io/service-name': name } },
      ...{ addressType: 'IPv4', ports: ports.map(port => ({ name: `p${port}`, port })) },
      endpoints: backends.map(address => ({ addresses: [address], hints: { forZones: [{ name: zoneOf(address) }] } })),
    }),
  );
}

test('no map gets more than it holds', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async all => {
      const database = createDatabase();
      const tables = defineTables(database);
      const clock = new FakeClock();
      const modules = { database, clock, onError: (error: unknown) => assert.ifError(error) };
      for (const controller of registerControllers(tables, config, modules, nothingRestored)) controller.start();
      const addresses = backends.map(address => ({ type: 'InternalIP', address }));
      const node = { metadata: { name: 'here', labels: { [zoneLabel]: 'a' } }, status: { addresses } };
      database.write(txn => tables.nodes.insert(txn, rowOf(nodeFromK8s(node, 'here'))));
      for (const { wanted, deleted } of all) {
        database.write(txn => {
          if (deleted) tables.services.delete(txn, `ns/${wanted.name}`);
          else tables.services.insert(txn, serviceRow(wanted));
          if (deleted) tables.endpointSlices.delete(txn, `ns/${wanted.name}`);
          else tables.endpointSlices.insert(txn, sliceRow(wanted));
        });
        await clock.advance(10);
        const writes = tables.lbRows.all().flatMap(row => lbWrites(row, { maglevSize: 251, maglevSeed: 1 }));
        const keys = (map: string) =>
          new Set(writes.filter(one => one.map === map).map(one => JSON.stringify(one.key, plain))).size;
        assert.ok(keys('lb_services') <= limits.lbServicesMax, `${keys('lb_services')} of lb_services`);
        assert.ok(keys('lb_affinity_match') <= limits.lbServicesMax);
        assert.ok(keys('lb_backends') <= limits.lbBackendsMax);
        assert.ok(keys('lb_revnat') <= limits.lbRevnatMax);
        assert.ok(keys('lb_source_ranges') <= limits.lbSourceRangesMax);
        assert.ok(keys('lb_dsr') <= limits.lbServicesMax, `${keys('lb_dsr')} of lb_dsr`);
      }
      // Whoever is alone fits.
      database.write(txn => {
        for (const row of tables.services.all()) tables.services.delete(txn, `ns/${row.name}`);
        tables.services.insert(txn, serviceRow(alone));
      });
      await clock.advance(10);
      assert.ok(tables.lbRows.all().length > 1);
      assert.deepEqual(
        tables.lbRows.all().filter(({ status }) => status.kind === 'error'),
        [],
      );
    }),
    { numRuns: 150 },
  );
});

const alone: Wanted = {
  name: 'a',
  ports: [80],
  balancers: ['192.0.2.1'],
  ranges: ['10.0.0.0/8'],
  affinity: true,
  backends: [],
};

const plain = (_name: string, value: unknown) => (value instanceof Uint8Array ? [...value] : value);
