/** Node A with an agent and one UDP NodePort, whose endpoint is on node B. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setDeviceFeature } from '../../packages/kernel/src/index.ts';
import { AgentPeer } from '../services/agent-node.ts';
import { nodeIp, type Place, Topology } from '../services/topology.ts';

const root = join(import.meta.dirname, '../..');

export const nodePort = 30_900;
export const sinkPort = 9300;
export const backendIp = '10.1.2.3';

/** The object of the XDP program is part of the build. */
export const xdpIsBuilt = (): boolean => existsSync(join(root, 'build/bpf/xdp.bpf.o'));

const objects = {
  '/api/v1/services': [
    {
      metadata: { name: 'flood', namespace: 'default', uid: 'flood', resourceVersion: '1' },
      spec: {
        ...{ type: 'NodePort', clusterIP: '10.96.0.99', clusterIPs: ['10.96.0.99'], ipFamilies: ['IPv4'] },
        ports: [{ name: 'main', protocol: 'UDP', port: 80, nodePort }],
      },
    },
  ],
  '/apis/discovery.k8s.io/v1/endpointslices': [
    {
      metadata: {
        ...{ name: 'flood-1', namespace: 'default', uid: 'flood-1', resourceVersion: '1' },
        labels: { 'kubernetes.io/service-name': 'flood' },
      },
      addressType: 'IPv4',
      ports: [{ name: 'main', protocol: 'UDP', port: sinkPort }],
      endpoints: [{ addresses: [backendIp], conditions: { ready: true, serving: true, terminating: false } }],
    },
  ],
};

/** The cable takes frames that node A sends from XDP: a veth does when its other end has GRO on. Alike for all, so that cables are. */
export function takeXdp(topology: Topology): void {
  setDeviceFeature('p-node-a', 'rx-gro', true, topology.namespace('lan'));
}

interface Link {
  readonly ifindex: number;
  readonly address: string;
}

export function linkOf(topology: Topology, place: Place, device: string): Link {
  const [command = '', ...args] = topology.at(place, ['ip', '-json', 'link', 'show', device]);
  const [link]: readonly Link[] = JSON.parse(spawnSync(command, args, { encoding: 'utf8' }).stdout);
  if (link === undefined) throw new Error(`${place} has no ${device}`);
  return link;
}

export class FloodNode {
  readonly topology: Topology;
  readonly #agent: AgentPeer;
  readonly #arguments: readonly string[];

  constructor(name: 'tc' | 'xdp') {
    this.topology = new Topology(`flood-${name}`, name === 'xdp');
    this.#agent = new AgentPeer(this.topology);
    this.#arguments = name === 'xdp' ? ['--bpf-lb-acceleration=native'] : [];
  }

  async up(): Promise<void> {
    await this.#agent.down();
    this.topology.up();
    takeXdp(this.topology);
    await this.#agent.up(objects, this.#arguments);
  }

  /** Pins of the programs that the agent has loaded, by name. */
  programs(): ReadonlyMap<string, string> {
    const directory = join(this.#agent.bpfRoot, 'ciliate/programs');
    return new Map(readdirSync(directory).map(name => [name, join(directory, name)]));
  }

  /** Node A's device on the LAN. */
  device(): Link {
    return linkOf(this.topology, 'node-a', 'eth0');
  }

  get nodeIp(): string {
    return nodeIp;
  }

  async down(): Promise<void> {
    await this.#agent.down();
    this.topology.down();
  }
}
