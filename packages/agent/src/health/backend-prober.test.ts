import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { afterEach, test } from 'node:test';
import { defineTables, endpointSliceFromK8s, type Parsed, serviceFromK8s } from '@ciliate/model';
import { createDatabase } from '@ciliate/tables';
import { BackendProber } from './backend-prober.ts';

function rowOf<Row>(parsed: Parsed<Row>): Row {
  assert.ok('row' in parsed);
  return parsed.row;
}

const service = (name: string, annotations: object) =>
  rowOf(
    serviceFromK8s({
      metadata: { namespace: 'test', name, annotations },
      spec: {
        clusterIP: '10.96.0.1',
        ports: [
          { name: 'http', port: 80 },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
      },
    }),
  );
const slice = (name: string, addresses: readonly string[], port = 80) =>
  rowOf(
    endpointSliceFromK8s({
      metadata: { namespace: 'test', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [
        { name: 'http', port },
        { name: 'dns', port: 53, protocol: 'UDP' },
      ],
      endpoints: addresses.map(address => ({ addresses: [address] })),
    }),
  );
const checked = { 'ciliate.io/health-check': 'tcp', 'ciliate.io/health-check-interval': '1' };

const probers: BackendProber[] = [];
afterEach(() => Promise.all(probers.splice(0).map(prober => prober.stop())));

function setup(answers?: ReadonlySet<string>) {
  const db = createDatabase();
  const tables = defineTables(db);
  const probed: string[] = [];
  const probe = async (address: string) => {
    probed.push(address);
    return answers?.has(address) ?? false;
  };
  const log = { info: () => undefined, warn: () => undefined };
  const prober = new BackendProber(
    { tick: 10, timeout: 500, failures: 2 },
    { db, ...tables, log, ...(answers === undefined ? {} : { probe }) },
  );
  probers.push(prober);
  const health = () =>
    Object.fromEntries(tables.backendHealth.all().map(row => [row.backend, row.healthy ? 'healthy' : 'unhealthy']));
  const until = async (condition: () => boolean) => {
    while (!condition()) await new Promise(resolve => setTimeout(resolve, 5));
  };
  return { db, tables, prober, probed, health, until };
}

test('backends of services that ask for it are probed, others are not; what cannot be probed counts as healthy', async () => {
  const { db, tables, prober, probed, health, until } = setup(new Set(['10.0.0.1']));
  db.write(txn => {
    tables.services.insert(txn, service('a', checked));
    tables.services.insert(txn, service('b', {}));
    tables.endpointSlices.insert(txn, slice('a', ['10.0.0.1', '10.0.0.2']));
    tables.endpointSlices.insert(txn, slice('b', ['10.0.0.9']));
  });
  assert.equal(tables.backendHealth.initialized, false, 'frontends wait for the first round');
  prober.start();
  await until(() => tables.backendHealth.initialized);
  assert.deepEqual(health(), {
    '10.0.0.1:80/TCP': 'healthy',
    '10.0.0.2:80/TCP': 'unhealthy',
    '10.0.0.1:53/UDP': 'healthy',
    '10.0.0.2:53/UDP': 'healthy',
  });
  assert.ok(!probed.includes('10.0.0.9'));
});

test('without such a service nothing is waited for', async () => {
  const { tables, prober, until } = setup(new Set());
  prober.start();
  await until(() => tables.backendHealth.initialized);
  assert.deepEqual(tables.backendHealth.all(), []);
});

test('one failure of a backend that answered is none yet; the second is, and an answer ends it', async () => {
  const answers = new Set(['10.0.0.1']);
  const { db, tables, prober, probed, health, until } = setup(answers);
  db.write(txn => {
    tables.services.insert(txn, service('a', checked));
    tables.endpointSlices.insert(txn, slice('a', ['10.0.0.1']));
  });
  prober.start();
  await until(() => tables.backendHealth.initialized);
  answers.clear();
  const before = probed.length;
  await until(() => probed.length > before);
  assert.equal(health()['10.0.0.1:80/TCP'], 'healthy');
  await until(() => health()['10.0.0.1:80/TCP'] === 'unhealthy');
  assert.ok(probed.length - before >= 2);
  answers.add('10.0.0.1');
  await until(() => health()['10.0.0.1:80/TCP'] === 'healthy');
});

test('of backends and services that have gone nothing stays', async () => {
  const { db, tables, prober, until, health } = setup(new Set(['10.0.0.1', '10.0.0.2']));
  db.write(txn => {
    tables.services.insert(txn, service('a', checked));
    tables.endpointSlices.insert(txn, slice('a', ['10.0.0.1', '10.0.0.2']));
  });
  prober.start();
  await until(() => tables.backendHealth.size === 4);
  db.write(txn => tables.endpointSlices.insert(txn, slice('a', ['10.0.0.2'])));
  await until(() => tables.backendHealth.size === 2);
  assert.deepEqual(Object.keys(health()).sort(), ['10.0.0.2:53/UDP', '10.0.0.2:80/TCP']);
  db.write(txn => tables.services.insert(txn, service('a', {})));
  await until(() => tables.backendHealth.size === 0);
});

test('a real server answers, a closed port does not', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  const at = server.address();
  const port = typeof at === 'object' && at !== null ? at.port : 0;
  const { db, tables, prober, health, until } = setup();
  db.write(txn => {
    tables.services.insert(txn, service('a', checked));
    tables.endpointSlices.insert(txn, slice('a', ['127.0.0.1'], port));
  });
  prober.start();
  await until(() => health()[`127.0.0.1:${port}/TCP`] === 'healthy');
  server.close();
  await until(() => health()[`127.0.0.1:${port}/TCP`] === 'unhealthy');
});

test('a backend that comes is looked at before its turn', async () => {
  const { db, tables, prober, until, health } = setup(new Set(['10.0.0.1', '10.0.0.2']));
  db.write(txn => {
    tables.services.insert(txn, service('a', { ...checked, 'ciliate.io/health-check-interval': '3600' }));
    tables.endpointSlices.insert(txn, slice('a', ['10.0.0.1']));
  });
  prober.start();
  await until(() => tables.backendHealth.size === 2);
  db.write(txn => tables.endpointSlices.insert(txn, slice('a', ['10.0.0.1', '10.0.0.2'])));
  await until(() => health()['10.0.0.2:80/TCP'] === 'healthy');
});
