/** Services that do not get what they ask for, to those who can change it: a line of the log and an event of the object. */
import { createHash } from 'node:crypto';
import { type Forwarding, forwardingProblem } from '@ciliate/control';
import type { FrontendRow, LbRow, LocalRedirectRow, ServiceConflictRow, ServiceRow } from '@ciliate/model';
import type { KubeWriters, ObjectReference } from '@ciliate/sources';
import type { ChangeCursor, Table } from '@ciliate/tables';
import type { Service } from '../lifecycle.ts';
import { describe, type Log } from '../log.ts';

export interface ServiceReporterModules {
  readonly services: Table<ServiceRow>;
  readonly localRedirects: Table<LocalRedirectRow>;
  readonly frontends: Table<FrontendRow>;
  readonly serviceConflicts: Table<ServiceConflictRow>;
  readonly lbRows: Table<LbRow>;
  readonly forwarding: Forwarding;
  readonly writers: Pick<KubeWriters, 'postEvent'>;
  readonly log: Pick<Log, 'info' | 'warn' | 'debug'>;
}

export interface Problem {
  readonly service: string;
  readonly reason: 'AddressInUse' | 'DoesNotFit' | 'ForwardingModeIgnored' | 'HealthPortInUse';
  readonly message: string;
}

export class ServiceReporter implements Service {
  readonly name = 'service-reporter';
  readonly #modules: ServiceReporterModules;
  readonly #conflicts: ChangeCursor<ServiceConflictRow>;
  readonly #rows: ChangeCursor<LbRow>;
  readonly #services: ChangeCursor<ServiceRow>;
  /** What is told and still so, by row. */
  readonly #told = new Map<string, Problem>();
  #unsubscribe: readonly (() => void)[] = [];

  constructor(modules: ServiceReporterModules) {
    this.#modules = modules;
    this.#conflicts = modules.serviceConflicts.changes();
    this.#rows = modules.lbRows.changes();
    this.#services = modules.services.changes();
  }

  start(): void {
    const { services, serviceConflicts, lbRows } = this.#modules;
    this.#unsubscribe = [services, serviceConflicts, lbRows].map(table => table.subscribe(() => this.#changed()));
    this.#changed();
  }

  stop(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#conflicts.close();
    this.#rows.close();
    this.#services.close();
  }

  /** What others know of a service; `key` is theirs, undefined the end of it. */
  report(key: string, problem: Problem | undefined): void {
    this.#set(key, problem);
  }

  #changed(): void {
    for (const { key, row, deleted } of this.#conflicts.next()) {
      const problem = { service: row.service, reason: 'AddressInUse', message: row.message } as const;
      this.#set(`conflict ${key}`, deleted ? undefined : problem);
    }
    for (const { key, row, deleted } of this.#rows.next()) {
      this.#set(`refused ${key}`, deleted ? undefined : this.#refusal(row));
    }
    for (const { key, row, deleted } of this.#services.next()) {
      this.#set(`forwarding ${key}`, deleted ? undefined : this.#forwarding(key, row));
    }
  }

  /** The annotation asks for what the agent's options or other annotations do not allow. */
  #forwarding(key: string, row: ServiceRow): Problem | undefined {
    const message = forwardingProblem(row, this.#modules.forwarding);
    return message === undefined ? undefined : { service: key, reason: 'ForwardingModeIgnored', message };
  }

  /** An error after no attempt is the compiler's refusal; others are tried again, and told by the reconciler. */
  #refusal({ key, status }: LbRow): Problem | undefined {
    if (status.kind !== 'error' || status.attempts > 0) return undefined;
    const service = this.#modules.frontends.get(key)?.service ?? '';
    return { service, reason: 'DoesNotFit', message: status.error };
  }

  #set(key: string, problem: Problem | undefined): void {
    const before = this.#told.get(key);
    if (problem === undefined) {
      if (before === undefined) return;
      this.#told.delete(key);
      // A refused service has one row for each address: the last one to recover says so.
      if (!this.#isTold(before)) this.#modules.log.info('service recovered', { ...before });
      return;
    }
    const isNews = !this.#isTold(problem);
    this.#told.set(key, problem);
    // The same trouble with other numbers is no news.
    if (!isNews || before?.service === problem.service) return;
    this.#modules.log.warn('service is not served as asked', { ...problem });
    this.#post(problem);
  }

  #isTold({ service, reason, message }: Problem): boolean {
    for (const one of this.#told.values()) {
      if (one.service === service && one.reason === reason && one.message === message) return true;
    }
    return false;
  }

  /** Best effort, and only for what is an object: every node says the same, under one name. */
  #post({ service, reason, message }: Problem): void {
    const about = this.#objectOf(service);
    if (about === undefined) return;
    const digest = createHash('sha256').update(`${about.uid} ${reason} ${message}`).digest('hex').slice(0, 12);
    this.#modules.writers
      .postEvent(about, { name: `${about.name}.${digest}`, reason, message })
      .catch(error => this.#modules.log.debug('event not written', { service, error: describe(error) }));
  }

  /** Of a Service, or of what frontends call 'namespace/name:local-redirect'. */
  #objectOf(owner: string): ObjectReference | undefined {
    const { services, localRedirects } = this.#modules;
    const reference = ({ namespace, name, uid }: Pick<ObjectReference, 'namespace' | 'name' | 'uid'>) => ({
      namespace,
      name,
      uid,
    });
    const service = services.get(owner);
    if (service !== undefined) return { apiVersion: 'v1', kind: 'Service', ...reference(service) };
    const redirect = localRedirects.get(owner.replace(/:local-redirect$/, ''));
    if (redirect === undefined) return undefined;
    return { apiVersion: 'cilium.io/v2', kind: 'CiliumLocalRedirectPolicy', ...reference(redirect) };
  }
}
