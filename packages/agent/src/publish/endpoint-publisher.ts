/** Endpoints of this node → CiliumEndpoint objects, by which other nodes learn their addresses and identities. */
import { type Address, type EndpointRow, isIPv4, labelList, type PodRow } from '@ciliate/model';
import type { KubeWriters, OwnerReference } from '@ciliate/sources';
import type { ChangeCursor, Table } from '@ciliate/tables';
import { KeyedQueue, type WorkHealth } from '../keyed-queue.ts';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface EndpointPublisherModules {
  readonly endpoints: Table<EndpointRow, string>;
  readonly writers: KubeWriters;
  /** This node's address; undefined until it is known. */
  readonly nodeAddress: () => Address | undefined;
  /** The pod's own uid from its object, for runtimes that do not pass it. */
  readonly podUid: (namespace: string, name: string) => string;
  /** For policies of others that name a port of this pod. */
  readonly namedPorts: (namespace: string, name: string) => PodRow['namedPorts'];
  readonly log: Log;
}

export class EndpointPublisher implements Service {
  readonly name = 'endpoint-publisher';
  readonly #modules: EndpointPublisherModules;
  readonly #queue: KeyedQueue;
  readonly #cursor: ChangeCursor<EndpointRow>;
  /** namespace/name → what was last written. */
  readonly #published = new Map<string, string>();
  #unsubscribe: (() => void) | undefined;

  constructor(modules: EndpointPublisherModules) {
    this.#modules = modules;
    this.#cursor = modules.endpoints.changes();
    this.#queue = new KeyedQueue(
      { name: 'sync-to-k8s-ciliumendpoint', concurrency: 8 },
      { work: key => this.#publish(key), log: modules.log },
    );
  }

  start(signal: AbortSignal): void {
    this.#queue.start(signal);
    this.#unsubscribe = this.#modules.endpoints.subscribe(() => this.#changed());
    this.#changed();
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#cursor.close();
  }

  health(): WorkHealth {
    return this.#queue.health();
  }

  #changed(): void {
    for (const { row } of this.#cursor.next()) {
      if (row.kind === 'pod' && row.podName !== '') this.#queue.add(`${row.podNamespace}/${row.podName}`);
    }
  }

  async #publish(key: string): Promise<void> {
    const { endpoints, writers, nodeAddress, podUid, namedPorts } = this.#modules;
    const [namespace = '', name = ''] = key.split('/');
    const row = endpoints.all().find(endpoint => endpoint.podNamespace === namespace && endpoint.podName === name);
    if (row === undefined) {
      await writers.deleteCiliumEndpoint(namespace, name);
      this.#published.delete(key);
      return;
    }
    const node = nodeAddress();
    if (node === undefined) throw new Error('the address of this node is not known yet');
    const uid = row.podUid === '' ? podUid(namespace, name) : row.podUid;
    const owner: OwnerReference | undefined = uid === '' ? undefined : { apiVersion: 'v1', kind: 'Pod', name, uid };
    const status = statusOf(row, node, namedPorts(namespace, name));
    const text = JSON.stringify([status, owner]);
    if (this.#published.get(key) === text) return;
    await writers.putCiliumEndpoint(namespace, name, status, owner);
    this.#published.set(key, text);
  }
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
