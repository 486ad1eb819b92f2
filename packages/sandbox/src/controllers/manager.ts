/** Runs the controllers: a change queues what it touches, the queue runs once the change's call stack has ended. */
import { type KubeObject, listAt, textAt } from '../apiserver/object.ts';
import type { Resource } from '../apiserver/registry.ts';
import { ApiError } from '../apiserver/status.ts';
import type { StoreEvent } from '../apiserver/store.ts';
import { Client, type ControllerModules } from './client.ts';
import { removeEndpoints, syncEndpoints } from './endpoint-slices.ts';
import { mirrorEndpoints } from './mirror-endpoints.ts';
import { schedule } from './scheduler.ts';
import { ServiceSelectors } from './service-selectors.ts';
import { syncDaemonSet, syncDeployment, syncReplicaSet, syncStatefulSet } from './workloads.ts';

export interface ManagerOptions {
  /** Addresses of the API server that pods can reach, and its port: the endpoints of the `kubernetes` service. */
  readonly advertise: readonly string[];
  readonly advertisePort: number;
  /** ClusterIP of the `kubernetes` service: the first of the range, as certificates say. */
  readonly kubernetesIP: string;
  /** Content of kube-root-ca.crt. */
  readonly rootCa: string;
}

const leaseTimeout = 40_000;
const eventLifetime = 3_600_000;
const syncs: Readonly<Record<string, (client: Client, object: KubeObject) => void>> = {
  Deployment: syncDeployment,
  ReplicaSet: syncReplicaSet,
  DaemonSet: syncDaemonSet,
  StatefulSet: syncStatefulSet,
  Service: syncEndpoints,
  Endpoints: mirrorEndpoints,
  Pod: schedule,
};

export class ControllerManager {
  readonly #client: Client;
  readonly #options: ManagerOptions;
  readonly #selectors = new ServiceSelectors();
  readonly #queue = new Map<string, readonly [kind: string, namespace: string | undefined, name: string]>();
  #timer: NodeJS.Timeout | undefined;
  #ticker: NodeJS.Timeout | undefined;

  constructor(options: ManagerOptions, modules: ControllerModules) {
    this.#options = options;
    this.#client = new Client(modules);
    for (const service of this.#client.list('Service')) this.#selectors.add(service);
    modules.store.subscribe((resource, event) => this.#changed(resource, event));
  }

  start(): void {
    for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) {
      this.#client.ensure({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
        spec: { finalizers: ['kubernetes'] },
        status: { phase: 'Active' },
      });
    }
    for (const namespace of this.#client.list('Namespace')) this.#furnish(namespace);
    this.#kubernetesService();
    for (const kind of Object.keys(syncs)) for (const object of this.#client.list(kind)) this.#enqueue(object);
    this.#ticker = setInterval(() => this.#tick(), 5000);
  }

  stop(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
  }

  #enqueue(object: KubeObject): void {
    const { namespace, name } = object.metadata;
    this.#queue.set(`${object.kind}/${namespace ?? ''}/${name}`, [object.kind, namespace, name]);
    this.#timer ??= setTimeout(() => this.#drain(), 5);
  }

