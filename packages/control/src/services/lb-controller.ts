import { LbBackendFlags } from '@ciliate/abi';
import {
  type Address,
  type DeviceRow,
  type EndpointRow,
  type FrontendBackend,
  type FrontendRow,
  type NodeConfig,
  type NodeRow,
  portKey,
  prefixAddress,
  type RemoteEndpointRow,
  type Tables,
} from '@ciliate/model';
import {
  type Change,
  type ChangesOf,
  Controller,
  type ControllerModules,
  refused,
  upsert,
  type WriteTxn,
} from '@ciliate/tables';
import { groupBy } from '../group-by.ts';
import { BackendPlaces, type PlaceConfig } from './backend-places.ts';
import { compileFrontend, maxSlots, slotCount, unservedKey, unservedRow } from './compile-frontend.ts';
import { type LbLimits, refusal } from './lb-limits.ts';
import { type LbRestore, LbState, refusedRow } from './lb-state.ts';

const stateFlags = {
  active: 0,
  terminating: LbBackendFlags.LB_BACKEND_TERMINATING,
  'terminating-not-serving': LbBackendFlags.LB_BACKEND_TERMINATING | LbBackendFlags.LB_BACKEND_MAINTENANCE,
  quarantined: LbBackendFlags.LB_BACKEND_QUARANTINED,
  maintenance: LbBackendFlags.LB_BACKEND_MAINTENANCE,
} as const;

type LbTables = Pick<Tables, 'frontends' | 'endpoints' | 'remoteEndpoints' | 'nodes' | 'devices' | 'lbRows'>;

/** A type alias, not an interface: inputs of a controller are records. */
type LbInputs = {
  readonly frontends: FrontendRow;
  readonly endpoints: EndpointRow;
  readonly remoteEndpoints: RemoteEndpointRow;
  readonly nodes: NodeRow;
  readonly devices: DeviceRow;
};

export type LbConfig = LbLimits & PlaceConfig & Pick<NodeConfig, 'unservedDropped'>;

/** frontends × where their backends are → lbRows. Recompiles the frontends that a change touches. */
export function lbController(
  tables: LbTables,
  config: LbConfig,
  restore: LbRestore,
  modules: ControllerModules,
): Controller<LbInputs> {
  const compiler = new LbCompiler(tables, config, restore, modules);
  const { frontends, endpoints, remoteEndpoints, nodes, devices, lbRows } = tables;
  return new Controller<LbInputs>(
    {
      name: 'lb-rows',
      inputs: { frontends, endpoints, remoteEndpoints, nodes, devices },
      outputs: [lbRows],
      // A backend whose endpoint is not known yet would change from managed to not managed and back.
      whole: true,
      run: (changes, txn) => compiler.run(changes, txn),
    },
    modules,
  );
}

class LbCompiler {
  readonly #tables: LbTables;
  readonly #config: LbConfig;
  readonly #modules: ControllerModules;
  readonly #state: LbState;
  readonly #places: BackendPlaces;
  /** Addresses of endpoints as last seen, by table and key: a row that goes says no more where it was. */
  readonly #addresses = new Map<string, readonly Address[]>();
  /** Frontends to look at in this run; kept when a run fails. */
  readonly #dirty = new Set<string>();
  readonly #refused = new Set<string>();
  /** Addresses whose owners may be others. */
  readonly #servedChanged = new Set<Address>();
  /** Addresses of refused services alone: what they do not serve is dropped too, as long as there is room. */
  readonly #guests = new Set<Address>();
  /** What this node's devices have. */
  #own: ReadonlySet<Address> = new Set();
  #first = true;

  constructor(tables: LbTables, config: LbConfig, restore: LbRestore, modules: ControllerModules) {
    this.#tables = tables;
    this.#config = config;
    this.#modules = modules;
    this.#places = new BackendPlaces(tables, config);
    this.#state = new LbState(config);
    this.#state.restore(restore);
  }

  run(changes: ChangesOf<LbInputs>, txn: WriteTxn): void {
    for (const change of changes.frontends) {
      this.#dirty.add(change.key);
      this.#servedChanged.add(change.row.address);
    }
    this.#moved('endpoint', changes.endpoints);
    this.#moved('remote', changes.remoteEndpoints);
    // Nodes are few and change seldom: every backend is looked at again, rows that come out equal stay.
    if (changes.nodes.length > 0) {
      for (const row of this.#tables.frontends.all()) {
        this.#dirty.add(portKey(row));
        this.#servedChanged.add(row.address);
      }
    }
    if (changes.devices.length > 0) this.#readDevices();
    this.#compile(txn);
    this.#writeUnserved(txn);
    if (this.#first) {
      // Every input was complete before this run, so what was not asked for is gone.
      this.#state.services.releaseUnclaimed();
      this.#state.backends.releaseUnclaimed();
      this.#first = false;
    }
  }

