/** One node's kubelet: keeps the Node object alive and gives each pod of this node a worker. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type KubeApi, type KubeObject, Reflector, resourcePaths } from '@ciliate/sources';
import { Cni } from './cni.ts';
import type { KubeletConfig } from './config.ts';
import { Events } from './events.ts';
import { NodeStatus } from './node-status.ts';
import type { Pod } from './pod.ts';
import { removeSandbox } from './pod-sandbox.ts';
import { PodWorker, type WorkerModules } from './pod-worker.ts';
import { Semaphore } from './semaphore.ts';
import { serveKubelet } from './server.ts';

const parallelPods = 8;
/** Milliseconds. */
const heartbeat = { whenReady: 10_000, whenNot: 300, lease: 10_000 } as const;

export interface KubeletModules {
  readonly api: KubeApi;
  readonly log: (message: string) => void;
}

export class Kubelet {
  readonly #config: KubeletConfig;
  readonly #modules: KubeletModules;
  readonly #cni: Cni;
  readonly #worker: WorkerModules;
  readonly #workers = new Map<string, PodWorker>();
  readonly #reflector: Reflector;
  readonly #node: NodeStatus;

  constructor(config: KubeletConfig, modules: KubeletModules) {
    const { api, log } = modules;
    this.#config = config;
    this.#modules = modules;
    this.#cni = new Cni(join(config.directory, 'cni'));
    this.#node = new NodeStatus(api, config);
    const events = new Events(api, config.nodeName);
    this.#worker = { api, config, cni: this.#cni, events, slots: new Semaphore(parallelPods), log };
    this.#reflector = new Reflector(
      { name: 'pods', path: resourcePaths.pods, query: { fieldSelector: `spec.nodeName=${config.nodeName}` } },
      {
        api,
        sink: {
          replace: objects => this.#replace(objects),
          apply: object => this.#apply(object),
          remove: object => this.#workers.get(object.metadata?.uid ?? '')?.forget(),
        },
        log: (message, data) => log(`${message} ${JSON.stringify(data)}`),
      },
    );
  }

  start(): void {
    void this.#heartbeats();
    void this.#leases();
    this.#reflector.start();
    serveKubelet(join(this.#config.directory, 'kubelet.sock'), {
      find: (namespace, name) => this.#findWorker(namespace, name),
      log: this.#modules.log,
    });
  }

  #findWorker(namespace: string, name: string): PodWorker | undefined {
    const all = [...this.#workers.values()].filter(
      ({ pod }) => pod.metadata.namespace === namespace && pod.metadata.name === name,
    );
    return all.find(({ pod }) => pod.metadata.deletionTimestamp === undefined) ?? all[0];
  }

  #replace(objects: readonly KubeObject[]): void {
    const present = new Set(objects.map(object => object.metadata?.uid));
    for (const [uid, worker] of this.#workers) if (!present.has(uid)) worker.forget();
    for (const object of objects) this.#apply(object);
    this.#sweepOrphans(present);
  }

  #apply(object: KubeObject): void {
    const pod = object as unknown as Pod;
    const { uid } = pod.metadata;
    const known = this.#workers.get(uid);
    if (known !== undefined) {
      known.update(pod);
      return;
    }
    const worker = new PodWorker(pod, this.#worker);
    this.#workers.set(uid, worker);
    void worker.run().finally(() => this.#workers.delete(uid));
  }

  /** Pods that were deleted while no kubelet ran. */
  #sweepOrphans(present: ReadonlySet<string | undefined>): void {
    const directory = join(this.#config.directory, 'pods');
    const orphans = existsSync(directory)
      ? readdirSync(directory).filter(uid => !present.has(uid) && !this.#workers.has(uid))
      : [];
    for (const uid of orphans) {
      this.#worker.slots
        .use(() => removeSandbox(join(directory, uid), this.#cni))
        .catch((error: unknown) => this.#modules.log(`orphan pod ${uid}: ${String(error)}`));
    }
  }

  async #heartbeats(): Promise<void> {
    let registered = false;
    let last: string | undefined = 'unknown';
    let reportedAt = 0;
    for (;;) {
      try {
        if (!registered) await this.#node.register();
        registered = true;
        const notReady = await this.#cni.status();
        if (notReady !== last || Date.now() - reportedAt > heartbeat.whenReady) {
          await this.#node.report(notReady);
          last = notReady;
          reportedAt = Date.now();
        }
      } catch (error) {
        this.#modules.log(`node status: ${error instanceof Error ? error.message : String(error)}`);
        last = 'unknown';
      }
      await delay(last === undefined ? heartbeat.whenReady : heartbeat.whenNot);
    }
  }

  async #leases(): Promise<void> {
    for (;;) {
      try {
        await this.#node.renewLease();
      } catch (error) {
        this.#modules.log(`lease: ${error instanceof Error ? error.message : String(error)}`);
      }
      await delay(heartbeat.lease);
    }
  }
}
