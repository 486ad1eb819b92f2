/** Endpoints of this node → CiliumEndpoint objects, by which other nodes learn their addresses and identities. */
import {
  type Address,
  type EndpointRow,
  isIPv4,
  isPodOf,
  labelList,
  type PodRow,
  type RemoteEndpointRow,
} from '@ciliate/model';
import type { KubeObject, KubeWriters, OwnerReference } from '@ciliate/sources';
import type { ChangeCursor, Table } from '@ciliate/tables';
import { KeyedQueue, type WorkHealth } from '../keyed-queue.ts';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface EndpointPublisherModules {
  readonly endpoints: Table<EndpointRow, string>;
  /** CiliumEndpoints as the API server has them, ours too. */
  readonly published: Table<RemoteEndpointRow, string>;
  readonly writers: KubeWriters;
  /** This node's address; undefined until it is known. */
  readonly nodeAddress: () => Address | undefined;
  readonly pods: Table<PodRow, string>;
  readonly log: Log;
}

export class EndpointPublisher implements Service {
  readonly name = 'endpoint-publisher';
  readonly #modules: EndpointPublisherModules;
  readonly #queue: KeyedQueue;
  readonly #cursor: ChangeCursor<EndpointRow>;
  readonly #seen: ChangeCursor<RemoteEndpointRow>;
  readonly #pods: ChangeCursor<PodRow>;
  /** namespace/name → what was last written. */
  readonly #published = new Map<string, string>();
  /** namespace/name → the container for which it was. */
  readonly #containers = new Map<string, string>();
  #unsubscribe: (() => void)[] = [];

  constructor(modules: EndpointPublisherModules) {
    this.#modules = modules;
    this.#cursor = modules.endpoints.changes();
    this.#seen = modules.published.changes();
    this.#pods = modules.pods.changes();
    this.#queue = new KeyedQueue(
      { name: 'sync-to-k8s-ciliumendpoint', concurrency: 8 },
      { work: key => this.#publish(key), log: modules.log },
    );
  }

  start(signal: AbortSignal): void {
    this.#queue.start(signal);
    const { endpoints, pods, published } = this.#modules;
    this.#unsubscribe = [endpoints, pods, published].map(table => table.subscribe(() => this.#changed()));
    this.#changed();
  }

  stop(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#cursor.close();
    this.#seen.close();
    this.#pods.close();
  }

  health(): WorkHealth {
    return this.#queue.health();
  }

  #changed(): void {
    for (const { row } of this.#cursor.next()) {
      if (row.kind === 'pod' && row.podName !== '') this.#queue.add(`${row.podNamespace}/${row.podName}`);
    }
    for (const { key, deleted } of this.#pods.next()) {
      if (!deleted && this.#modules.endpoints.by('pod', key).length > 0) this.#queue.add(key);
    }
    for (const { key, row, deleted } of this.#seen.next()) {
      const [own] = this.#modules.endpoints.by('pod', key);
      if (own === undefined || this.#podOf(own) === undefined) continue;
      // Somebody has taken ours away, or put another in its place.
      const isThere = !deleted && own.addresses.some(address => row.addresses.includes(address));
      if (!isThere && this.#published.delete(key)) this.#queue.add(key);
    }
  }

  /** The pod is still that one, and of this node: of two nodes that have had one of the name only the pod's own insists. */
  #podOf({ podNamespace, podName, podUid }: EndpointRow): PodRow | undefined {
    const pod = this.#modules.pods.get(`${podNamespace}/${podName}`);
    return pod !== undefined && isPodOf(pod, podUid) ? pod : undefined;
  }

  async #publish(key: string): Promise<void> {
    const { endpoints, writers, nodeAddress } = this.#modules;
    const [namespace = '', name = ''] = key.split('/');
    const [row] = endpoints.by('pod', key);
    const node = nodeAddress();
    if (row === undefined) {
      const container = this.#containers.get(key);
      await writers.deleteCiliumEndpoint(namespace, name, object => isOf(object, node, container));
      this.#published.delete(key);
      this.#containers.delete(key);
      return;
    }
    this.#containers.set(key, row.containerId);
    if (node === undefined) throw new Error('the address of this node is not known yet');
    const pod = this.#podOf(row);
    // Its ports are not known yet, or it is no more.
    if (pod === undefined) return;
    // The object's number, which is not the runtime's for a static pod: what has an owner that is not there is taken away.
    const { uid } = pod;
    const owner: OwnerReference | undefined = uid === '' ? undefined : { apiVersion: 'v1', kind: 'Pod', name, uid };
    const status = statusOf(row, node, pod.namedPorts);
    const text = JSON.stringify([status, owner]);
    if (this.#published.get(key) === text) return;
    await writers.putCiliumEndpoint(namespace, name, status, owner);
    this.#published.set(key, text);
  }
}

/** Of this node, and of the container that is gone, when we know which it was. */
function isOf({ status }: KubeObject, node: Address | undefined, container: string | undefined): boolean {
  const { networking, 'external-identifiers': ids } = (status ?? {}) as Partial<
    Parameters<KubeWriters['putCiliumEndpoint']>[2]
  >;
  return networking?.node === node && (container === undefined || ids?.['container-id'] === container);
}

function statusOf(
  row: EndpointRow,
  node: Address,
  ports: PodRow['namedPorts'],
): Parameters<KubeWriters['putCiliumEndpoint']>[2] {
  const ipv4 = row.addresses.find(isIPv4);
  const ipv6 = row.addresses.find(address => !isIPv4(address));
  return {
    id: row.id,
    state: row.state,
    identity: { id: row.identity, labels: labelList(row.labels) },
    networking: {
      addressing: [{ ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) }],
      node,
    },
    'named-ports': Object.entries(ports).map(([name, port]) => ({ name, ...port })),
    'external-identifiers': {
      'container-id': row.containerId,
      'cni-attachment-id': `${row.containerId}:${row.containerDevice}`,
      'k8s-namespace': row.podNamespace,
      'k8s-pod-name': row.podName,
      'pod-name': `${row.podNamespace}/${row.podName}`,
    },
  };
}
