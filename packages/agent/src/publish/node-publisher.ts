/** This node → its CiliumNode, and the Node condition that tells the scheduler that the network is there. */
import { type Address, isIPv4, type NodeRow } from '@ciliate/model';
import type { KubeWriters } from '@ciliate/sources';
import type { Table } from '@ciliate/tables';
import { KeyedQueue, type WorkHealth } from '../keyed-queue.ts';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface NodePublisherModules {
  readonly nodes: Table<NodeRow, string>;
  readonly writers: KubeWriters;
  readonly local: () => { readonly routers: readonly Address[]; readonly health: readonly Address[] };
  readonly log: Log;
}

export class NodePublisher implements Service {
  readonly name = 'node-publisher';
  readonly #node: string;
  readonly #modules: NodePublisherModules;
  readonly #queue: KeyedQueue;
  #published = '';
  #announced = false;
  #ready = false;
  #unsubscribe: (() => void) | undefined;

  constructor(options: { readonly node: string }, modules: NodePublisherModules) {
    this.#node = options.node;
    this.#modules = modules;
    this.#queue = new KeyedQueue(
      { name: 'sync-to-k8s-ciliumnode', concurrency: 1, retryMax: 5000 },
      { work: () => this.#publish(), log: modules.log },
    );
  }

  start(signal: AbortSignal): void {
    this.#queue.start(signal);
    this.#unsubscribe = this.#modules.nodes.subscribe(() => this.wake());
    this.wake();
  }

  stop(): void {
    this.#unsubscribe?.();
  }

  /** Pods can be added from now on. */
  ready(): void {
    this.#ready = true;
    this.wake();
  }

  wake(): void {
    this.#queue.add('node');
  }

  health(): WorkHealth {
    return this.#queue.health();
  }

  async #publish(): Promise<void> {
    const { nodes, writers, local } = this.#modules;
    const row = nodes.get(this.#node);
    if (row === undefined) return;
    const { routers, health } = local();
    const internal = row.addresses.filter(address => address.type === 'InternalIP');
    const spec = {
      addresses: [
        ...internal.map(({ type, address }) => ({ type, ip: address })),
        ...routers.map(ip => ({ type: 'CiliumInternalIP', ip })),
      ],
      health: family(health),
    };
    const text = JSON.stringify(spec);
    if (text !== this.#published) {
      await writers.putCiliumNode(this.#node, spec, undefined);
      this.#published = text;
    }
    if (!this.#ready || this.#announced) return;
    await writers.setNetworkAvailable(this.#node, annotationsOf(row, routers, health));
    this.#announced = true;
  }
}

const family = (addresses: readonly Address[]): { readonly ipv4?: string; readonly ipv6?: string } => {
  const ipv4 = addresses.find(isIPv4);
  const ipv6 = addresses.find(address => !isIPv4(address));
  return { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) };
};

function annotationsOf(row: NodeRow, routers: readonly Address[], health: readonly Address[]): Record<string, string> {
  const [router, own] = [family(routers), family(health)];
  const cidr4 = row.podCIDRs.find(isIPv4);
  const cidr6 = row.podCIDRs.find(prefix => !isIPv4(prefix));
  const pairs: readonly (readonly [string, string | undefined])[] = [
    ['ipv4-cilium-host', router.ipv4],
    ['ipv6-cilium-host', router.ipv6],
    ['ipv4-health-ip', own.ipv4],
    ['ipv6-health-ip', own.ipv6],
    ['ipv4-pod-cidr', cidr4],
    ['ipv6-pod-cidr', cidr6],
  ];
  const annotations: Record<string, string> = {};
  for (const [key, value] of pairs) if (value !== undefined) annotations[`network.cilium.io/${key}`] = value;
  return annotations;
}
