/** Probes the backends of services that ask for it (ciliate.io/health-check), from this node: TCP connections. Owns the backendHealth table. */
import { connect } from 'node:net';
import { compileBackends } from '@ciliate/control';
import {
  type Address,
  type BackendHealthRow,
  type EndpointSliceRow,
  type FrontendBackend,
  type HealthCheck,
  portKey,
  type ServiceRow,
} from '@ciliate/model';
import type { ChangeCursor, Database, RWTable, Table, WriteTxn } from '@ciliate/tables';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface BackendProberOptions {
  /** Milliseconds between looks at whose turn it is. */
  readonly tick: number;
  /** Milliseconds that a connection may take. */
  readonly timeout: number;
  /** Probes in a row that fail before a backend that answered is quarantined. */
  readonly failures: number;
}

export interface BackendProberModules {
  readonly db: Database;
  readonly services: Table<ServiceRow, string>;
  readonly endpointSlices: Table<EndpointSliceRow, 'service'>;
  readonly backendHealth: RWTable<BackendHealthRow, 'service'>;
  readonly log: Pick<Log, 'info' | 'warn'>;
  /** Resolves to whether somebody accepts connections there. */
  readonly probe?: (address: Address, port: number, timeoutMs: number) => Promise<boolean>;
}

interface CheckedService extends HealthCheck {
  readonly key: string;
  /** ms, as of performance.now(). */
  due: number;
}

const atOnce = 64;

export class BackendProber implements Service {
  readonly name = 'backend-prober';
  readonly #options: BackendProberOptions;
  readonly #modules: BackendProberModules;
  readonly #probe: NonNullable<BackendProberModules['probe']>;
  readonly #changes: ChangeCursor<ServiceRow>;
  readonly #sliceChanges: ChangeCursor<EndpointSliceRow>;
  readonly #checked = new Map<string, CheckedService>();
  /** Failures in a row, by key of the row. */
  readonly #failures = new Map<string, number>();
  #report: ((txn: WriteTxn) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;

  constructor(options: BackendProberOptions, modules: BackendProberModules) {
    this.#options = options;
    this.#modules = modules;
    this.#probe = modules.probe ?? acceptsConnections;
    this.#changes = modules.services.changes();
    this.#sliceChanges = modules.endpointSlices.changes();
    // Frontends wait for the first round: a restarted agent must not take away what is served because it knows nothing yet.
    this.#report = modules.backendHealth.registerInitializer(this.name);
  }

  start(): void {
    this.#timer = setInterval(() => void this.#tick(), this.#options.tick);
    void this.#tick();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#changes.close();
    this.#sliceChanges.close();
    await this.#round;
  }

  /** One round at a time: what comes due meanwhile waits for the next tick. */
  async #tick(): Promise<void> {
    const { services, endpointSlices } = this.#modules;
    if (this.#round !== undefined || !services.initialized || !endpointSlices.initialized) return;
    this.#round = this.#runRound().finally(() => {
      this.#round = undefined;
    });
    await this.#round;
  }

  async #runRound(): Promise<void> {
    this.#follow();
    const now = performance.now();
    const due = [...this.#checked.values()].filter(service => service.due <= now);
    for (const service of due) service.due = now + service.interval * 1000;
    const targets = due.flatMap(service => this.#backendsOf(service.key).map(backend => ({ service, backend })));
    const found: BackendHealthRow[] = [];
    for (let i = 0; i < targets.length; i += atOnce) {
      const part = targets.slice(i, i + atOnce);
      found.push(...(await Promise.all(part.map(({ service, backend }) => this.#look(service.key, backend)))));
    }
    this.#write(due, found);
  }

  #follow(): void {
    for (const { key, row, deleted } of this.#changes.next()) {
      const check = deleted ? undefined : row.healthCheck;
      if (check === undefined) this.#checked.delete(key);
      else this.#checked.set(key, { ...check, key, due: 0 });
    }
    // A new backend gets nothing before it has been looked at.
    for (const { row } of this.#sliceChanges.next()) {
      const checked = this.#checked.get(`${row.namespace}/${row.service}`);
      if (checked !== undefined) checked.due = 0;
    }
  }

  #backendsOf(key: string): readonly FrontendBackend[] {
    const service = this.#modules.services.get(key);
    const slices = this.#modules.endpointSlices.by('service', key);
    const all = (service?.ports ?? []).flatMap(port =>
      (['IPv4', 'IPv6'] as const).flatMap(family => compileBackends(slices, port, family)),
    );
    return [...new Map(all.map(backend => [portKey(backend), backend])).values()];
  }

  /** Other protocols have nothing that a stranger could ask: they count as healthy. */
  async #look(service: string, backend: FrontendBackend): Promise<BackendHealthRow> {
    const { address, port, protocol } = backend;
    const row = { service, backend: portKey(backend) };
    const key = `${row.service} ${row.backend}`;
    const answers = protocol !== 'TCP' || (await this.#probe(address, port, this.#options.timeout));
    const failures = answers ? 0 : (this.#failures.get(key) ?? 0) + 1;
    if (failures === 0) this.#failures.delete(key);
    else this.#failures.set(key, failures);
    const before = this.#modules.backendHealth.get(key)?.healthy ?? false;
    return { ...row, healthy: answers || (before && failures < this.#options.failures) };
  }

  #write(due: readonly CheckedService[], found: readonly BackendHealthRow[]): void {
    const { db, backendHealth, log } = this.#modules;
    const kept = new Set(found.map(row => backendHealth.spec.key(row)));
    const looked = new Set(due.map(({ key }) => key));
    db.write(txn => {
      for (const row of backendHealth.all()) {
        const isGone = looked.has(row.service) && !kept.has(backendHealth.spec.key(row));
        if (!isGone && this.#checked.has(row.service)) continue;
        backendHealth.delete(txn, backendHealth.spec.key(row));
        this.#failures.delete(backendHealth.spec.key(row));
      }
      for (const row of found) {
        if (backendHealth.get(backendHealth.spec.key(row))?.healthy === row.healthy) continue;
        backendHealth.insert(txn, row);
        if (row.healthy) log.info('backend answers to health checks', { service: row.service, backend: row.backend });
        else log.warn('backend does not answer to health checks', { service: row.service, backend: row.backend });
      }
      this.#report?.(txn);
      this.#report = undefined;
    });
  }
}

function acceptsConnections(address: Address, port: number, timeoutMs: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: address, port });
    const end = (answers: boolean): void => {
      socket.destroy();
      resolve(answers);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
