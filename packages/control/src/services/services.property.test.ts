import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbBackendFlags, type LbService, LbServiceFlags } from '@ciliate/abi';
import {
  type Address,
  addressFromBytes,
  defineTables,
  type EndpointSliceRow,
  hostPort,
  isIPv4,
  type LbRow,
  type NodeRow,
  nodeConfigDefaults,
  objectKey,
  parseAddress,
  parsePrefix,
  portKey,
  type ServiceRow,
  type Tables,
} from '@ciliate/model';
import { createDatabase, FakeClock, type WriteTxn } from '@ciliate/tables';
import * as fc from 'fast-check';
import { nothingRestored, registerControllers } from '../register-controllers.ts';
import { compileFrontends, nodePortAddressesOf } from './compile-frontends.ts';
import { lbWrites } from './lb-writes.ts';

const config = { ...nodeConfigDefaults, nodeName: 'here' };
const podsV4 = ['10.0.1.1', '10.0.1.2', '10.0.2.1', '192.168.0.9'].map(parseAddress);
const podsV6 = ['fd00:1::1', 'fd00:2::1', '2001:db8::9'].map(parseAddress);
const names = fc.constantFrom('a', 'b');
const portNames = fc.constantFrom('', '', 'http');
const protocols = fc.constantFrom('TCP' as const, 'TCP' as const, 'UDP' as const);
const some = <T>(items: readonly T[]) => fc.subarray([...items]);

const service: fc.Arbitrary<ServiceRow> = fc.record({
  namespace: fc.constant('ns'),
  name: names,
  uid: fc.constant(''),
  type: fc.constantFrom('ClusterIP' as const, 'NodePort' as const, 'LoadBalancer' as const, 'ExternalName' as const),
  labels: fc.constant({}),
  selector: fc.constant({}),
  clusterIPs: some(['10.96.0.1', '10.96.0.2', 'fd00:96::1'].map(parseAddress)),
  externalIPs: some(['203.0.113.1', '10.96.0.1'].map(parseAddress)),
  loadBalancerIPs: some(['198.51.100.1', '203.0.113.1'].map(parseAddress)),
  ports: fc.array(
    fc.record({
      name: portNames,
      port: fc.constantFrom(80, 81),
      protocol: protocols,
      nodePort: fc.constantFrom(0, 30080),
    }),
    { maxLength: 2 },
  ),
  externalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
  internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
  affinityTimeout: fc.constantFrom(0, 10),
  headless: fc.constant(false),
  healthCheckNodePort: fc.constant(0),
  sourceRanges: fc.constant([]),
  sourceRangesDeny: fc.constant(false),
  loadBalancerClass: fc.constant(''),
  trafficDistribution: fc.constant('' as const),
  exposedType: fc.constant('' as const),
  algorithm: fc.constant('' as const),
  forwardingMode: fc.constant('' as const),
  delegatesToProxy: fc.boolean(),
  exposedNodes: fc.constant(undefined),
  created: fc.constant(0),
});

/** An address is of one pod, and a pod runs on one node. */
const endpointOf = (addresses: readonly Address[]) =>
  fc
    .record({
      address: fc.constantFrom(...addresses),
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
      zone: fc.constant(''),
      zoneHints: fc.constant(undefined),
      nodeHints: fc.constant(undefined),
      targetPod: fc.constant(''),
    })
    .map(({ address, ...rest }) => ({
      ...rest,
      address,
      nodeName: addresses.indexOf(address) % 2 === 0 ? 'here' : 'there',
    }));

const slice: fc.Arbitrary<EndpointSliceRow> = fc.boolean().chain(ipv4 =>
  fc.record({
    namespace: fc.constant('ns'),
    name: fc.constantFrom('s1', 's2', 's3', 's4'),
    service: names,
    family: fc.constant(ipv4 ? ('IPv4' as const) : ('IPv6' as const)),
    ports: fc.array(fc.record({ name: portNames, port: fc.constantFrom(8080, 8081), protocol: protocols }), {
      maxLength: 3,
    }),
    endpoints: fc.array(endpointOf(ipv4 ? podsV4 : podsV6), { maxLength: 3 }),
  }),
);

