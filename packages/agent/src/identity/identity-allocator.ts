/** Endpoints → identities: claims a CiliumIdentity for each set of labels that has none (DESIGN §4). */
import {
  type EndpointRow,
  type IdentityRow,
  identityCandidates,
  type LabelFilter,
  type Labels,
  labelsKey,
  type NamespaceRow,
  type PodRow,
  securityLabels,
} from '@ciliate/model';
import type { KubeWriters } from '@ciliate/sources';
import type { Table } from '@ciliate/tables';
import { KeyedQueue, type WorkHealth } from '../keyed-queue.ts';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface IdentityAllocatorOptions {
  readonly cluster: string;
  /** Labels that count. */
  readonly filter: LabelFilter;
}

export interface IdentityAllocatorModules {
  readonly endpoints: Table<EndpointRow, string>;
  readonly pods: Table<PodRow, string>;
  readonly namespaces: Table<NamespaceRow, string>;
  readonly identities: Table<IdentityRow, string>;
  readonly writers: KubeWriters;
  readonly setIdentity: (endpoint: number, identity: number, labels: Labels) => void;
  readonly log: Log;
}

export class IdentityAllocator implements Service {
  readonly name = 'identity-allocator';
  readonly #cluster: string;
  readonly #filter: LabelFilter;
  readonly #modules: IdentityAllocatorModules;
  readonly #queue: KeyedQueue;
  /** labelsKey → id, of the identities table and of our own claims. */
  readonly #byLabels = new Map<string, number>();
  readonly #cursor: ReturnType<Table<IdentityRow, string>['changes']>;
  #unsubscribe: (() => void)[] = [];

  constructor(options: IdentityAllocatorOptions, modules: IdentityAllocatorModules) {
    this.#cluster = options.cluster;
    this.#filter = options.filter;
    this.#modules = modules;
    this.#cursor = modules.identities.changes();
    this.#queue = new KeyedQueue(
      { name: 'endpoint-identity', concurrency: 4 },
      { work: key => this.#resolve(Number(key)), log: modules.log },
    );
  }

  start(signal: AbortSignal): void {
    const { endpoints, pods, namespaces, identities } = this.#modules;
    this.#queue.start(signal);
    this.#unsubscribe = [endpoints, pods, namespaces, identities].map(table => table.subscribe(() => this.#enqueue()));
    this.#enqueue();
  }

  stop(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#cursor.close();
  }

  health(): WorkHealth {
    return this.#queue.health();
  }

  /** What is known without asking anyone; undefined when the pod or its identity is not. */
  known(pod: { readonly namespace: string; readonly name: string }): { identity: number; labels: Labels } | undefined {
    this.#learn();
    const labels = this.#labelsOf(pod.namespace, pod.name);
    const identity = labels === undefined ? undefined : this.#byLabels.get(labelsKey(labels));
    return labels === undefined || identity === undefined ? undefined : { identity, labels };
  }

  #enqueue(): void {
    this.#learn();
    for (const row of this.#modules.endpoints.all()) {
      const labels = row.kind === 'pod' ? this.#labelsOf(row.podNamespace, row.podName) : undefined;
      if (labels !== undefined && labelsKey(labels) !== labelsKey(row.labels)) this.#queue.add(String(row.id));
    }
  }

  async #resolve(id: number): Promise<void> {
    const row = this.#modules.endpoints.get(String(id));
    const labels = row === undefined ? undefined : this.#labelsOf(row.podNamespace, row.podName);
    if (row === undefined || labels === undefined || labelsKey(labels) === labelsKey(row.labels)) return;
    const identity = this.#byLabels.get(labelsKey(labels)) ?? (await this.#claim(labels));
    this.#byLabels.set(labelsKey(labels), identity);
    this.#modules.setIdentity(id, identity, labels);
  }

  async #claim(labels: Labels): Promise<number> {
    for (const candidate of identityCandidates(labels)) {
      const known = this.#modules.identities.get(String(candidate));
      if (known !== undefined && labelsKey(known.labels) !== labelsKey(labels)) continue;
      if (known !== undefined || (await this.#modules.writers.claimIdentity(candidate, labels))) return candidate;
    }
    throw new Error('every cluster identity from 256 to 65535 is in use: fewer label sets are needed');
  }

  #labelsOf(namespace: string, name: string): Labels | undefined {
    const pod = this.#modules.pods.get(`${namespace}/${name}`);
    if (pod === undefined) return undefined;
    const namespaceLabels = this.#modules.namespaces.get(namespace)?.labels ?? {};
    const { labels: podLabels, serviceAccount } = pod;
    return securityLabels(
      { namespace, podLabels, namespaceLabels, serviceAccount, cluster: this.#cluster },
      this.#filter,
    );
  }

  #learn(): void {
    for (const { row, deleted } of this.#cursor.next()) {
      if (row.reserved) continue;
      const key = labelsKey(row.labels);
      if (!deleted) this.#byLabels.set(key, row.id);
      else if (this.#byLabels.get(key) === row.id) this.#byLabels.delete(key);
    }
  }
}
