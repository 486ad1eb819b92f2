/** What users can write and no service can be made of: told by name, and the services beside it go on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defineTables,
  endpointSliceFromK8s,
  type NodeConfig,
  nodeConfigDefaults,
  type Parsed,
  serviceFromK8s,
} from '@ciliate/model';
import { createDatabase, FakeClock } from '@ciliate/tables';
import { nothingRestored, registerControllers } from '../register-controllers.ts';

function start(config: Partial<NodeConfig> = {}) {
  const database = createDatabase();
  const tables = defineTables(database);
  const clock = new FakeClock();
  const errors: unknown[] = [];
  const modules = { database, clock, onError: (error: unknown) => errors.push(error) };
  const all = { ...nodeConfigDefaults, nodeName: 'here', ...config };
  for (const controller of registerControllers(tables, all, modules, nothingRestored)) controller.start();
  return { database, tables, clock, errors };
}

function rowOf<Row>(parsed: Parsed<Row>): Row {
  assert.ok('row' in parsed, 'the object has a row');
  return parsed.row;
}

function service(name: string, clusterIP: string, more: object = {}) {
  const spec = { clusterIP, ports: [{ port: 80 }], ...more };
  return rowOf(serviceFromK8s({ metadata: { namespace: 'test', name }, spec }));
}

function slice(name: string, of: string, addresses: readonly string[]) {
  const metadata = { namespace: 'test', name, labels: { 'kubernetes.io/service-name': of } };
  const endpoints = addresses.map(address => ({ addresses: [address] }));
  return rowOf(endpointSliceFromK8s({ metadata, addressType: 'IPv4', ports: [{ port: 80 }], endpoints }));
}

/** The i-th address of 10.128.0.0/9. */
function nth(i: number): string {
  return `10.${128 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
}

/** `count` endpoints of a service in slices of a thousand. */
function slicesOf(of: string, count: number) {
  return Array.from({ length: Math.ceil(count / 1000) }, (_, i) => {
    const size = Math.min(1000, count - i * 1000);
    return slice(
      `${of}-${i}`,
      of,
      Array.from({ length: size }, (_unused, j) => nth(i * 1000 + j)),
    );
  });
}

function statusOf({ tables }: ReturnType<typeof start>, key: string): string {
  const status = tables.lbRows.get(key)?.status;
  return status?.kind === 'error' ? status.error : (status?.kind ?? 'none');
}

test('70,000 endpoints in one service: refused with its name, others go on; it is served when there are fewer', async () => {
  const node = start({ lbServicesMax: 200_000, lbBackendsMax: 200_000 });
  const { database, tables, clock, errors } = node;
  database.write(txn => {
    tables.services.insert(txn, service('huge', '10.96.0.1'));
    tables.services.insert(txn, service('small', '10.96.0.2'));
    for (const row of slicesOf('huge', 70_000)) tables.endpointSlices.insert(txn, row);
    tables.endpointSlices.insert(txn, slice('small-0', 'small', ['10.0.0.1']));
  });
  await clock.advance(10);
  const why = 'test/huge does not fit: 10.96.0.1:80/TCP has 70000 backends, and 65535 are possible: split the service';
  assert.equal(statusOf(node, '10.96.0.1:80/TCP'), why);
  assert.equal(tables.lbRows.get('10.96.0.1:80/TCP')?.serves, undefined);
  assert.equal(statusOf(node, '10.96.0.2:80/TCP'), 'pending');

  database.write(txn => {
    for (let i = 60; i < 70; i += 1) tables.endpointSlices.delete(txn, `test/huge-${i}`);
  });
  await clock.advance(10);
  assert.equal(statusOf(node, '10.96.0.1:80/TCP'), 'pending');
  assert.equal(tables.lbRows.get('10.96.0.1:80/TCP')?.backendIds.length, 60_000);
  assert.deepEqual(errors, []);
});

test('a change that no longer fits leaves what the kernel holds', async () => {
  const node = start({ lbServicesMax: 10 });
  const { database, tables, clock } = node;
  database.write(txn => {
    tables.services.insert(txn, service('echo', '10.96.0.1'));
    tables.endpointSlices.insert(txn, slice('echo-0', 'echo', ['10.0.0.1']));
  });
  await clock.advance(10);
  const before = tables.lbRows.get('10.96.0.1:80/TCP');
  assert.ok(before);
  database.write(txn => {
    for (const row of slicesOf('echo', 20)) tables.endpointSlices.insert(txn, row);
  });
  await clock.advance(10);
  assert.match(statusOf(node, '10.96.0.1:80/TCP'), /^test\/echo does not fit: lb_services would need \d+ entries/);
  assert.equal(tables.lbRows.get('10.96.0.1:80/TCP')?.serves, before.serves);
});

test('one service with the same port twice conflicts with nobody', async () => {
  const { database, tables, clock } = start();
  const ports = [
    { name: 'a', port: 80 },
    { name: 'b', port: 80 },
  ];
  database.write(txn => tables.services.insert(txn, service('twice', '10.96.0.1', { ports })));
  await clock.advance(10);
  assert.deepEqual(
    tables.frontends.all().map(row => row.portName),
    ['a'],
  );
  assert.deepEqual(tables.serviceConflicts.all(), []);
});

const unreadable: readonly (readonly [annotation: string, value: string])[] = [
  ['service.cilium.io/type', 'Everything'],
  ['service.cilium.io/lb-algorithm', 'round-robin'],
  ['service.cilium.io/forwarding-mode', 'magic'],
  ['service.cilium.io/src-ranges-policy', 'perhaps'],
  ['service.cilium.io/node-selector', 'a in (b'],
  ['service.cilium.io/affinity', 'somewhere'],
  ['service.cilium.io/proxy-delegation', 'always'],
  ['ciliate.io/health-check', 'icmp'],
  ['ciliate.io/proxy-port', '70000'],
  ['ciliate.io/proxy-port', 'http'],
];

for (const [annotation, value] of unreadable) {
  test(`${annotation}: ${value} is named, and the service is as without it`, () => {
    const spec = { clusterIP: '10.96.0.1', ports: [{ port: 80 }] };
    const parse = (annotations: object) =>
      serviceFromK8s({ metadata: { namespace: 'test', name: 'echo', annotations }, spec });
    const parsed = parse({ [annotation]: value });
    assert.ok('row' in parsed);
    assert.deepEqual(
      parsed.problems.map(problem => problem.field),
      [`metadata.annotations.${annotation}`],
    );
    assert.deepEqual(parsed.row, rowOf(parse({})));
  });
}

test('addresses of a slice that cannot be read are named, the others serve', () => {
  const texts = ['10.0.0.1', '10.0.0.256', '', 'pod-7', 'fd00::1', '10.0.0.2/32', '10.0.0.3'];
  const metadata = { namespace: 'test', name: 'x', labels: { 'kubernetes.io/service-name': 'echo' } };
  const endpoints = texts.map(address => ({ addresses: [address] }));
  const parsed = endpointSliceFromK8s({ metadata, addressType: 'IPv4', ports: [{ port: 80 }], endpoints });
  assert.ok('row' in parsed);
  assert.deepEqual(
    parsed.row.endpoints.map(endpoint => endpoint.address),
    ['10.0.0.1', 'fd00::1', '10.0.0.3'],
  );
  // fd00::1 is an address of the family that the slice is not of: the API server does not let that happen.
  assert.deepEqual(
    parsed.problems.map(problem => problem.field),
    [1, 2, 3, 5].map(i => `endpoints[${i}].addresses[0]`),
  );
});
