/**
 * outside - LAN - node A (client, local server) and LAN - node B (remote server), all by plain routing; what stands on node A differs from
 * peer to peer: nothing, kube-proxy's rules, or an agent of ours.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { setDeviceFeature } from '../../packages/kernel/src/index.ts';
import { serverPorts } from './spec.ts';

const names = ['lan', 'node-a', 'node-b', 'outside', 'client', 'server-a', 'server-b'] as const;
export type Place = (typeof names)[number];

export const nodeIp = '192.168.77.1';
export const podCidr = '10.1.0.0/16';

export function sh(command: string, input = ''): void {
  const { status, stderr } = spawnSync('sh', ['-ec', command], { encoding: 'utf8', input, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${command.slice(0, 200)}: ${stderr.slice(0, 1000)}`);
}

export class Topology {
  readonly prefix: string;
  readonly #gro: boolean;
  #servers: ChildProcess[] = [];

  /** `peer`: unique on the machine. `gro`: the LAN's ends of cables take frames that nodes send from XDP. */
  constructor(peer: string, gro = false) {
    this.prefix = `ciliate-bench-${peer}-`;
    this.#gro = gro;
  }

  namespace(place: Place): string {
    return `/run/netns/${this.prefix}${place}`;
  }

  /** The argv that runs a command there. */
  at(place: Place, argv: readonly string[]): readonly string[] {
    return ['nsenter', `--net=${this.namespace(place)}`, ...argv];
  }

  inside(place: Place, command: string, input = ''): void {
    sh(`nsenter --net=${this.namespace(place)} sh -ec '${command}'`, input);
  }

  up(): void {
    this.down();
    for (const name of names) sh(`ip netns add ${this.prefix}${name}`);
    for (const name of names) this.inside(name, 'ip link set lo up');
    // The LAN stands for a switch: frames do not pass netfilter in it, whatever the machine's bridges do.
    this.inside('lan', 'ip link add br0 type bridge nf_call_iptables 0; ip link set br0 up');
    this.inside('lan', 'sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true');
    this.#onLan('node-a', nodeIp);
    this.#onLan('node-b', '192.168.77.2');
    this.#onLan('outside', '192.168.77.3');
    this.inside('node-b', 'ip route add 10.1.1.0/24 via 192.168.77.1');
    this.inside('outside', 'ip route add 10.1.1.0/24 via 192.168.77.1; ip route add 10.1.2.0/24 via 192.168.77.1');
    this.leaf('server-b', 'node-b', '10.1.2.3', '10.1.2.1');
  }

  /** What the peers without an agent need on node A: the pods and the way to node B. */
  plainNodeA(): void {
    this.inside('node-a', 'ip route add 10.1.2.0/24 via 192.168.77.2');
    this.leaf('client', 'node-a', '10.1.1.2', '10.1.1.1');
    this.leaf('server-a', 'node-a', '10.1.1.3', '10.1.1.1');
  }

  /** A veth pair; /32 on the node's side as a route, so that the node routes and never bridges. */
  leaf(name: Place, node: Place, address: string, gateway: string): void {
    const device = `v-${name}`;
    sh(`ip link add ${device} netns ${this.prefix}${node} type veth peer name eth0 netns ${this.prefix}${name}`);
    this.inside(
      node,
      `ip addr add ${gateway}/32 dev ${device}; ip link set ${device} up; ip route add ${address}/32 dev ${device}`,
    );
    this.inside(
      name,
      `ip addr add ${address}/32 dev eth0; ip link set eth0 up; ip route add ${gateway} dev eth0; ip route add default via ${gateway}`,
    );
  }

  startServers(load: string): void {
    for (const place of ['server-a', 'server-b'] as const) {
      for (const port of serverPorts) {
        const [command = '', ...args] = this.at(place, [load, 'server', String(port)]);
        this.#servers.push(spawn(command, args, { stdio: 'ignore' }));
      }
    }
  }

  /** Removes what exists; may be called at any time. */
  down(): void {
    for (const server of this.#servers) server.kill('SIGKILL');
    this.#servers = [];
    for (const name of names) spawnSync('ip', ['netns', 'del', `${this.prefix}${name}`], { stdio: 'ignore' });
  }

  #onLan(name: Place, address: string): void {
    sh(`ip link add p-${name} netns ${this.prefix}lan type veth peer name eth0 netns ${this.prefix}${name}`);
    this.inside('lan', `ip link set p-${name} master br0 up`);
    if (this.#gro) setDeviceFeature(`p-${name}`, 'rx-gro', true, this.namespace('lan'));
    this.inside(name, `ip addr add ${address}/24 dev eth0; ip link set eth0 up; sysctl -qw net.ipv4.ip_forward=1`);
  }
}
