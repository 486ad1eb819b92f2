/** What judges packets on a node, without a kernel: controllers and reconcilers of policy over maps in memory that outlive the agent. */
import {
  type EndpointEntry,
  EndpointFlags,
  type EndpointKey,
  type IpcacheEntry,
  type IpcacheKey,
  mapSpecs,
  type PolicyClass,
  type PolicyEntry,
  type PolicyKey,
} from '@ciliate/abi';
import {
  type AnyController,
  nothingRestored,
  registerControllers,
  restoreBlocks,
  restorePolicies,
} from '@ciliate/control';
import {
  endpointMapOperations,
  ipcacheOperations,
  nodeClassOperations,
  policyClassOperations,
  policyGroupOperations,
} from '@ciliate/datapath';
import { type BpfMap, FakeMap, FakeMapOfMaps, FaultyMap } from '@ciliate/kernel';
import {
  type Address,
  addressBytes,
  defineTables,
  isIPv4,
  type NodeConfig,
  nodeConfigDefaults,
  reservedIdentities,
  reservedIdentityRows,
  type Tables,
} from '@ciliate/model';
import { createDatabase, type Database, FakeClock, Reconciler, type WriteTxn } from '@ciliate/tables';
import { PolicyLookup } from '../../packages/control/src/policy/lookup.ts';

export interface PolicyMaps {
  readonly endpoints: BpfMap<EndpointKey, EndpointEntry>;
  readonly ipcache: BpfMap<IpcacheKey, IpcacheEntry>;
  readonly policy_classes: BpfMap<IpcacheKey, PolicyClass>;
  readonly node_classes: BpfMap<EndpointKey, PolicyClass>;
  readonly policy: FakeMapOfMaps<number, PolicyKey, PolicyEntry>;
}

export function makePolicyMaps(rate: number, seed: number): PolicyMaps {
  let next = seed;
  const map = <K, V>(spec: ConstructorParameters<typeof FakeMap<K, V>>[0]): BpfMap<K, V> => {
    next += 1;
    return new FaultyMap(new FakeMap(spec), { rate, seed: next });
  };
  return {
    endpoints: map(mapSpecs.endpoints),
    ipcache: map(mapSpecs.ipcache),
    policy_classes: map(mapSpecs.policy_classes),
    node_classes: map(mapSpecs.node_classes),
    policy: new FakeMapOfMaps(map<number, number>(mapSpecs.policy), mapSpecs.policy.inner),
  };
}

const inputs = [
  ...(['nodes', 'pods', 'namespaces', 'services', 'endpointSlices', 'remoteEndpoints', 'endpoints'] as const),
  ...(['identities', 'devices', 'policies', 'ciliumPolicies', 'clusterwidePolicies', 'cidrGroups'] as const),
  'localRedirects',
] as const;

export type InputTable = (typeof inputs)[number];

/** One life of an agent. */
export class PolicyWorld {
  readonly database: Database = createDatabase();
  readonly tables: Tables = defineTables(this.database);
  readonly clock: FakeClock;
  readonly errors: unknown[] = [];
  readonly #waiting = new Map<InputTable, (txn: WriteTxn) => void>();
  readonly #controllers: readonly AnyController[];
  readonly #reconcilers: readonly Pick<Reconciler<never>, 'start' | 'stop' | 'settled'>[];

