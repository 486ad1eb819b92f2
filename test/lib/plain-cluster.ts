/**
 * Two nodes whose pods another CNI has wired, the plainest there is: a bridge a node, routes between nodes, masquerade towards outsiders,
 * conntrack that drops what it does not know, strict reverse paths. Each node has a scripted API server of its own, and a real agent.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { AgentNode, sh } from './agent-node.ts';
import { type Outcome, run } from './cluster.ts';

const root = join(import.meta.dirname, '../..');

export const nodeAddresses = [
  ['172.31.0.11', 'fd00:172:31::11'],
  ['172.31.0.12', 'fd00:172:31::12'],
] as const;
export const outsider = ['172.31.0.100', 'fd00:172:31::100'] as const;
/** The bridge of node i has the first address of these, its pods the others. */
const podNetworks = [
  ['10.77.1.', 'fd00:77:1::'],
  ['10.77.2.', 'fd00:77:2::'],
] as const;

export interface PlainPod {
  readonly name: string;
  /** 0 or 1. */
  readonly node: number;
}

export interface PlainClusterOptions {
  readonly name: string;
  readonly pods: readonly PlainPod[];
  /** Objects of every node's API server, by the path of their collection. */
  readonly objects: Readonly<Record<string, readonly unknown[]>>;
  readonly agentArguments: readonly string[];
  /** Of each node; '' = the option is not given. */
  readonly devices: readonly [string, string];
}

export class PlainCluster {
  readonly nodes: readonly AgentNode[];
  readonly #options: PlainClusterOptions;
  readonly #children: ChildProcess[] = [];

  constructor(options: PlainClusterOptions) {
    this.#options = options;
    this.nodes = nodeAddresses.map(
      (addresses, i) =>
        new AgentNode({
          name: `${options.name}-${i + 1}`,
          addresses,
          agentArguments: options.agentArguments,
          devices: options.devices[i] ?? '',
          objects: this.#objects(i),
          wire: this.#wire(i),
        }),
    );
  }

  #objects(i: number): Readonly<Record<string, readonly unknown[]>> {
    const nodes = nodeAddresses.map((addresses, n) => ({
      metadata: { name: `${this.#options.name}-${n + 1}` },
      status: { addresses: addresses.map(address => ({ type: 'InternalIP', address })) },
    }));
    const pods = this.#options.pods
      .filter(pod => pod.node === i)
      .map(pod => ({
        metadata: { namespace: 'default', name: pod.name, uid: pod.name, labels: { app: pod.name } },
        spec: { nodeName: `${this.#options.name}-${i + 1}` },
        status: {
          phase: 'Running',
          podIPs: this.addressesOf(pod.name).map(ip => ({ ip })),
          conditions: [{ type: 'Ready', status: 'True' }],
        },
      }));
    return { '/api/v1/nodes': nodes, '/api/v1/pods': pods, ...this.#options.objects };
  }