const node: fc.Arbitrary<NodeRow> = fc.boolean().chain(local =>
  fc.record({
    name: fc.constant(local ? 'here' : 'there'),
    local: fc.constant(local),
    labels: fc.constant({}),
    addresses: some(
      (local ? ['172.30.0.11', 'fd00:30::11', '192.168.0.9'] : ['172.30.0.12', 'fd00:30::12']).map(address => ({
        type: 'InternalIP' as const,
        address,
      })),
    ),
    podCIDRs: some((local ? ['10.0.1.0/24', 'fd00:1::/64'] : ['10.0.2.0/24', 'fd00:2::/64']).map(parsePrefix)),
    routerAddresses: fc.constant([]),
    healthAddresses: fc.constant([]),
  }),
);

const endpoint = fc.record({ id: fc.constantFrom(7, 8), addresses: some([...podsV4, ...podsV6]) }).map(it => ({
  ...it,
  containerId: '',
  containerDevice: 'eth0',
  netns: '',
  network: '',
  device: `lxc${it.id}`,
  ifindex: it.id,
  mac: '',
  nodeMac: '',
  podNamespace: 'ns',
  podName: `p${it.id}`,
  podUid: '',
  kind: 'pod' as const,
  state: 'ready' as const,
  identity: 5,
  labels: {},
}));

const remote = fc.record({ name: fc.constantFrom('r1', 'r2'), addresses: some([...podsV4, ...podsV6]) }).map(it => ({
  ...it,
  namespace: 'ns',
  identity: 300,
  nodeAddress: parseAddress('172.30.0.12'),
  namedPorts: {},
}));

type Write = (tables: Tables, txn: WriteTxn) => void;
const write: fc.Arbitrary<Write> = fc.oneof(
  service.map<Write>(row => (tables, txn) => void tables.services.insert(txn, row)),
  slice.map<Write>(row => (tables, txn) => void tables.endpointSlices.insert(txn, row)),
  node.map<Write>(row => (tables, txn) => void tables.nodes.insert(txn, row)),
  endpoint.map<Write>(row => (tables, txn) => void tables.endpoints.insert(txn, row)),
  remote.map<Write>(row => (tables, txn) => void tables.remoteEndpoints.insert(txn, row)),
  names.map<Write>(name => (tables, txn) => void tables.services.delete(txn, `ns/${name}`)),
  fc
    .constantFrom('s1', 's2', 's3')
    .map<Write>(name => (tables, txn) => void tables.endpointSlices.delete(txn, `ns/${name}`)),
  fc.constantFrom('here', 'there').map<Write>(name => (tables, txn) => void tables.nodes.delete(txn, name)),
  fc.constantFrom('7', '8').map<Write>(id => (tables, txn) => void tables.endpoints.delete(txn, id)),
  fc
    .constantFrom('r1', 'r2')
    .map<Write>(name => (tables, txn) => void tables.remoteEndpoints.delete(txn, `ns/${name}`)),
);
const transactions = fc.array(fc.record({ writes: fc.array(write, { maxLength: 4 }), wait: fc.constantFrom(0, 1) }), {
  minLength: 4,
  maxLength: 25,
  size: 'max',
});

const contextOfTests = {
  ipv4: true,
  ipv6: true,
  nodeName: 'here',
  nodeLabels: {},
  algorithm: 'random',
  forwarding: { mode: 'snat', byAnnotation: false },
  externalClusterIP: false,
  sourceRangesForAll: false,
} as const;

function start() {
  const database = createDatabase();
  const tables = defineTables(database);
  const clock = new FakeClock();
  const errors: unknown[] = [];
  const controllers = registerControllers(
    tables,
    config,
    { database, clock, onError: error => errors.push(error) },
    nothingRestored,
  );
  for (const controller of controllers) controller.start();
  return { database, tables, clock, errors };
}

