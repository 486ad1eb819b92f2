/** CiliumEndpoints whose pod is gone and CiliumIdentities that nobody uses are deleted. */
import { setTimeout as delay } from 'node:timers/promises';
import { apiStatus, type KubeApi, type KubeObject, objectKey, resourcePaths } from '@ciliate/sources';
import type { Service } from '../lifecycle.ts';
import { describe, type Log } from '../log.ts';

export interface GarbageOptions {
  /** Seconds. */
  readonly endpointInterval: number;
  /** Seconds that an identity stays after it was last seen in use. */
  readonly identityAge: number;
}

export class GarbageCollector implements Service {
  readonly name = 'garbage-collector';
  readonly #options: GarbageOptions;
  readonly #api: KubeApi;
  readonly #log: Log;
  /** Identity → when it was first seen unused, ms. Forgotten with the process: a new leader waits again. */
  readonly #unusedSince = new Map<string, number>();
  /** CiliumEndpoints that had no pod last time: two looks, because lists are not of one moment. */
  #suspects = new Set<string>();

  constructor(options: GarbageOptions, modules: { readonly api: KubeApi; readonly log: Log }) {
    this.#options = options;
    this.#api = modules.api;
    this.#log = modules.log;
  }

  start(signal: AbortSignal): void {
    void this.#run(signal);
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.collect(Date.now());
      } catch (error) {
        this.#log.warn('garbage collection failed', { error: describe(error) });
      }
      await delay(this.#options.endpointInterval * 1000, undefined, { signal }).catch(() => undefined);
    }
  }

  async collect(now: number): Promise<void> {
    const endpoints = await this.#list(resourcePaths.ciliumEndpoints);
    await this.#collectEndpoints(endpoints);
    await this.#collectIdentities(endpoints, now);
  }

  async #collectEndpoints(endpoints: readonly KubeObject[]): Promise<void> {
    const pods = new Set((await this.#list(resourcePaths.pods)).map(objectKey));
    const orphans = new Set(endpoints.map(objectKey).filter(key => !pods.has(key)));
    for (const key of orphans) {
      if (!this.#suspects.has(key)) continue;
      const [namespace = '', name = ''] = key.split('/');
      await this.#delete(resourcePaths.ciliumEndpoint(namespace, name));
      this.#log.info('CiliumEndpoint without pod deleted', { endpoint: key });
    }
    this.#suspects = orphans;
  }

  async #collectIdentities(endpoints: readonly KubeObject[], now: number): Promise<void> {
    const used = new Set(endpoints.map(identityOf));
    const identities = await this.#list(resourcePaths.ciliumIdentities);
    for (const name of identities.map(objectKey)) {
      if (used.has(name)) {
        this.#unusedSince.delete(name);
        continue;
      }
      const since = this.#unusedSince.get(name) ?? now;
      this.#unusedSince.set(name, since);
      if (now - since < this.#options.identityAge * 1000) continue;
      await this.#delete(resourcePaths.ciliumIdentity(name));
      this.#unusedSince.delete(name);
      this.#log.info('unused CiliumIdentity deleted', { identity: name });
    }
  }

  async #list(path: string): Promise<readonly KubeObject[]> {
    const items: KubeObject[] = [];
    let next: string | undefined;
    do {
      const page: KubeObject = await this.#api.request('GET', path, { query: { limit: 500, continue: next } });
      if (Array.isArray(page.items)) items.push(...(page.items as readonly KubeObject[]));
      next = page.metadata?.continue;
    } while (next !== undefined && next !== '');
    return items;
  }

  async #delete(path: string): Promise<void> {
    try {
      await this.#api.request('DELETE', path);
    } catch (error) {
      if (apiStatus(error) !== 404) throw error;
    }
  }
}

function identityOf(endpoint: KubeObject): string {
  const status = endpoint.status as { readonly identity?: { readonly id?: unknown } } | undefined;
  return String(status?.identity?.id ?? '');
}