  #wire(i: number): readonly string[] {
    const [v4, v6] = nodeAddresses[i] ?? ['', ''];
    const [net4, net6] = podNetworks[i] ?? ['', ''];
    const [other4, other6] = podNetworks[1 - i] ?? ['', ''];
    const [hop4, hop6] = nodeAddresses[1 - i] ?? ['', ''];
    return [
      `sh -c 'for f in all default; do echo 1 > /proc/sys/net/ipv4/conf/$f/rp_filter; echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done'`,
      `sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding'`,
      `ip link add eth0 type veth peer name node-${i + 1} netns ${this.#options.name}-lan`,
      `ip addr add ${v4}/24 dev eth0`,
      `ip addr add ${v6}/64 dev eth0 nodad`,
      'ip link set eth0 up',
      `nsenter --net=/run/netns/${this.#options.name}-lan ip link set node-${i + 1} master lan up`,
      'ip link add cni0 type bridge forward_delay 0 mcast_snooping 0',
      `ip addr add ${net4}1/24 dev cni0`,
      `ip addr add ${net6}1/64 dev cni0 nodad`,
      'ip link set cni0 up',
      'ip route add default via 172.31.0.1',
      'ip -6 route add default via fd00:172:31::1',
      `ip route add ${other4}0/24 via ${hop4}`,
      `ip -6 route add ${other6}/64 via ${hop6}`,
      ...['iptables', 'ip6tables'].flatMap((tables, family) => {
        const cluster = family === 0 ? '10.77.0.0/16' : 'fd00:77::/32';
        return [
          `${tables} -t nat -A POSTROUTING -s ${cluster} ! -d ${cluster} -j MASQUERADE`,
          `${tables} -A FORWARD -m conntrack --ctstate INVALID -j DROP`,
          `${tables} -A INPUT -m conntrack --ctstate INVALID -j DROP`,
        ];
      }),
    ];
  }

  addressesOf(pod: string): readonly [string, string] {
    const index = this.#options.pods.findIndex(one => one.name === pod);
    const [net4, net6] = podNetworks[this.#options.pods[index]?.node ?? 0] ?? ['', ''];
    return [`${net4}${10 + index}`, `${net6}${10 + index}`];
  }

  netnsOf(pod: string): string {
    return `/run/netns/${this.#options.name}-pod-${pod}`;
  }

  get outside(): string {
    return `/run/netns/${this.#options.name}-out`;
  }

  /** `serving`: started in each pod once there is a network, beside the node's processes. */
  async up(): Promise<void> {
    const { name, pods } = this.#options;
    sh(`ip netns add ${name}-lan; ip netns add ${name}-out
      ip -n ${name}-lan link add lan type bridge forward_delay 0 mcast_snooping 0
      ip -n ${name}-lan addr add 172.31.0.1/24 dev lan
      ip -n ${name}-lan addr add fd00:172:31::1/64 dev lan nodad
      ip -n ${name}-lan link set lan up
      ip -n ${name}-out link add eth0 type veth peer name out netns ${name}-lan
      ip -n ${name}-lan link set out master lan up
      ip -n ${name}-out addr add ${outsider[0]}/24 dev eth0
      ip -n ${name}-out addr add ${outsider[1]}/64 dev eth0 nodad
      ip -n ${name}-out link set eth0 up`);
    for (const node of this.nodes) await node.up();
    for (const pod of pods) this.#addPod(pod);
  }

  #addPod({ name: pod, node }: PlainPod): void {
    const netns = `${this.#options.name}-pod-${pod}`;
    const host = this.nodes[node]?.name ?? '';
    const [v4, v6] = this.addressesOf(pod);
    const [net4, net6] = podNetworks[node] ?? ['', ''];
    sh(`ip netns add ${netns}
      ip -n ${netns} link set lo up
      ip -n ${host} link add veth-${pod} type veth peer name eth0 netns ${netns}
      ip -n ${host} link set veth-${pod} master cni0 up
      ip -n ${netns} addr add ${v4}/24 dev eth0
      ip -n ${netns} addr add ${v6}/64 dev eth0 nodad
      ip -n ${netns} link set eth0 up
      ip -n ${netns} route add default via ${net4}1
      ip -n ${netns} -6 route add default via ${net6}1`);
    this.start(pod, [join(root, 'build/bin/ciliate-sandbox-echo')], { CILIATE_POD: pod });
  }

  /** A process of the pod, in its node's cgroup. */
  start(pod: string, argv: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const child = spawn('sh', this.#inCgroup(this.#nodeOf(pod), this.netnsOf(pod), argv), {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, ...env },
    });
    this.#children.push(child);
    return child;
  }

  #nodeOf(pod: string): AgentNode {
    const node = this.nodes[this.#options.pods.find(one => one.name === pod)?.node ?? 0];
    if (node === undefined) throw new Error(`no node of ${pod}`);
    return node;
  }

  #inCgroup(node: AgentNode, netns: string, argv: readonly string[]): readonly string[] {
    const script = 'echo 0 > "$1/cgroup.procs" && net=$2 && shift 2 && exec nsenter --net="$net" "$@"';
    return ['-c', script, 'sh', node.cgroup, netns, ...argv];
  }

  /** As the pod's containers: the socket programs see it. */
  inPod(pod: string, ...argv: readonly string[]): Promise<Outcome> {
    return run('sh', this.#inCgroup(this.#nodeOf(pod), this.netnsOf(pod), argv));
  }

  /** As a process of node i. */
  onNode(i: number, ...argv: readonly string[]): Promise<Outcome> {
    const node = this.nodes[i];
    if (node === undefined) throw new Error(`no node ${i}`);
    return run('sh', this.#inCgroup(node, node.netns, argv));
  }

  /** In a network alone: no socket program sees it. */
  inNetwork(netns: string, ...argv: readonly string[]): Promise<Outcome> {
    return run('nsenter', [`--net=${netns}`, ...argv]);
  }

  async down(): Promise<void> {
    const { name, pods } = this.#options;
    for (const child of this.#children) child.kill('SIGKILL');
    for (const node of this.nodes) await node.down();
    const others = [...pods.map(pod => `pod-${pod.name}`), 'lan', 'out'];
    for (const one of others) spawnSync('ip', ['netns', 'del', `${name}-${one}`]);
  }
}
