/** Leader election through a coordination.k8s.io/v1 Lease. */
import { setTimeout as delay } from 'node:timers/promises';
import { apiStatus, type KubeApi, type KubeObject, resourcePaths } from '@ciliate/sources';
import { describe, type Log } from '../log.ts';

export interface LeaderOptions {
  readonly namespace: string;
  readonly name: string;
  /** Who we are: host and process. */
  readonly identity: string;
  /** Seconds. */
  readonly duration: number;
}

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

export class LeaderElection {
  readonly #options: LeaderOptions;
  readonly #api: KubeApi;
  readonly #log: Log;
  /** The holder's last renewal as seen here, by our own clock: theirs may differ. */
  #observed: { readonly version: string; readonly at: number } | undefined;

  constructor(options: LeaderOptions, modules: { readonly api: KubeApi; readonly log: Log }) {
    this.#options = options;
    this.#api = modules.api;
    this.#log = modules.log;
  }

  /** Resolves when we lead. `lost` is called when the lease could not be renewed in time; then the process must end. */
  async acquire(signal: AbortSignal, lost: () => void): Promise<void> {
    while (!signal.aborted && !(await this.#attempt())) await this.#pause(signal);
    if (!signal.aborted) void this.#renew(signal, lost);
  }

  async #renew(signal: AbortSignal, lost: () => void): Promise<void> {
    let last = Date.now();
    while (!signal.aborted) {
      await this.#pause(signal);
      if (signal.aborted) return;
      if (await this.#attempt()) last = Date.now();
      else if (Date.now() - last > this.#options.duration * 1000) {
        lost();
        return;
      }
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    await delay((this.#options.duration * 1000) / 5, undefined, { signal }).catch(() => undefined);
  }

  async #attempt(): Promise<boolean> {
    try {
      return await this.#claim();
    } catch (error) {
      this.#log.warn('lease cannot be read or written', { error: describe(error) });
      return false;
    }
  }

  async #claim(): Promise<boolean> {
    const { namespace, name, identity, duration } = this.#options;
    const now = new Date().toISOString().replace('Z', '000Z');
    const lease = await this.#read();
    if (lease === undefined) {
      const spec: LeaseSpec = {
        holderIdentity: identity,
        leaseDurationSeconds: duration,
        renewTime: now,
        leaseTransitions: 0,
      };
      return this.#write('POST', resourcePaths.leases(namespace), {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name, namespace },
        spec: { ...spec, acquireTime: now },
      });
    }
    const spec = (lease.spec ?? {}) as LeaseSpec;
    const ours = spec.holderIdentity === identity;
    if (!ours && !this.#expired(lease, spec)) return false;
    const transitions = (spec.leaseTransitions ?? 0) + (ours ? 0 : 1);
    const next = {
      ...spec,
      holderIdentity: identity,
      leaseDurationSeconds: duration,
      renewTime: now,
      leaseTransitions: transitions,
    };
    return this.#write('PUT', resourcePaths.lease(namespace, name), {
      ...lease,
      spec: ours ? next : { ...next, acquireTime: now },
    });
  }

  #expired(lease: KubeObject, spec: LeaseSpec): boolean {
    if ((spec.holderIdentity ?? '') === '') return true;
    const version = lease.metadata?.resourceVersion ?? '';
    if (this.#observed?.version !== version) this.#observed = { version, at: Date.now() };
    return Date.now() - this.#observed.at > (spec.leaseDurationSeconds ?? this.#options.duration) * 1000;
  }

  async #read(): Promise<KubeObject | undefined> {
    try {
      return await this.#api.request('GET', resourcePaths.lease(this.#options.namespace, this.#options.name));
    } catch (error) {
      if (apiStatus(error) === 404) return undefined;
      throw error;
    }
  }

  /** False when another was faster. */
  async #write(method: string, path: string, body: unknown): Promise<boolean> {
    try {
      await this.#api.request(method, path, { body });
      return true;
    } catch (error) {
      if (apiStatus(error) === 409) return false;
      throw error;
    }
  }
}
