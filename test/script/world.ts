/** A node without a kernel: real tables, controllers and reconcilers over maps that are kept in memory. */
import { mapSpecs } from '@ciliate/abi';
import {
  type AnyController,
  lbMapSizes,
  lbWrites,
  nothingRestored,
  registerControllers,
  restoreLbIds,
} from '@ciliate/control';
import {
  endpointMapOperations,
  ipcacheOperations,
  lbOperations,
  lbSkipOperations,
  maglevCodec,
  policyGroupOperations,
} from '@ciliate/datapath';
import { type BpfMap, FakeMap, FakeMapOfMaps, FaultyMap } from '@ciliate/kernel';
import { defineTables, type NodeConfig, nodeConfigDefaults, type Tables } from '@ciliate/model';
import { createDatabase, type Database, FakeClock, Reconciler, type RWTable, type WriteTxn } from '@ciliate/tables';
import type { ScriptMaps } from './map-text.ts';

export interface WorldOptions {
  /** Writes of maps that fail, 0 to 1. */
  readonly faults: number;
  readonly seed: number;
  readonly config: Partial<NodeConfig>;
}

/** What outlives the agent. */
export function makeMaps({ faults, seed, config }: WorldOptions): ScriptMaps {
  const sizes = { ...nodeConfigDefaults, ...config };
  const maxima = lbMapSizes(sizes);
  const sizeOf = (name: keyof typeof mapSpecs) => ({ maxEntries: maxima[name] ?? 0 });
  let next = seed;
  const map = <K, V>(spec: ConstructorParameters<typeof FakeMap<K, V>>[0]): BpfMap<K, V> => {
    next += 1;
    return new FaultyMap(new FakeMap(spec), { rate: faults, seed: next });
  };
  return {
    lb_services: map({ ...mapSpecs.lb_services, ...sizeOf('lb_services') }),
    lb_backends: map({ ...mapSpecs.lb_backends, ...sizeOf('lb_backends') }),
    lb_revnat: map({ ...mapSpecs.lb_revnat, ...sizeOf('lb_revnat') }),
    lb_affinity_match: map({ ...mapSpecs.lb_affinity_match, ...sizeOf('lb_affinity_match') }),
    lb_source_ranges: map({ ...mapSpecs.lb_source_ranges, ...sizeOf('lb_source_ranges') }),
    lb_dsr: map({ ...mapSpecs.lb_dsr, ...sizeOf('lb_dsr') }),
    lb_maglev: new FakeMapOfMaps(map(mapSpecs.lb_maglev), {
      ...mapSpecs.lb_maglev.inner,
      value: maglevCodec(sizes.maglevSize),
    }),
    lb_skip: map(mapSpecs.lb_skip),
    ipcache: map(mapSpecs.ipcache),
    policy: new FakeMapOfMaps(map(mapSpecs.policy), mapSpecs.policy.inner),
    endpoints: map(mapSpecs.endpoints),
  };
}

/** Tables that a source fills. */
const intent = [
  'nodes',
  'pods',
  'namespaces',
  'services',
  'endpointSlices',
  'remoteEndpoints',
  'endpoints',
  'identities',
  'devices',
  'policies',
  'ciliumPolicies',
  'clusterwidePolicies',
  'cidrGroups',
  'localRedirects',
  'backendHealth',
] as const;
export type IntentTable = (typeof intent)[number];

/** One life of an agent over the given maps. */
export class World {
  readonly database: Database = createDatabase();
  readonly tables: Tables = defineTables(this.database);
  readonly clock = new FakeClock();
  readonly maps: ScriptMaps;
  readonly errors: unknown[] = [];
  readonly #controllers: readonly AnyController[];
  readonly #reconcilers: readonly Pick<Reconciler<never>, 'start' | 'stop' | 'settled' | 'prune'>[];
  readonly #waiting = new Map<IntentTable, (txn: WriteTxn) => void>();

  constructor(maps: ScriptMaps, options: WorldOptions) {
    this.maps = maps;
    for (const name of intent) this.#waiting.set(name, this.tables[name].registerInitializer('script'));
    const { database, clock, tables } = this;
    const config: NodeConfig = { ...nodeConfigDefaults, nodeName: 'node-1', ...options.config };
    const modules = { database, clock, onError: (error: unknown) => this.errors.push(error) };
    const restored = restoreLbIds(maps.lb_services.entries(), maps.lb_backends.entries());
    this.#controllers = registerControllers(tables, config, modules, { ...nothingRestored, lb: restored });
    this.#reconcilers = [
      new Reconciler(
        { name: 'endpoints' },
        { table: tables.endpointMapRows, operations: endpointMapOperations(maps.endpoints), database, clock },
      ),
      new Reconciler(
        { name: 'ipcache' },
        { table: tables.ipcacheRows, operations: ipcacheOperations(maps.ipcache), database, clock },
      ),
      new Reconciler(
        { name: 'policy' },
        { table: tables.policyGroups, operations: policyGroupOperations(maps.policy), database, clock },
      ),
      new Reconciler(
        { name: 'skip' },
        { table: tables.lbSkipRows, operations: lbSkipOperations(maps.lb_skip), database, clock },
      ),
      new Reconciler(
        { name: 'lb' },
        { table: tables.lbRows, operations: lbOperations(maps, row => lbWrites(row, config)), database, clock },
      ),
    ];
  }

  start(): void {
    for (const part of [...this.#controllers, ...this.#reconcilers]) part.start();
  }

  async stop(): Promise<void> {
    for (const controller of this.#controllers) controller.stop();
    await Promise.all(this.#reconcilers.map(reconciler => reconciler.stop()));
  }

  /** Says that the sources of these tables (of all, when none is named) have delivered their first list. */
  synced(names: readonly string[]): void {
    this.database.write(txn => {
      for (const [name, report] of this.#waiting) {
        if (names.length > 0 && !names.includes(name)) continue;
        report(txn);
        this.#waiting.delete(name);
      }
    });
  }

  /** Lets everything run until nothing is left to do. A second round takes what the first round's end has caused. */
  async settle(): Promise<void> {
    for (const part of [...this.#controllers, ...this.#controllers, ...this.#reconcilers]) {
      await this.clock.until(part.settled());
    }
  }

  /** Asks every reconciler to remove what its table does not have. */
  prune(): void {
    for (const reconciler of this.#reconcilers) reconciler.prune();
  }

  table(name: string): RWTable<object, never> {
    const found = this.database.tables().find(table => table.spec.name === name);
    if (found === undefined) throw new Error(`no table ${name}`);
    return found as unknown as RWTable<object, never>;
  }
}