/** Backends of one dialled address, as clients inside or outside the cluster get them, read off the rows in the plainest way. */
function oracle(
  tables: Tables,
  { address, port, protocol }: { readonly address: Address; readonly port: number; readonly protocol: string },
  inside: boolean,
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const nodeIPs = (tables.nodes.get('here')?.addresses ?? []).map(it => it.address);
  let owner: { readonly rank: number; readonly service: ServiceRow; readonly name: string } | undefined;
  for (const candidate of [...tables.services.all()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (candidate.type === 'ExternalName') continue;
    if (candidate.clusterIPs.length + candidate.loadBalancerIPs.length === 0) continue;
    for (const it of candidate.ports) {
      if (it.protocol !== protocol) continue;
      const families = candidate.clusterIPs.map(isIPv4);
      const onNode = nodeIPs.includes(address) || address === '0.0.0.0' || address === '::';
      const hasNodePort = candidate.type === 'NodePort' || candidate.type === 'LoadBalancer';
      const ranks = [
        it.port === port && candidate.clusterIPs.includes(address),
        it.nodePort === port && hasNodePort && onNode && families.includes(isIPv4(address)),
        it.port === port && candidate.loadBalancerIPs.includes(address),
        it.port === port && candidate.externalIPs.includes(address),
      ];
      const rank = ranks.indexOf(true);
      if (rank >= 0 && (owner === undefined || rank < owner.rank)) owner = { rank, service: candidate, name: it.name };
    }
  }
  if (owner === undefined) return found;
  const isInner = owner.rank === 0 || inside;
  const policy = isInner ? owner.service.internalTrafficPolicy : owner.service.externalTrafficPolicy;
  for (const it of tables.endpointSlices.all()) {
    if (it.service !== owner.service.name || (it.family === 'IPv4') !== isIPv4(address)) continue;
    for (const target of it.ports) {
      if (target.name !== owner.name || target.protocol !== protocol) continue;
      for (const one of it.endpoints) {
        const isHere = one.nodeName === 'here' || (owner.service.delegatesToProxy && nodeIPs.includes(one.address));
        if (policy === 'Local' && !isHere) continue;
        const key = hostPort(one.address, target.port);
        if (one.ready) found.set(key, 'active');
        else if (one.serving && one.terminating && !found.has(key)) found.set(key, 'terminating');
      }
    }
  }
  const isTaken = [...found.values()].includes('active');
  return new Map([...found].map(([key, state]) => [key, isTaken && state === 'terminating' ? 'behind' : 'takes']));
}

const conflictsOf = (tables: Tables) =>
  tables.serviceConflicts
    .all()
    .map(row => `${row.service} ${row.frontend} ${row.holder}`)
    .sort();

/** Each service alone: what it would have, and does not have when all are there. */
function wantedConflicts(tables: Tables): readonly string[] {
  const nodePortAddresses = nodePortAddressesOf(tables.nodes.get('here'));
  const context = { ...contextOfTests, nodePortAddresses, nodeAddresses: nodePortAddresses };
  const found = new Set<string>();
  for (const one of tables.services.all()) {
    for (const row of compileFrontends([one], tables.endpointSlices.all(), context)) {
      const holder = tables.frontends.get(portKey(row));
      assert.ok(holder, 'whoever wants an address, somebody has it');
      if (holder.service === row.service) continue;
      const onNode = row.type === 'NodePort' && holder.type === 'NodePort';
      const isAny = row.address === '0.0.0.0' || row.address === '::';
      if (onNode === isAny) found.add(`${row.service} ${portKey(row)} ${holder.service}`);
    }
  }
  return [...found].sort();
}

/** What the maps say after all writes of all rows, read as the datapath reads them. */
function kernelView(rows: readonly LbRow[]) {
  const services = new Map<string, LbService>();
  const backends = new Map<number, { readonly where: string; readonly address: Address; readonly flags: number }>();
  for (const one of rows.flatMap(row => lbWrites(row, nodeConfigDefaults))) {
    if (one.map === 'lb_services') {
      const { address, dport, proto, backendSlot, scope } = one.key;
      services.set(`${addressFromBytes(address)} ${dport} ${proto} ${scope} ${backendSlot}`, one.value);
    } else if (one.map === 'lb_backends') {
      const address = addressFromBytes(one.value.address);
      backends.set(one.key, { where: hostPort(address, one.value.port), address, flags: one.value.flags });
    }
  }
  const backendsOf = (address: Address, port: number, proto: number, inside: boolean) => {
    const outer = services.get(`${address} ${port} ${proto} 0 0`);
    const two = ((outer?.flags ?? 0) & LbServiceFlags.LB_SVC_TWO_SCOPES) !== 0;
    const at = `${address} ${port} ${proto} ${inside && two ? 1 : 0}`;
    const master = services.get(`${at} 0`);
    const found = new Map<string, string>();
    for (let slot = 1; slot <= (master?.count ?? 0) + (master?.qcount ?? 0); slot += 1) {
      const backend = backends.get(services.get(`${at} ${slot}`)?.backendId ?? 0);
      assert.ok(backend, `slot ${slot} of ${at} names a backend`);
      found.set(backend.where, slot <= (master?.count ?? 0) ? 'takes' : 'behind');
    }
    return { master, found };
  };
  return { backendsOf, backends: [...backends.values()] };
}

/** Without those that drop what an address does not serve. */
function frontendRows(tables: Tables): readonly LbRow[] {
  return tables.lbRows.all().filter(row => !row.key.endsWith(':0/ANY'));
}

const dialled = ['10.96.0.1', '10.96.0.2', 'fd00:96::1', '203.0.113.1', '198.51.100.1', '172.30.0.11', '0.0.0.0', '::']
  .map(parseAddress)
  .flatMap(address => [80, 81, 30080].map(port => ({ address, port })));

test('whatever comes in whatever order: rows are those of a fresh start, and dial the backends of the naive reading', async () => {
  await fc.assert(
    fc.asyncProperty(transactions, async steps => {
      const { database, tables, clock, errors } = start();
      for (const { writes, wait } of steps) {
        database.write(txn => {
          for (const one of writes) one(tables, txn);
        });
        await clock.advance(wait);
      }
      await clock.advance(10);
      assert.deepEqual(errors, []);
      const nodePortAddresses = nodePortAddressesOf(tables.nodes.get('here'));
      const fresh = compileFrontends(tables.services.all(), tables.endpointSlices.all(), {
        ...contextOfTests,
        nodePortAddresses,
        nodeAddresses: nodePortAddresses,
      });
      const sorted = <T>(rows: readonly T[], key: (row: T) => string) =>
        [...rows].sort((a, b) => (key(a) < key(b) ? -1 : 1));
      assert.deepEqual(sorted(tables.frontends.all(), portKey), sorted(fresh, portKey));

      const view = kernelView(tables.lbRows.all());
      for (const { address, port } of dialled) {
        for (const [protocol, number] of [['TCP', 6] as const, ['UDP', 17] as const]) {
          for (const inside of [false, true]) {
            const { found, master } = view.backendsOf(address, port, number, inside);
            const wanted = oracle(tables, { address, port, protocol }, inside);
            assert.deepEqual(found, new Map(wanted), `${address} ${port} ${protocol} inside ${inside}`);
            const frontend = tables.frontends.get(portKey({ address, port, protocol }));
            assert.equal(master !== undefined, frontend !== undefined);
          }
        }
      }
      assert.deepEqual(conflictsOf(tables), wantedConflicts(tables), 'who goes without is named, and nobody else');
      for (const { address, flags } of view.backends) {
        const here = tables.endpoints.all().some(row => row.addresses.includes(address));
        const own = tables.nodes.get('here')?.addresses.some(it => it.address === address) === true;
        assert.equal((flags & LbBackendFlags.LB_BACKEND_LOCAL) !== 0, here || own, `${address} local`);
        const elsewhere = tables.remoteEndpoints.all().some(row => row.addresses.includes(address));
        const inCidr = tables.nodes.all().some(row => row.podCIDRs.some(prefix => inPrefix(prefix, address)));
        assert.equal((flags & LbBackendFlags.LB_BACKEND_MANAGED) !== 0, here || (!own && (elsewhere || inCidr)));
      }
      const ids = frontendRows(tables).map(row => row.serviceId);
      assert.equal(new Set(ids).size, ids.length, 'every frontend has an id of its own');
    }),
    { numRuns: 150 * Number(process.env.FUZZ ?? 1) },
  );
});

/** By text: the prefixes above end at a whole part of the address. */
function inPrefix(prefix: string, address: string): boolean {
  return address.startsWith(prefix.replace(/(0\/24|:\/64)$/, ''));
}

test('an unchanged row is not written again when what surrounds it changes', async () => {
  const { database, tables, clock } = start();
  const [first] = fc.sample(service, { numRuns: 1, seed: 1 });
  assert.ok(first);
  const plain: ServiceRow = {
    ...first,
    type: 'ClusterIP',
    clusterIPs: [parseAddress('10.96.0.1')],
    externalIPs: [],
    loadBalancerIPs: [],
    ports: [{ name: '', port: 80, protocol: 'TCP', nodePort: 0 }],
  };
  database.write(txn => tables.services.insert(txn, plain));
  await clock.advance(10);
  const before = frontendRows(tables);
  assert.equal(before.length, 1);
  database.write(txn => {
    tables.services.insert(txn, { ...plain, labels: { changed: 'yes' } });
    tables.services.insert(txn, { ...plain, name: 'z', clusterIPs: [parseAddress('10.96.0.2')] });
  });
  await clock.advance(10);
  assert.equal(tables.lbRows.get('10.96.0.1:80/TCP'), before[0]);
  assert.equal(frontendRows(tables).length, 2);
  assert.equal(objectKey(plain), tables.frontends.get('10.96.0.1:80/TCP')?.service);
});