  #drain(): void {
    this.#timer = undefined;
    const work = [...this.#queue.values()];
    this.#queue.clear();
    for (const [kind, namespace, name] of work) {
      const object = this.#client.get(kind, namespace, name);
      if (object === undefined) continue;
      try {
        syncs[kind]?.(this.#client, object);
      } catch (error) {
        // A conflict means that something newer is queued already; the rest is told and tried at the next change.
        if (!(error instanceof ApiError && error.httpCode === 409))
          process.stderr.write(
            `${kind} ${namespace ?? ''}/${name}: ${error instanceof Error ? error.message : String(error)}\n`,
          );
      }
    }
  }

  #changed(resource: Resource, { type, object, before }: StoreEvent): void {
    const { kind } = resource;
    if (kind === 'Service' && before !== undefined) this.#selectors.remove(before);
    if (kind === 'Service' && type !== 'DELETED') this.#selectors.add(object);
    if (type !== 'DELETED' && syncs[kind] !== undefined) this.#enqueue(object);
    for (const reference of object.metadata.ownerReferences ?? []) {
      const owner = this.#client.get(reference.kind, object.metadata.namespace, reference.name);
      if (owner !== undefined && syncs[reference.kind] !== undefined) this.#enqueue(owner);
    }
    // A pod whose labels changed leaves the services of before.
    if (kind === 'Pod') for (const pod of [before, object]) if (pod !== undefined) this.#podChanged(pod);
    if (kind === 'Node' && type !== 'DELETED') this.#nodeChanged();
    if (kind === 'Namespace') this.#namespaceChanged(type, object);
    if (type !== 'DELETED') return;
    if (kind === 'Service') removeEndpoints(this.#client, object);
    this.#collectOrphans(object);
  }

  #podChanged(pod: KubeObject): void {
    for (const service of this.#selectors.selecting(pod)) this.#enqueue(service);
  }

  #nodeChanged(): void {
    for (const pod of this.#client.list('Pod')) if (textAt(pod, 'spec', 'nodeName') === '') this.#enqueue(pod);
    for (const set of this.#client.list('DaemonSet')) this.#enqueue(set);
  }

  #namespaceChanged(type: StoreEvent['type'], namespace: KubeObject): void {
    if (type === 'ADDED') this.#furnish(namespace);
    if (type !== 'MODIFIED' || namespace.metadata.deletionTimestamp === undefined) return;
    setTimeout(() => this.#emptyNamespace(namespace.metadata.name), 10);
  }

  #furnish(namespace: KubeObject): void {
    const { name } = namespace.metadata;
    if (namespace.metadata.deletionTimestamp !== undefined) return;
    setTimeout(() => {
      if (this.#client.get('Namespace', undefined, name) === undefined) return;
      this.#client.ensure({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: name } });
      this.#client.ensure({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'kube-root-ca.crt', namespace: name },
        data: { 'ca.crt': this.#options.rootCa },
      });
      const stored = this.#client.get('Namespace', undefined, name);
      if (stored !== undefined && listAt(stored, 'spec', 'finalizers').length === 0) {
        this.#client.replace({
          ...stored,
          metadata: { ...stored.metadata, labels: { ...stored.metadata.labels, 'kubernetes.io/metadata.name': name } },
          spec: { finalizers: ['kubernetes'] },
          status: { phase: 'Active' },
        });
      }
    }, 0);
  }

  #emptyNamespace(name: string): void {
    let left = 0;
    for (const kind of this.#client.namespacedKinds()) {
      for (const object of this.#client.list(kind, name)) {
        left += 1;
        if (object.metadata.deletionTimestamp === undefined) this.#client.delete(object);
      }
    }
    const namespace = this.#client.get('Namespace', undefined, name);
    if (namespace === undefined) return;
    if (left === 0) this.#client.remove(namespace);
    else setTimeout(() => this.#emptyNamespace(name), 200);
  }

  /** What named the removed object as owner goes with it. */
  #collectOrphans(owner: KubeObject): void {
    const { uid = '' } = owner.metadata;
    for (const object of this.#client.dependents(uid)) {
      if (object.metadata.deletionTimestamp !== undefined) continue;
      if ((object.metadata.ownerReferences ?? []).every(reference => reference.uid === uid))
        this.#client.delete(object);
    }
  }

  #kubernetesService(): void {
    const metadata = {
      name: 'kubernetes',
      namespace: 'default',
      labels: { component: 'apiserver', provider: 'kubernetes' },
    };
    this.#client.ensure({
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: {
        type: 'ClusterIP',
        clusterIP: this.#options.kubernetesIP,
        ports: [{ name: 'https', port: 443, targetPort: this.#options.advertisePort, protocol: 'TCP' }],
      },
    });
    const address = this.#options.advertise.find(ip => !ip.includes(':'));
    if (address === undefined) return;
    this.#client.ensure({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'kubernetes', namespace: 'default', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false } }],
      ports: [{ name: 'https', port: this.#options.advertisePort, protocol: 'TCP' }],
    });
  }

  /** A node whose lease is old is not ready; pods of nodes that are gone go too. */
  #tick(): void {
    const nodes = this.#client.list('Node');
    for (const node of nodes) {
      const renewed = textAt(this.#client.get('Lease', 'kube-node-lease', node.metadata.name), 'spec', 'renewTime');
      const last = Date.parse(renewed || (node.metadata.creationTimestamp ?? ''));
      if (Date.now() - last > leaseTimeout) this.#markUnknown(node);
    }
    for (const event of this.#client.list('Event'))
      if (Date.now() - Date.parse(event.metadata.creationTimestamp ?? '') > eventLifetime) this.#client.remove(event);
    const names = new Set(nodes.map(node => node.metadata.name));
    for (const pod of this.#client.list('Pod')) {
      const node = textAt(pod, 'spec', 'nodeName');
      if (node === '') this.#enqueue(pod);
      else if (!names.has(node)) this.#client.remove(pod);
    }
  }

  #markUnknown(node: KubeObject): void {
    const conditions = listAt(node, 'status', 'conditions');
    const ready = conditions.find(condition => textAt(condition, 'type') === 'Ready');
    if (textAt(ready, 'status') === 'Unknown') return;
    const unknown = {
      type: 'Ready',
      status: 'Unknown',
      reason: 'NodeStatusUnknown',
      message: 'Kubelet stopped posting node status.',
      lastTransitionTime: new Date().toISOString(),
    };
    this.#client.replace({
      ...node,
      status: { ...node.status, conditions: [...conditions.filter(condition => condition !== ready), unknown] },
    });
  }
}
