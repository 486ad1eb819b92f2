/**
 * The peer: what the kernel does without us. Two nodes that forward (ip_forward) between veth pairs and a LAN bridge,
 * MTU 1500 everywhere: client - node A - server on one node; client - node A - LAN - node B - server on the other.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

const prefix = 'ciliate-bench-plain-';
const names = ['lan', 'node-a', 'node-b', 'client', 'server-a', 'server-b'] as const;
type Name = (typeof names)[number];

function sh(command: string): void {
  const { status, stderr } = spawnSync('sh', ['-ec', command], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}

function inside(name: Name, command: string): void {
  sh(`nsenter --net=/run/netns/${prefix}${name} sh -ec '${command}'`);
}

/** A veth pair between a leaf and its node: /32 on the node's side as a route, so that the node routes and never bridges. */
function leaf(name: Name, node: Name, address: string, gateway: string): void {
  const device = `v-${name}`;
  sh(`ip link add ${device} netns ${prefix}${node} type veth peer name eth0 netns ${prefix}${name}`);
  inside(
    node,
    `ip addr add ${gateway}/32 dev ${device}; ip link set ${device} up; ip route add ${address}/32 dev ${device}`,
  );
  inside(
    name,
    `ip link set lo up; ip addr add ${address}/32 dev eth0; ip link set eth0 up; ip route add ${gateway} dev eth0; ip route add default via ${gateway}`,
  );
}

function nodeOf(name: Name, address: string, other: string, podCidr: string): void {
  sh(`ip link add p-${name} netns ${prefix}lan type veth peer name eth0 netns ${prefix}${name}`);
  inside('lan', `ip link set p-${name} master br0 up`);
  inside(
    name,
    `ip link set lo up; ip addr add ${address}/24 dev eth0; ip link set eth0 up; sysctl -qw net.ipv4.ip_forward=1; ip route add ${podCidr} via ${other}`,
  );
}

export class Plain {
  readonly sameNode = '10.1.1.3';
  readonly otherNode = '10.1.2.3';
  #servers: ChildProcess[] = [];

  up(load: string, port: number): void {
    this.down();
    for (const name of names) sh(`ip netns add ${prefix}${name}`);
    inside('lan', 'ip link add br0 type bridge; ip link set br0 up');
    nodeOf('node-a', '192.168.77.1', '192.168.77.2', '10.1.2.0/24');
    nodeOf('node-b', '192.168.77.2', '192.168.77.1', '10.1.1.0/24');
    leaf('client', 'node-a', '10.1.1.2', '10.1.1.1');
    leaf('server-a', 'node-a', this.sameNode, '10.1.1.1');
    leaf('server-b', 'node-b', this.otherNode, '10.1.2.1');
    this.#servers = ['server-a', 'server-b'].map(name =>
      spawn('nsenter', [`--net=/run/netns/${prefix}${name}`, load, 'server', String(port)], { stdio: 'ignore' }),
    );
  }

  /** The argv that runs a command at the client. */
  client(argv: readonly string[]): readonly string[] {
    return ['nsenter', `--net=/run/netns/${prefix}client`, ...argv];
  }

  /** Removes what exists; may be called at any time. */
  down(): void {
    for (const server of this.#servers) server.kill('SIGKILL');
    this.#servers = [];
    for (const name of names) spawnSync('ip', ['netns', 'del', `${prefix}${name}`], { stdio: 'ignore' });
  }
}
