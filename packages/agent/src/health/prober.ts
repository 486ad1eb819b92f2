/** Probes every node's address and health endpoint in rounds, and keeps what the last round found. */
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { type Address, hostPort, type NodeRow } from '@ciliate/model';
import type { ClusterHealth, ConnectivityStatus, HealthNode, HostHealth, PathStatus } from '@ciliate/protocol';
import type { Table } from '@ciliate/tables';
import type { Service } from '../lifecycle.ts';

export interface ProberOptions {
  readonly cluster: string;
  readonly node: string;
  readonly port: number;
  /** Milliseconds. */
  readonly interval: number;
  readonly timeout: number;
}

export interface ProberModules {
  readonly nodes: Table<NodeRow, string>;
  /** Resolves to nanoseconds; rejects when no reply came. Absent where ICMP sockets cannot be had. */
  readonly ping?: (address: Address, timeoutMs: number) => Promise<number>;
}

const atOnce = 32;
/** Milliseconds. */
const soon = 1000;

export class Prober implements Service {
  readonly name = 'health-prober';
  readonly #options: ProberOptions;
  readonly #modules: ProberModules;
  #latest: readonly HealthNode[] = [];
  #timestamp = new Date(0);
  /** Milliseconds until the next round while something is missing. */
  #hurry = soon;
  #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: ProberOptions, modules: ProberModules) {
    this.#options = options;
    this.#modules = modules;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  result(): ClusterHealth {
    const { cluster, node, interval } = this.#options;
    return {
      local: { name: `${cluster}/${node}` },
      nodes: this.#latest,
      timestamp: this.#timestamp.toISOString(),
      probeInterval: `${interval / 1000}s`,
    };
  }

  /** One round now. */
  async probe(): Promise<ClusterHealth> {
    const nodes = [...this.#modules.nodes.all()].sort((a, b) => a.name.localeCompare(b.name));
    const found: HealthNode[] = [];
    for (let index = 0; index < nodes.length; index += atOnce) {
      found.push(...(await Promise.all(nodes.slice(index, index + atOnce).map(node => this.#probeNode(node)))));
    }
    this.#latest = found;
    this.#timestamp = new Date();
    return this.result();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.probe().catch(() => undefined);
      await delay(this.#pause(), undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** Nodes that come up, and a start before the first list, are looked at sooner than the interval; each time twice as late. */
  #pause(): number {
    const { interval } = this.#options;
    const isWhole = this.#latest.length > 0 && this.#latest.every(node => node['health-endpoint'] && isReachable(node));
    const pause = Math.min(this.#hurry, interval);
    this.#hurry = isWhole ? soon : pause * 2;
    return isWhole ? interval : pause;
  }

  async #probeNode(node: NodeRow): Promise<HealthNode> {
    const addresses = node.addresses
      .filter(address => address.type === 'InternalIP')
      .map(address => address.address as Address);
    const [host, endpoint] = await Promise.all([this.#probeHost(addresses), this.#probeHost(node.healthAddresses)]);
    return {
      name: `${this.#options.cluster}/${node.name}`,
      host: host ?? { 'primary-address': unknownPath(), 'secondary-addresses': [] },
      ...(endpoint === undefined ? {} : { 'health-endpoint': endpoint }),
    };
  }

  async #probeHost(addresses: readonly Address[]): Promise<HostHealth | undefined> {
    const [primary, ...secondary] = await Promise.all(addresses.map(address => this.#probePath(address)));
    return primary === undefined ? undefined : { 'primary-address': primary, 'secondary-addresses': secondary };
  }

  async #probePath(address: Address): Promise<PathStatus> {
    const { port, timeout } = this.#options;
    const { ping } = this.#modules;
    const [http, icmp] = await Promise.all([
      measure(() => hello(address, port, timeout)),
      ping === undefined ? undefined : measure(() => ping(address, timeout).then(() => undefined)),
    ]);
    return { ip: address, http, ...(icmp === undefined ? {} : { icmp }) };
  }
}

/** Time to the answer includes setting up the connection. */
async function measure(probe: () => Promise<void>): Promise<ConnectivityStatus> {
  const started = performance.now();
  const lastProbed = new Date().toISOString();
  try {
    await probe();
    return { latency: Math.round((performance.now() - started) * 1e6), status: '', lastProbed };
  } catch (error) {
    return { latency: 0, status: error instanceof Error ? error.message : String(error), lastProbed };
  }
}

function hello(address: Address, port: number, timeout: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = request(`http://${hostPort(address, port)}/hello`, { agent: false, timeout }, response => {
      response.resume();
      response.on('end', () =>
        response.statusCode === 200 ? resolve() : reject(new Error(`HTTP ${response.statusCode}`)),
      );
    });
    call.on('timeout', () => call.destroy(new Error(`no answer within ${timeout} ms`)));
    call.on('error', reject);
    call.end();
  });
}

const unknownPath = (): PathStatus => ({
  ip: '',
  http: { latency: 0, status: 'the node has no InternalIP', lastProbed: new Date().toISOString() },
});

const isReachable = (node: HealthNode): boolean =>
  node.host['primary-address'].http.status === '' &&
  (node['health-endpoint']?.['primary-address'].http.status ?? '') === '';

/** '2/2 reachable' */
export function reachable(health: ClusterHealth): { readonly ok: number; readonly total: number } {
  return { ok: health.nodes.filter(isReachable).length, total: health.nodes.length };
}
