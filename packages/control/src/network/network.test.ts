import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointFlags } from '@ciliate/abi';
import {
  addressFromBytes,
  type DeviceRow,
  defineTables,
  type EndpointRow,
  type NodeConfig,
  type NodeRow,
  nodeConfigDefaults,
  parseAddress,
  parsePrefix,
} from '@ciliate/model';
import { createDatabase, done, FakeClock } from '@ciliate/tables';
import { registerControllers } from '../register-controllers.ts';
import { netdevEntries } from './compile-devices.ts';
import { deviceEntries } from './compile-endpoints.ts';
import { nodeIpcache } from './compile-ipcache.ts';
import { compileRoutes } from './compile-routes.ts';

const config: NodeConfig = { ...nodeConfigDefaults, nodeName: 'node-1' };

function node(n: number): NodeRow {
  return {
    name: `node-${n}`,
    local: n === 1,
    labels: {},
    addresses: [
      { type: 'Hostname', address: `node-${n}` },
      { type: 'InternalIP', address: `172.30.0.1${n}` },
      { type: 'InternalIP', address: `fd00:172:30::1${n}` },
    ],
    podCIDRs: [parsePrefix(`10.244.${n}.0/24`), parsePrefix(`fd00:10:244:${n}::/64`)],
    routerAddresses: [parseAddress(`10.244.${n}.1`), parseAddress(`fd00:10:244:${n}::1`)],
    healthAddresses: [],
  };
}

const routesOf = (changes: Partial<NodeConfig>, nodes: readonly NodeRow[] = [node(1), node(2)]) =>
  compileRoutes(nodes, { ...config, ...changes }, 0)
    .map(row => `${row.prefix} dev ${row.device} via ${row.gateway} src ${row.source} mtu ${row.mtu}`)
    .sort();

test('routes, tunnel: every pod CIDR through the host device, others with the path’s MTU', () => {
  assert.deepEqual(routesOf({}), [
    '10.244.1.0/24 dev ciliate_host via undefined src 10.244.1.1 mtu 0',
    '10.244.2.0/24 dev ciliate_host via undefined src 10.244.1.1 mtu 1450',
    'fd00:10:244:1::/64 dev ciliate_host via undefined src fd00:10:244:1::1 mtu 0',
    'fd00:10:244:2::/64 dev ciliate_host via undefined src fd00:10:244:1::1 mtu 1450',
  ]);
});

test('routes, native: other nodes by their addresses of the same family, only when asked', () => {
  assert.deepEqual(routesOf({ routingMode: 'native', autoDirectNodeRoutes: true, ipv6: false }), [
    '10.244.1.0/24 dev ciliate_host via undefined src 10.244.1.1 mtu 0',
    '10.244.2.0/24 dev eth0 via 172.30.0.12 src 10.244.1.1 mtu 0',
  ]);
  assert.equal(routesOf({ routingMode: 'native' }).length, 2);
  assert.deepEqual(routesOf({}, [node(2)]), []);
});

test('ipcache, native: nobody is behind a tunnel', () => {
  const claims = nodeIpcache(node(2), { ...config, routingMode: 'native' }, 0);
  assert.equal(claims.length, 6);
  assert.ok(claims.every(claim => claim.row.value.tunnelEndpoint.every(byte => byte === 0)));
});

test('ipcache: a node without IPv4 is reached through its IPv6 address', () => {
  const only6 = { ...node(2), addresses: node(2).addresses.filter(it => it.address.includes(':')) };
  const [first] = nodeIpcache(only6, config, 0);
  assert.ok(first);
  assert.equal(addressFromBytes(first.row.value.tunnelEndpoint), 'fd00:172:30::12');
});

const device: DeviceRow = {
  name: 'eth0',
  ifindex: 2,
  mac: '02:00:00:00:00:0a',
  mtu: 1500,
  kind: 'veth',
  up: true,
  addresses: [parsePrefix('fe80::1/128'), parsePrefix('172.30.0.11/32'), parsePrefix('fd00:172:30::11/128')],
  native: true,
};

