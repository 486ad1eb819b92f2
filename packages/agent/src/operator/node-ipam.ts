/** CiliumNodes without pod CIDRs get them. */
import { isIPv4, type Prefix, tryParsePrefix } from '@ciliate/model';
import { type KubeApi, type KubeObject, objectKey, Reflector, resourcePaths, type Sink } from '@ciliate/sources';
import { KeyedQueue } from '../keyed-queue.ts';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';
import type { ClusterPool } from './cluster-pool.ts';

export class NodeIpam implements Service, Sink {
  readonly name = 'cluster-pool-ipam';
  readonly #pools: { readonly ipv4: ClusterPool; readonly ipv6: ClusterPool };
  readonly #api: KubeApi;
  readonly #log: Log;
  readonly #queue: KeyedQueue;
  readonly #reflector: Reflector;
  readonly #nodes = new Map<string, KubeObject>();

  constructor(
    pools: { readonly ipv4: ClusterPool; readonly ipv6: ClusterPool },
    modules: { readonly api: KubeApi; readonly log: Log },
  ) {
    this.#pools = pools;
    this.#api = modules.api;
    this.#log = modules.log;
    this.#queue = new KeyedQueue(
      { name: this.name, concurrency: 4 },
      { work: key => this.#assign(key), log: modules.log },
    );
    this.#reflector = new Reflector(
      { name: 'ciliumnodes', path: resourcePaths.ciliumNodes },
      { api: modules.api, sink: this, log: (message, data) => modules.log.warn(message, data) },
    );
  }

  start(signal: AbortSignal): void {
    this.#queue.start(signal);
    this.#reflector.start();
  }

  stop(): Promise<void> {
    return this.#reflector.stop();
  }

  /** Every CIDR in use is known before the first one is handed out. */
  replace(objects: readonly KubeObject[]): void {
    const names = new Set(objects.map(objectKey));
    for (const name of [...this.#nodes.keys()].filter(known => !names.has(known))) this.#gone(name);
    for (const object of objects) this.#learn(object);
    for (const name of names) this.#queue.add(name);
  }

  apply(object: KubeObject): void {
    this.#learn(object);
    this.#queue.add(objectKey(object));
  }

  remove(object: KubeObject): void {
    this.#gone(objectKey(object));
  }

  #gone(name: string): void {
    this.#nodes.delete(name);
    this.#pools.ipv4.release(name);
    this.#pools.ipv6.release(name);
  }

  #learn(object: KubeObject): void {
    const name = objectKey(object);
    this.#nodes.set(name, object);
    for (const cidr of podCIDRsOf(object)) {
      const other = this.#poolOf(cidr).adopt(name, cidr);
      if (other !== undefined)
        this.#log.error('two nodes have the same pod CIDR: recreate one of them', { node: name, other, cidr });
    }
  }

  async #assign(name: string): Promise<void> {
    const object = this.#nodes.get(name);
    if (object === undefined) return;
    const has = podCIDRsOf(object);
    const added: Prefix[] = [];
    if (this.#pools.ipv4.enabled && !has.some(isIPv4)) added.push(this.#pools.ipv4.allocate(name));
    if (this.#pools.ipv6.enabled && has.every(isIPv4)) added.push(this.#pools.ipv6.allocate(name));
    if (added.length === 0) return;
    const podCIDRs = [...has, ...added];
    await this.#api.request('PATCH', resourcePaths.ciliumNode(name), {
      // The version guards against an operator that has not noticed that it leads no more.
      body: { metadata: { resourceVersion: object.metadata?.resourceVersion }, spec: { ipam: { podCIDRs } } },
      contentType: 'application/merge-patch+json',
    });
    this.#log.info('pod CIDRs assigned', { node: name, podCIDRs });
  }

  #poolOf(cidr: Prefix): ClusterPool {
    return isIPv4(cidr) ? this.#pools.ipv4 : this.#pools.ipv6;
  }
}

function podCIDRsOf(object: KubeObject): readonly Prefix[] {
  const spec = object.spec as { readonly ipam?: { readonly podCIDRs?: unknown } } | undefined;
  const list = spec?.ipam?.podCIDRs;
  if (!Array.isArray(list)) return [];
  return list.map(item => tryParsePrefix(String(item))).filter(prefix => prefix !== undefined);
}
