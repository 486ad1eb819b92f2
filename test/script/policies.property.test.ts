/**
 * Random sequences of policies, pods, nodes and identity numbers, in any order, with one map write in ten failing and restarts between them:
 * after every step the maps say of every packet what the API texts say of it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Address,
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumNetworkPolicyFromK8s,
  type EndpointRow,
  endpointSliceFromK8s,
  type Labels,
  type NodeRow,
  networkPolicyFromK8s,
  type PodRow,
  type PolicyRow,
  type Protocol,
  parseAddress,
  parsePrefix,
  policyKey,
  type RemoteEndpointRow,
  serviceFromK8s,
  type Tables,
} from '@ciliate/model';
import type { RWTable, WriteTxn } from '@ciliate/tables';
import * as fc from 'fast-check';
import { oracleVerdict, type Party, type RawPolicy } from '../../packages/control/src/policy/oracle.test-lib.ts';
import {
  cidrGroups,
  flows,
  host,
  init,
  outside,
  pods,
  policies,
  services,
} from '../../packages/control/src/policy/policies.test-lib.ts';
import { type InputTable, judge, makePolicyMaps, PolicyWorld } from './policy-world.ts';

const protocolNumbers = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;

function labelsOf({ labels }: Party): Labels {
  return Object.fromEntries(
    labels.map(label => {
      const at = label.indexOf('=');
      return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
    }),
  );
}

/** Pods may be anywhere and have any number; two never share one. */
const kinds: readonly Party[] = [...pods, init];
const slots = ['10.244.1.1', '10.244.1.2', '10.244.1.9', '10.244.2.1', '10.244.2.2', 'fd00:1::5'] as const;
const isLocal = (slot: number): boolean => slot < 3;
const otherNodes = [
  { name: 'b', address: '192.168.0.2', labels: { zone: 'b' } },
  { name: 'c', address: '192.168.0.3', labels: { zone: 'a', role: 'x' } },
] as const;

/** Everything that the API server and the CNI say at one moment, by table and key. */
class Facts {
  readonly rows = new Map<string, { readonly table: InputTable; readonly key: string; readonly row: object }>();

  set(table: InputTable, key: string, row: object | undefined): void {
    if (row === undefined) this.rows.delete(`${table} ${key}`);
    else this.rows.set(`${table} ${key}`, { table, key, row });
  }
}

interface Moment {
  /** Slot → kind. */
  readonly where: ReadonlyMap<number, number>;
  /** Kind → identity number. */
  readonly numbers: readonly number[];
  readonly nodes: ReadonlySet<string>;
  readonly policies: ReadonlyMap<string, RawPolicy>;
}

type Change =
  | { readonly what: 'policy'; readonly policy: RawPolicy; readonly isThere: boolean }
  | { readonly what: 'place'; readonly slot: number; readonly kind: number }
  | { readonly what: 'number'; readonly kind: number; readonly number: number }
  | { readonly what: 'node'; readonly node: 'b' | 'c' };

function after({ where, numbers, nodes, policies: known }: Moment, change: Change): Moment {
  const before = { where, numbers, nodes, policies: known };
  if (change.what === 'policy') {
    const key = policyKey(rowOf(change.policy));
    const next = new Map(known);
    if (change.isThere) next.set(key, change.policy);
    else next.delete(key);
    return { ...before, policies: next };
  }
  if (change.what === 'place') {
    const next = new Map([...where].filter(([slot, kind]) => slot !== change.slot && kind !== change.kind));
    if (change.kind >= 0) next.set(change.slot, change.kind);
    return { ...before, where: next };
  }
  if (change.what === 'number') {
    // A number is another's only when nobody has it any more.
    const placed = new Set([...where.values()].flatMap(kind => [numbers[kind] ?? 0]));
    const own = numbers[change.kind] ?? 0;
    if (placed.has(own) || placed.has(change.number)) return before;
    return {
      ...before,
      numbers: numbers.map(one => (one === change.number ? own : one)).with(change.kind, change.number),
    };
  }
  const next = new Set(nodes);
  if (!next.delete(change.node)) next.add(change.node);
  return { ...before, nodes: next };
}