test('a native device is known by its first address of each family that is not link-local', () => {
  const [claim] = netdevEntries(device, config, 0);
  assert.ok(claim);
  assert.equal(addressFromBytes(claim.row.value.ipv4), '172.30.0.11');
  assert.equal(addressFromBytes(claim.row.value.ipv6), 'fd00:172:30::11');
  assert.deepEqual([...claim.row.value.mac], [2, 0, 0, 0, 0, 10]);
  assert.equal(claim.row.value.l3, 0);
  assert.deepEqual(netdevEntries({ ...device, up: false }, config, 0), []);
  assert.deepEqual(netdevEntries({ ...device, native: false }, config, 0), []);
  assert.equal(netdevEntries({ ...device, mac: '' }, config, 0)[0]?.row.value.l3, 1);
  assert.deepEqual(
    deviceEntries(device, config, 0).map(it => it.key),
    ['172.30.0.11', 'fd00:172:30::11'],
  );
});

const endpoint: EndpointRow = {
  id: 9,
  containerId: 'c',
  containerDevice: 'eth0',
  netns: '/run/netns/x',
  network: 'ciliate',
  device: 'lxc9',
  ifindex: 30,
  mac: '02:00:00:00:00:01',
  nodeMac: '02:00:00:00:00:02',
  addresses: [parseAddress('10.244.1.5')],
  podNamespace: 'ns',
  podName: 'p',
  podUid: 'u',
  kind: 'pod',
  state: 'ready',
  identity: 5,
  labels: {},
};

/** All controllers of a node, with no source that has delivered. */
function start() {
  const database = createDatabase();
  const tables = defineTables(database);
  const reports = [tables.nodes, tables.services, tables.remoteEndpoints].map(table =>
    table.registerInitializer('k8s'),
  );
  const clock = new FakeClock();
  for (const controller of registerControllers(tables, config, { database, clock })) controller.start();
  return { database, tables, clock, reports };
}

test('an endpoint is connected while the API server is away, and nothing may be pruned', async () => {
  const { database, tables, clock, reports } = start();
  database.write(txn => tables.endpoints.insert(txn, endpoint));
  await clock.advance(1);
  assert.equal(tables.endpointMapRows.get('10.244.1.5')?.value.ifindex, 30);
  assert.equal(tables.endpointDeviceRows.get('lxc9')?.endpointId, 9);
  assert.equal(tables.ipcacheRows.get('10.244.1.5/32')?.value.identity, 5);
  assert.equal(tables.endpointDeviceRows.initialized, true);
  for (const table of [tables.ipcacheRows, tables.endpointMapRows, tables.routeRows, tables.lbRows]) {
    assert.equal(table.initialized, false, table.spec.name);
  }
  database.write(txn => {
    for (const report of reports) report(txn);
  });
  await clock.advance(5);
  for (const table of database.tables()) assert.equal(table.initialized, true, table.spec.name);
});

test('the row of an endpoint wins over a stale one from elsewhere, which comes back when it goes', async () => {
  const { database, tables, clock, reports } = start();
  const [address] = endpoint.addresses;
  assert.ok(address);
  const stale = {
    namespace: 'ns',
    name: 'p',
    addresses: [address],
    identity: 400,
    nodeAddress: parseAddress('172.30.0.12'),
    namedPorts: {},
  };
  database.write(txn => {
    for (const report of reports) report(txn);
    tables.identities.insert(txn, { id: 400, labels: {}, reserved: false });
    tables.remoteEndpoints.insert(txn, stale);
    tables.endpoints.insert(txn, endpoint);
  });
  await clock.advance(1);
  database.write(txn => {
    for (const row of tables.policyGroups.all()) tables.policyGroups.insert(txn, { ...row, status: done(0) });
  });
  await clock.advance(1);
  assert.equal(tables.ipcacheRows.get('10.244.1.5/32')?.source, 'endpoint');
  database.write(txn => tables.endpoints.delete(txn, '9'));
  await clock.advance(1);
  assert.equal(tables.ipcacheRows.get('10.244.1.5/32')?.value.identity, 400);
  assert.equal(tables.endpointMapRows.size, 0);
});

test('an endpoint that changes its identity keeps its other rows', async () => {
  const { database, tables, clock } = start();
  database.write(txn => tables.endpoints.insert(txn, endpoint));
  await clock.advance(1);
  const program = tables.endpointDeviceRows.get('lxc9');
  database.write(txn => tables.endpoints.insert(txn, { ...endpoint, identity: 300, kind: 'health' }));
  await clock.advance(1);
  assert.equal(tables.endpointDeviceRows.get('lxc9'), program);
  const value = tables.endpointMapRows.get('10.244.1.5')?.value;
  assert.deepEqual([value?.identity, value?.flags], [300, EndpointFlags.ENDPOINT_HEALTH]);
});
