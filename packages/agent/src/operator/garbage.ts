/** CiliumEndpoints whose pod is gone and CiliumIdentities that nobody uses are deleted. */
import { setTimeout as delay } from 'node:timers/promises';
import { apiStatus, deleteOptions, type KubeApi, type KubeObject, objectKey, resourcePaths } from '@ciliate/sources';
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
  /** Identity → since when (ms) and in which version it was seen unused. Forgotten with the process: a new leader waits again. */
  readonly #unused = new Map<string, { readonly since: number; readonly version: string }>();
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
    // Identities first: who begins to use one after that has changed it (claimIdentity), and then it stays.
    const identities = await this.#list(resourcePaths.ciliumIdentities);
    const endpoints = await this.#list(resourcePaths.ciliumEndpoints);
    await this.#collectEndpoints(endpoints);
    await this.#collectIdentities(identities, endpoints, now);
  }

  async #collectEndpoints(endpoints: readonly KubeObject[]): Promise<void> {
    const pods = new Set((await this.#list(resourcePaths.pods)).map(objectKey));
    const orphans = new Set(endpoints.map(objectKey).filter(key => !pods.has(key)));
    for (const key of orphans) {
      if (!this.#suspects.has(key)) continue;
      const [namespace = '', name = ''] = key.split('/');
      const orphan = endpoints.find(endpoint => objectKey(endpoint) === key);
      if (!(await this.#delete(resourcePaths.ciliumEndpoint(namespace, name), orphan))) continue;
      this.#log.info('CiliumEndpoint without pod deleted', { endpoint: key });
    }
    this.#suspects = orphans;
  }

  async #collectIdentities(
    identities: readonly KubeObject[],
    endpoints: readonly KubeObject[],
    now: number,
  ): Promise<void> {
    const used = new Set(endpoints.map(identityOf));
    const names = new Set(identities.map(objectKey));
    for (const name of this.#unused.keys()) if (!names.has(name)) this.#unused.delete(name);
    for (const identity of identities) {
      const name = objectKey(identity);
      const version = identity.metadata?.resourceVersion ?? '';
      const before = this.#unused.get(name);
      if (used.has(name)) this.#unused.delete(name);
      else if (before?.version !== version) this.#unused.set(name, { since: now, version });
      else if (now - before.since >= this.#options.identityAge * 1000) await this.#collectIdentity(name, identity);
    }
  }

  async #collectIdentity(name: string, identity: KubeObject): Promise<void> {
    const isGone = await this.#delete(resourcePaths.ciliumIdentity(name), identity);
    this.#unused.delete(name);
    if (isGone) this.#log.info('unused CiliumIdentity deleted', { identity: name });
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

  /** As it was seen; false: it has changed since, or is gone. */
  async #delete(path: string, seen: KubeObject | undefined): Promise<boolean> {
    const { uid, resourceVersion } = seen?.metadata ?? {};
    try {
      await this.#api.request('DELETE', path, { body: deleteOptions({ uid, resourceVersion }) });
      return true;
    } catch (error) {
      const status = apiStatus(error);
      if (status !== 404 && status !== 409) throw error;
      return false;
    }
  }
}

function identityOf(endpoint: KubeObject): string {
  const status = endpoint.status as { readonly identity?: { readonly id?: unknown } } | undefined;
  return String(status?.identity?.id ?? '');
}