const isInit = (kind: number): boolean => kinds[kind] === init;
const identityOf = ({ numbers }: Moment, kind: number): number => (isInit(kind) ? 5 : (numbers[kind] ?? 0));

function factsOf(moment: Moment): Facts {
  const facts = new Facts();
  for (const [key, policy] of moment.policies) {
    const row = rowOf(policy);
    facts.set(tableOf(row), key, row);
  }
  for (const [kind, number] of moment.numbers.entries()) {
    const party = kinds[kind];
    if (party === undefined || isInit(kind)) continue;
    facts.set('identities', String(number), { id: number, labels: labelsOf(party), reserved: false });
  }
  for (const [slot, kind] of moment.where) {
    const party = kinds[kind];
    if (party === undefined) continue;
    const identity = identityOf(moment, kind);
    if (isLocal(slot)) {
      facts.set('endpoints', String(slot + 10), localEndpoint(slot, kind, party, identity));
      facts.set('pods', `ns/k${kind}`, podOf(kind, party));
    } else facts.set('remoteEndpoints', `ns/k${kind}`, remoteEndpoint(slot, kind, party, identity));
  }
  const own = { name: 'here', address: '192.168.0.1', labels: { zone: 'a' } };
  for (const node of [own, ...otherNodes.filter(({ name }) => moment.nodes.has(name))]) {
    facts.set('nodes', node.name, nodeRow(node));
  }
  for (const [name, cidrs] of Object.entries(cidrGroups)) {
    facts.set('cidrGroups', name, { name, labels: {}, cidrs: cidrs.map(parsePrefix) });
  }
  addServices(facts);
  return facts;
}

