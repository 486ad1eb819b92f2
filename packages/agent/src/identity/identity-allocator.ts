/** Endpoints → identities: claims a CiliumIdentity for each set of labels that has none (DESIGN §4). */
import {
  type EndpointRow,
  type IdentityRow,
  identityCandidates,
  isPodOf,
  type LabelFilter,
  type Labels,
  labelsKey,
  type NamespaceRow,
  type PodRow,
  type RemoteEndpointRow,
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
  readonly remoteEndpoints: Table<RemoteEndpointRow, string>;
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
  readonly #labelsById = new Map<number, string>();
  /** labelsKey → the number that has been taken away from these labels: endpoints here that have it claim again. */
  readonly #lost = new Map<string, number>();
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

  /** What is known, and in use, without asking anyone; undefined when the pod or its identity is not. */
  known(pod: {
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
  }): { identity: number; labels: Labels } | undefined {
    this.#learn();
    const labels = this.#labelsOf(pod.namespace, pod.name, pod.uid);
    const identity = labels === undefined ? undefined : this.#byLabels.get(labelsKey(labels));
    if (labels === undefined || identity === undefined || !this.#isInUse(identity)) return undefined;
    return { identity, labels };
  }

  #enqueue(): void {
    this.#learn();
    for (const row of this.#modules.endpoints.all()) {
      const labels = row.kind === 'pod' ? this.#labelsOf(row.podNamespace, row.podName, row.podUid) : undefined;
      if (labels !== undefined && !this.#isRight(row, labels)) this.#queue.add(String(row.id));
    }
  }

  async #resolve(id: number): Promise<void> {
    const row = this.#modules.endpoints.get(String(id));
    const labels = row === undefined ? undefined : this.#labelsOf(row.podNamespace, row.podName, row.podUid);
    if (row === undefined || labels === undefined || this.#isRight(row, labels)) return;
    const known = this.#byLabels.get(labelsKey(labels));
    const identity =
      known !== undefined && this.#isInUse(known)
        ? known
        : await this.#claim(labels, known ?? this.#lost.get(labelsKey(labels)));
    this.#byLabels.set(labelsKey(labels), identity);
    this.#lost.delete(labelsKey(labels));
    this.#modules.setIdentity(id, identity, labels);
  }

  /** Nobody takes away what somebody is seen to use; what is unused may be gone before we have said that we use it. */
  #isInUse(identity: number): boolean {
    const { endpoints, remoteEndpoints } = this.#modules;
    return [endpoints, remoteEndpoints].some(table => table.by('identity', String(identity)).length > 0);
  }

  /** The endpoint has the identity of its labels, and that is claimed. */
  #isRight({ identity, labels }: EndpointRow, wanted: Labels): boolean {
    return labelsKey(labels) === labelsKey(wanted) && this.#lost.get(labelsKey(labels)) !== identity;
  }

  async #claim(labels: Labels, first: number | undefined): Promise<number> {
    if (first !== undefined && (await this.#modules.writers.claimIdentity(first, labels))) return first;
    for (const candidate of identityCandidates(labels)) {
      const known = this.#modules.identities.get(String(candidate));
      if (known !== undefined && labelsKey(known.labels) !== labelsKey(labels)) continue;
      if (await this.#modules.writers.claimIdentity(candidate, labels)) return candidate;
    }
    throw new Error('every cluster identity from 256 to 65535 is in use: fewer label sets are needed');
  }

  /** Undefined: not known yet, or not any more. */
  #labelsOf(namespace: string, name: string, uid: string): Labels | undefined {
    const pod = this.#modules.pods.get(`${namespace}/${name}`);
    // After a restart pods may be listed before namespaces: without its namespace's labels a pod would be somebody else.
    const namespaceLabels = this.#modules.namespaces.get(namespace)?.labels;
    if (pod === undefined || !isPodOf(pod, uid) || namespaceLabels === undefined) return undefined;
    const { labels: podLabels, serviceAccount } = pod;
    return securityLabels(
      { namespace, podLabels, namespaceLabels, serviceAccount, cluster: this.#cluster },
      this.#filter,
    );
  }

  #lose(labels: string, id: number): void {
    this.#labelsById.delete(id);
    if (this.#byLabels.get(labels) === id) this.#byLabels.delete(labels);
    if (this.#modules.endpoints.by('identity', String(id)).length > 0) this.#lost.set(labels, id);
  }

  #learn(): void {
    for (const { row, deleted } of this.#cursor.next()) {
      if (row.reserved) continue;
      const key = labelsKey(row.labels);
      const before = this.#labelsById.get(row.id) ?? key;
      if (deleted || before !== key) this.#lose(before, row.id);
      if (deleted) continue;
      this.#labelsById.set(row.id, key);
      this.#byLabels.set(key, row.id);
      if (this.#lost.get(key) === row.id) this.#lost.delete(key);
    }
  }
}