  #moved(kind: string, changes: readonly Change<{ readonly addresses: readonly Address[] }>[]): void {
    for (const { key, row, deleted } of changes) {
      const name = `${kind}:${key}`;
      const addresses = new Set([...(this.#addresses.get(name) ?? []), ...row.addresses]);
      if (deleted) this.#addresses.delete(name);
      else this.#addresses.set(name, row.addresses);
      for (const address of addresses) {
        for (const frontend of this.#tables.frontends.by('backend', address)) this.#dirty.add(portKey(frontend));
      }
    }
  }

  #readDevices(): void {
    const rows = this.#tables.devices.all().flatMap(({ addresses }) => addresses);
    const own = new Set(rows.map(prefixAddress));
    for (const address of [...own, ...this.#own])
      if (own.has(address) !== this.#own.has(address)) this.#servedChanged.add(address);
    this.#own = own;
  }

  #writeUnserved(txn: WriteTxn): void {
    const { frontends, lbRows, nodes } = this.#tables;
    for (const address of this.#servedChanged) {
      const types = frontends.by('owned', address).map(row => row.type);
      const [type] = types.sort();
      // A node's own address serves more than services, whoever has put it there; one of a device is this node's, whatever the API says.
      const isNode = nodes.by('address', address).length > 0 || this.#own.has(address);
      if (type === undefined || isNode || !this.#config.unservedDropped || !this.#hasRoom(address)) {
        this.#guests.delete(address);
        lbRows.delete(txn, unservedKey(address));
      } else upsert(lbRows, txn, unservedRow(address, type, this.#modules.clock.now()));
    }
    this.#servedChanged.clear();
    for (const address of this.#guests) {
      if (this.#entries <= this.#config.lbServicesMax) break;
      this.#guests.delete(address);
      lbRows.delete(txn, unservedKey(address));
    }
  }

  get #entries(): number {
    return this.#state.serviceEntries + this.#guests.size;
  }

  /** An address of a service that is there has its room; others are guests. */
  #hasRoom(address: Address): boolean {
    if (this.#state.owns(address)) {
      this.#guests.delete(address);
      return true;
    }
    if (!this.#guests.has(address) && this.#entries >= this.#config.lbServicesMax) return false;
    this.#guests.add(address);
    return true;
  }

  #compile(txn: WriteTxn): void {
    const { frontends, lbRows } = this.#tables;
    const wanted: FrontendRow[] = [];
    for (const key of new Set([...this.#dirty, ...this.#refused])) {
      const row = frontends.get(key);
      if (row !== undefined) {
        wanted.push(row);
        continue;
      }
      this.#state.release(key);
      this.#refused.delete(key);
      lbRows.delete(txn, key);
    }
    const fitting = new Set<FrontendRow>();
    for (const group of groupBy(wanted, row => row.service).values()) {
      for (const frontend of this.#fit(group, txn)) fitting.add(frontend);
    }
    // Only now is it known how everybody sees a backend that several frontends share.
    for (const frontend of [...fitting, ...this.#sharing(fitting)]) this.#write(frontend, txn);
    this.#dirty.clear();
  }

  /** Frontends that did not change, with a backend whose state another one has changed. */
  #sharing(changed: ReadonlySet<FrontendRow>): readonly FrontendRow[] {
    const rows = this.#state.takeTouched().flatMap(address => this.#tables.frontends.by('backend', address));
    return [...new Set(rows)].filter(
      row => !changed.has(row) && this.#state.has(portKey(row)) && !this.#refused.has(portKey(row)),
    );
  }

  /** All of a service's changed frontends, or none of them when they do not fit. Those are refused, the others are to be written. */
  #fit(frontends: readonly FrontendRow[], txn: WriteTxn): readonly FrontendRow[] {
    const tooMany = frontends.find(frontend => slotCount(frontend) > maxSlots);
    const reason =
      tooMany === undefined
        ? refusal(this.#state.useAtMostWith(frontends), this.#config) &&
          refusal(this.#state.useWith(frontends), this.#config)
        : `${portKey(tooMany)} has ${slotCount(tooMany) - 1} backends, and ${maxSlots} are possible: split the service`;
    return frontends.filter(frontend => {
      if (reason === undefined && this.#state.hold(frontend)) return true;
      this.#refuse(frontend, reason ?? 'no service id is free (65535 frontends)', txn);
      return false;
    });
  }

  #write(frontend: FrontendRow, txn: WriteTxn): void {
    const { lbRows } = this.#tables;
    const key = portKey(frontend);
    const ids = { service: this.#state.serviceId(key), backend: (one: FrontendBackend) => this.#state.backendId(one) };
    const now = this.#modules.clock.now();
    const row = compileFrontend(frontend, ids, backend => this.#flags(backend), now);
    if (this.#refused.delete(key)) {
      lbRows.insert(txn, row);
      this.#servedChanged.add(frontend.address);
    } else upsert(lbRows, txn, row);
  }

  #refuse(frontend: FrontendRow, reason: string, txn: WriteTxn): void {
    const { lbRows } = this.#tables;
    const key = portKey(frontend);
    const before = lbRows.peek(txn, key);
    this.#refused.add(key);
    const why = `${frontend.service} does not fit: ${reason}`;
    if (before?.status.kind === 'error' && before.status.error === why) return;
    lbRows.insert(txn, refusedRow(key, before, refused(this.#modules.clock.now(), why)));
  }

  #flags(backend: FrontendBackend): number {
    return this.#places.flags(backend) | stateFlags[this.#state.backendState(backend)];
  }
}