function localEndpoint(slot: number, kind: number, party: Party, identity: number): EndpointRow {
  return {
    ...{
      id: slot + 10,
      containerId: `c${slot}`,
      containerDevice: 'eth0',
      netns: '',
      network: '',
      device: `lxc${slot}`,
    },
    ...{ ifindex: slot + 40, mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02' },
    addresses: [addressOf(slot)],
    ...{ podNamespace: 'ns', podName: `k${kind}`, podUid: '', kind: 'pod', state: 'ready', identity },
    labels: labelsOf(party),
  };
}

function remoteEndpoint(slot: number, kind: number, party: Party, identity: number): RemoteEndpointRow {
  const nodeAddress = parseAddress('192.168.0.2');
  return {
    namespace: 'ns',
    name: `k${kind}`,
    addresses: [addressOf(slot)],
    identity,
    nodeAddress,
    namedPorts: portsOf(party),
  };
}

function podOf(kind: number, party: Party): PodRow {
  return {
    ...{ namespace: 'ns', name: `k${kind}`, uid: '', nodeName: 'here', labels: {}, serviceAccount: 'default' },
    ...{ podIPs: [], hostNetwork: false, phase: 'Running', ready: true, hostPorts: [] },
    namedPorts: portsOf(party),
  };
}

function portsOf({ ports = [] }: Party): PodRow['namedPorts'] {
  return Object.fromEntries(ports.map(({ name, port, protocol }) => [name, { port, protocol: protocol as Protocol }]));
}

function nodeRow({
  name,
  address,
  labels,
}: {
  readonly name: string;
  readonly address: string;
  readonly labels: Labels;
}): NodeRow {
  return {
    ...{ name, local: name === 'here', labels, annotations: {}, addresses: [{ type: 'InternalIP', address }] },
    ...{ podCIDRs: [], routerAddresses: [], healthAddresses: [] },
  };
}

const addressOf = (slot: number): Address => parseAddress(slots[slot] ?? '');

function addServices(facts: Facts): void {
  const add = (
    table: 'services' | 'endpointSlices',
    parsed: ReturnType<typeof serviceFromK8s | typeof endpointSliceFromK8s>,
  ) => {
    assert.ok('row' in parsed);
    facts.set(table, `${parsed.row.namespace}/${parsed.row.name}`, parsed.row);
  };
  const slice = (namespace: string, name: string, addresses: readonly string[]) => {
    const metadata = { namespace, name: `${name}-${addresses[0]}`, labels: { 'kubernetes.io/service-name': name } };
    const addressType = addresses[0]?.includes(':') === true ? 'IPv6' : 'IPv4';
    add(
      'endpointSlices',
      endpointSliceFromK8s({ metadata, addressType, ports: [{ port: 1 }], endpoints: [{ addresses }] }),
    );
  };
  for (const { namespace, name, labels, selector, addresses = [] } of services) {
    add('services', serviceFromK8s({ metadata: { namespace, name, labels }, spec: { clusterIP: 'None', selector } }));
    for (const address of addresses) slice(namespace, name, [address]);
  }
  slice('default', 'kubernetes', ['192.168.0.3']);
}

function rowOf(policy: RawPolicy): PolicyRow {
  const parse = {
    NetworkPolicy: networkPolicyFromK8s,
    CiliumNetworkPolicy: ciliumNetworkPolicyFromK8s,
    CiliumClusterwideNetworkPolicy: ciliumClusterwideNetworkPolicyFromK8s,
  }[policy.kind];
  const parsed = parse?.(policy);
  assert.ok(parsed !== undefined && 'row' in parsed, JSON.stringify([policy, parsed]));
  return parsed.row;
}

function tableOf({ kind }: PolicyRow): InputTable {
  if (kind === 'NetworkPolicy') return 'policies';
  return kind === 'CiliumNetworkPolicy' ? 'ciliumPolicies' : 'clusterwidePolicies';
}

interface Somebody {
  readonly party: Party;
  readonly address: Address;
}

/** Who is at which address. */
function peersOf({ where, nodes }: Moment): readonly Somebody[] {
  const placed = [...where].map(([slot, kind]) => ({ ...kinds[kind], cidr: slots[slot] }) as Party);
  const there = otherNodes.map(({ name, address, labels }): Party => {
    const own = Object.entries(labels).map(([key, value]) => `node:${key}=${value}`);
    const server = name === 'c' ? ['reserved:kube-apiserver'] : [];
    const reserved = nodes.has(name) ? ['reserved:remote-node', ...own] : ['reserved:world'];
    return { labels: [...server, ...reserved], cidr: address };
  });
  return [...placed, host, ...there, ...outside].map(party => ({ party, address: parseAddress(party.cidr ?? '') }));
}

const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant('policy' as const),
      policy: policies,
      isThere: fc.constantFrom(true, true, true, false),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      what: fc.constant('place' as const),
      slot: fc.nat({ max: slots.length - 1 }),
      kind: fc.integer({ min: -1, max: kinds.length - 1 }),
    }),
  },
  fc.record({
    what: fc.constant('number' as const),
    kind: fc.nat({ max: pods.length - 1 }),
    number: fc.integer({ min: 1000, max: 1000 + pods.length }),
  }),
  fc.record({ what: fc.constant('node' as const), node: fc.constantFrom('b' as const, 'c' as const) }),
);

const steps = fc.array(
  fc.record({
    changes: fc.array(change, { minLength: 1, maxLength: 4 }),
    /** Where what has changed is split into transactions, and in what order it comes. */
    order: fc.array(fc.nat({ max: 999 }), { minLength: 12, maxLength: 12 }),
    isSplit: fc.boolean(),
    restart: fc.constantFrom(false, false, false, false, true),
    wait: fc.constantFrom(0, 0, 11_000),
  }),
  { minLength: 1, maxLength: 8 },
);

const atFirst: Moment = {
  where: new Map([
    [0, 0],
    [1, 1],
    [3, 3],
  ]),
  numbers: [...kinds.keys()].map(kind => 1000 + kind),
  nodes: new Set(['b', 'c']),
  policies: new Map(),
};

type Write = (txn: WriteTxn, tables: Tables) => void;

/** From one moment to the next, in any order. */
function writesBetween(before: Facts, now: Facts, order: readonly number[]): readonly Write[] {
  const writes: Write[] = [];
  const tableOfName = (tables: Tables, name: InputTable) => tables[name] as unknown as RWTable<object>;
  for (const [name, { table, key }] of before.rows) {
    if (!now.rows.has(name)) writes.push((txn, tables) => tableOfName(tables, table).delete(txn, key));
  }
  for (const [name, { table, row }] of now.rows) {
    if (JSON.stringify(before.rows.get(name)?.row) !== JSON.stringify(row)) {
      writes.push((txn, tables) => void tableOfName(tables, table).insert(txn, row));
    }
  }
  return writes
    .map((write, i) => [order[i % order.length] ?? 0, write] as const)
    .toSorted(([a], [b]) => a - b)
    .map(([, write]) => write);
}