  constructor(maps: PolicyMaps, config: Partial<NodeConfig>, now: number) {
    const { database, tables } = this;
    this.clock = new FakeClock(now);
    const { clock } = this;
    for (const name of inputs) this.#waiting.set(name, tables[name].registerInitializer('script'));
    this.#controllers = registerControllers(
      tables,
      { ...nodeConfigDefaults, ...config, nodeName: 'here' },
      { database, clock, onError: error => this.errors.push(error) },
      {
        ...nothingRestored,
        policy: restorePolicies(maps.endpoints.entries()),
        blocks: restoreBlocks(maps.ipcache.entries(), maps.policy_classes.entries(), maps.node_classes.entries()),
      },
    );
    const modules = { database, clock };
    this.#reconcilers = [
      new Reconciler(
        { name: 'ipcache' },
        { ...modules, table: tables.ipcacheRows, operations: ipcacheOperations(maps.ipcache) },
      ),
      new Reconciler(
        { name: 'classes' },
        { ...modules, table: tables.policyClassRows, operations: policyClassOperations(maps.policy_classes) },
      ),
      new Reconciler(
        { name: 'node-classes' },
        { ...modules, table: tables.nodeClassRows, operations: nodeClassOperations(maps.node_classes) },
      ),
      new Reconciler(
        { name: 'policy' },
        { ...modules, table: tables.policyGroups, operations: policyGroupOperations(maps.policy) },
      ),
      new Reconciler(
        { name: 'endpoints' },
        { ...modules, table: tables.endpointMapRows, operations: endpointMapOperations(maps.endpoints) },
      ),
    ];
  }

  start(): void {
    this.database.write(txn => {
      for (const row of reservedIdentityRows()) this.tables.identities.insert(txn, row);
    });
    for (const part of [...this.#controllers, ...this.#reconcilers]) part.start();
  }

  /** The sources of these tables have delivered their first list. */
  synced(names: readonly InputTable[]): void {
    this.database.write(txn => {
      for (const name of names) {
        this.#waiting.get(name)?.(txn);
        this.#waiting.delete(name);
      }
    });
  }

  async settle(): Promise<void> {
    for (const part of [...this.#controllers, ...this.#reconcilers, ...this.#controllers, ...this.#reconcilers]) {
      await this.clock.until(part.settled());
    }
  }

  async stop(): Promise<void> {
    for (const controller of this.#controllers) controller.stop();
    await Promise.all(this.#reconcilers.map(reconciler => reconciler.stop()));
  }
}

export interface Asked {
  readonly direction: 'ingress' | 'egress';
  readonly subject: Address;
  readonly peer: Address;
  readonly protocol: number;
  readonly port: number;
}

const { ENDPOINT_POLICY_INGRESS, ENDPOINT_POLICY_EGRESS, ENDPOINT_POLICY_CLASS, ENDPOINT_POLICY_LOCKDOWN } =
  EndpointFlags;
const nodeIdentities: readonly number[] = [
  reservedIdentities.host,
  reservedIdentities['remote-node'],
  reservedIdentities['kube-apiserver'],
];

/** As bpf/lib/policy.h judges the first packet of a flow. Undefined: nobody has the subject's address. */
export function judge(maps: PolicyMaps, { direction, subject, peer, protocol, port }: Asked): boolean | undefined {
  const endpoint = maps.endpoints.lookup({ address: addressBytes(subject) });
  if (endpoint === undefined) return undefined;
  if ((endpoint.flags & ENDPOINT_POLICY_LOCKDOWN) !== 0) return false;
  const judged = direction === 'ingress' ? ENDPOINT_POLICY_INGRESS : ENDPOINT_POLICY_EGRESS;
  if ((endpoint.flags & judged) === 0) return true;
  const group = maps.policy.read(endpoint.policyGroup);
  if (group === undefined) return false;
  const identity = identityOf(maps, peer);
  const asksClass = (endpoint.flags & ENDPOINT_POLICY_CLASS) !== 0;
  return new PolicyLookup(group).ask({
    direction: direction === 'ingress' ? 0 : 1,
    identity,
    classIdentity: asksClass ? classOf(maps, peer, identity) : 0,
    protocol,
    port,
  }).allowed;
}

function identityOf(maps: PolicyMaps, address: Address): number {
  const own = maps.endpoints.lookup({ address: addressBytes(address) });
  const identity = own?.identity ?? longest(maps.ipcache, address)?.identity ?? reservedIdentities.unknown;
  if (identity !== reservedIdentities.unknown && identity !== reservedIdentities.world) return identity;
  return reservedIdentities[isIPv4(address) ? 'world-ipv4' : 'world-ipv6'];
}

function classOf(maps: PolicyMaps, address: Address, identity: number): number {
  const node = nodeIdentities.includes(identity)
    ? maps.node_classes.lookup({ address: addressBytes(address) })
    : undefined;
  return (node ?? longest(maps.policy_classes, address))?.identity ?? 0;
}

function longest<Value>(map: BpfMap<IpcacheKey, Value>, address: Address): Value | undefined {
  const bytes = addressBytes(address);
  let best: readonly [number, Value] | undefined;
  for (const [key, value] of map.entries()) {
    if (startsWith(bytes, key) && (best === undefined || key.prefixlen > best[0])) best = [key.prefixlen, value];
  }
  return best?.[1];
}

function startsWith(bytes: Uint8Array, { prefixlen, address }: IpcacheKey): boolean {
  const whole = prefixlen >> 3;
  for (let i = 0; i < whole; i += 1) if (bytes[i] !== address[i]) return false;
  const rest = prefixlen & 7;
  return rest === 0 || ((bytes[whole] ?? 0) ^ (address[whole] ?? 0)) >> (8 - rest) === 0;
}