const allTables: readonly InputTable[] = [
  ...(['nodes', 'pods', 'namespaces', 'services', 'endpointSlices', 'remoteEndpoints', 'endpoints'] as const),
  ...(['identities', 'devices', 'policies', 'ciliumPolicies', 'clusterwidePolicies', 'cidrGroups'] as const),
  'localRedirects',
];

test('after every step the maps say of every packet what the API says', async () => {
  await fc.assert(
    fc.asyncProperty(
      steps,
      fc.record({
        seed: fc.integer({ min: 1, max: 1_000_000 }),
        allowLocalHost: fc.boolean(),
        cidrMatchesNodes: fc.boolean(),
      }),
      async (sequence, { seed, allowLocalHost, cidrMatchesNodes }) => {
        const config = { hostFirewall: true, allowLocalHost, policyCIDRMatchesNodes: cidrMatchesNodes };
        const maps = makePolicyMaps(0.1, seed);
        let world = new PolicyWorld(maps, config, 1_000_000);
        let moment = atFirst;
        let facts = factsOf(moment);
        world.start();
        const put = (writes: readonly Write[]) =>
          world.database.write(txn => {
            for (const write of writes) write(txn, world.tables);
          });
        put(writesBetween(new Facts(), facts, [0]));
        world.synced(allTables);
        await world.settle();
        for (const { changes, order, isSplit, restart, wait } of sequence) {
          moment = changes.reduce(after, moment);
          const next = factsOf(moment);
          const writes = writesBetween(facts, next, order);
          facts = next;
          if (restart) {
            await world.stop();
            assert.deepEqual(world.errors, []);
            world = new PolicyWorld(maps, config, world.clock.now());
            world.start();
            const all = writesBetween(new Facts(), facts, order);
            if (isSplit) for (const write of all) put([write]);
            else put(all);
            world.synced(allTables);
          } else if (isSplit) {
            for (const write of writes) {
              put([write]);
              await world.settle();
            }
          } else put(writes);
          await world.settle();
          if (wait > 0) await world.clock.advance(wait);
          await world.settle();
          assert.deepEqual(world.errors, []);
          compare(moment, (asked: Parameters<typeof judge>[1]) => judge(maps, asked), {
            allowLocalHost,
            cidrMatchesNodes,
          });
        }
        await world.stop();
      },
    ),
    { numRuns: 20 * Number(process.env.FUZZ ?? 1) },
  );
});

function compare(
  moment: Moment,
  ask: (asked: Parameters<typeof judge>[1]) => boolean | undefined,
  options: { readonly allowLocalHost: boolean; readonly cidrMatchesNodes: boolean },
): void {
  const all = [...moment.policies.values()];
  const peers = peersOf(moment);
  const own = [...moment.where].filter(([slot]) => isLocal(slot)).map(([slot]) => slots[slot]);
  const subjects = peers.filter(({ party }) => party === host || own.includes(party.cidr as (typeof slots)[number]));
  for (const subject of subjects) {
    // Without any policy the node leaves even those without identity alone (policy-compiler.ts).
    if (subject.party.labels.includes('reserved:init') && all.length === 0) continue;
    for (const direction of ['ingress', 'egress'] as const) {
      for (const peer of peers) {
        if (peer === subject) continue;
        for (const flow of flows) {
          const wanted = oracleVerdict(all, direction, subject.party, peer.party, flow, {
            ...options,
            services,
            groups: cidrGroups,
          });
          const found = ask({
            ...{ direction, subject: subject.address, peer: peer.address },
            ...{ protocol: protocolNumbers[flow.protocol], port: flow.port },
          });
          if (found === (wanted === 'allowed')) continue;
          assert.fail(
            `${direction} of ${subject.party.cidr} with ${peer.party.cidr}, ${flow.protocol} ${flow.port}: maps say ${found}, the API ${wanted}`,
          );
        }
      }
    }
  }
}
