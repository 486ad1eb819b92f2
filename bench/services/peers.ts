/** What is measured side by side: the same topology, with something else on node A. */

import { AgentPeer } from './agent-node.ts';
import { ChangeProbe } from './change-probe.ts';
import { iptablesChange, iptablesRules } from './iptables-rules.ts';
import { serviceObject, sliceObject, sliceObjects } from './kube-objects.ts';
import { nftablesChange, nftablesRules } from './nftables-rules.ts';
import { benchServices, type MeasuredServices, serverPorts, servicePort } from './spec.ts';
import { nodeIp, podCidr, Topology } from './topology.ts';

export const peerNames = ['plain', 'iptables', 'nftables', 'ciliate'] as const;
export type PeerName = (typeof peerNames)[number];

export const routes = ['ClusterIP local', 'ClusterIP remote', 'NodePort local', 'NodePort remote'] as const;
export type Route = (typeof routes)[number];

export interface PeerFacts {
  /** Milliseconds until all services were in place, from nothing. */
  readonly programMs: number;
  /** Milliseconds from one change of an EndpointSlice (or of the rules) to the kernel, one for each try. */
  readonly changesMs: readonly number[];
  readonly rssBytes?: number;
  readonly mapBytes?: number;
}

export interface Peer {
  readonly name: PeerName;
  /** The argv of a client of the route; `arguments` of load come after HOST and PORT. */
  client(route: Route, load: string, mode: string, more: readonly string[]): readonly string[];
  facts(changes: number): Promise<PeerFacts>;
  down(): Promise<void>;
}

type Target = (route: Route) => { readonly host: string; readonly port: number };

const isNodePort = (route: Route): boolean => route.startsWith('NodePort');
const isLocal = (route: Route): boolean => route.endsWith('local');

/** The service's address; the plain peer dials the pod instead. */
const serviceTarget =
  (services: MeasuredServices): Target =>
  route => {
    const service = isLocal(route) ? services.local : services.remote;
    return isNodePort(route)
      ? { host: nodeIp, port: service.nodePort ?? 0 }
      : { host: service.clusterIp, port: servicePort };
  };

const podTarget: Target = route => ({ host: isLocal(route) ? '10.1.1.3' : '10.1.2.3', port: serverPorts[0] });

function clientOf(
  topology: Topology,
  target: Target,
  wrap: (argv: readonly string[]) => readonly string[],
): Peer['client'] {
  return (route, load, mode, more) => {
    const { host, port } = target(route);
    const argv = [load, 'client', mode, host, String(port), ...more];
    return isNodePort(route) ? topology.at('outside', argv) : topology.at('client', wrap(argv));
  };
}

function timed(work: () => void): number {
  const began = performance.now();
  work();
  return performance.now() - began;
}

/** Rules in the kernel, from generators; `change` is asked for the text of each change. */
function rulesPeer(
  name: 'plain' | 'iptables' | 'nftables',
  load: string,
  target: Target,
  program: (topology: Topology) => void,
  change: (topology: Topology) => void,
): Peer {
  const topology = new Topology(name);
  try {
    topology.up();
    topology.plainNodeA();
    topology.startServers(load);
    const programMs = timed(() => program(topology));
    return {
      name,
      client: clientOf(topology, target, argv => argv),
      facts: async changes => ({
        programMs,
        changesMs: Array.from({ length: Math.min(changes, 3) }, () => timed(() => change(topology))),
      }),
      down: async () => topology.down(),
    };
  } catch (error) {
    topology.down();
    throw error;
  }
}

function startPlain(load: string): Peer {
  return rulesPeer(
    'plain',
    load,
    podTarget,
    () => undefined,
    () => undefined,
  );
}

/** The legacy back end: it is the faster of the two, at programming and at matching. */
function startIptables(load: string, count: number): Peer {
  const services = benchServices(count, '10.1.1.3', '10.1.2.3');
  const rules = iptablesRules(services.all, podCidr);
  const change = iptablesChange(services.all, services.local, podCidr);
  return rulesPeer(
    'iptables',
    load,
    serviceTarget(services),
    topology => topology.inside('node-a', 'iptables-legacy-restore', rules),
    topology => topology.inside('node-a', 'iptables-legacy-restore --noflush', change),
  );
}

function startNftables(load: string, count: number): Peer {
  const services = benchServices(count, '10.1.1.3', '10.1.2.3');
  const transactions = nftablesRules(services.all, podCidr, nodeIp);
  const change = nftablesChange(services.local, podCidr);
  return rulesPeer(
    'nftables',
    load,
    serviceTarget(services),
    topology => {
      for (const text of transactions) topology.inside('node-a', 'nft -f -', text);
    },
    topology => topology.inside('node-a', 'nft -f -', change),
  );
}

async function startCiliate(load: string, count: number): Promise<Peer> {
  const topology = new Topology('ciliate');
  const agent = new AgentPeer(topology);
  const down = async (): Promise<void> => {
    await agent.down();
    topology.down();
  };
  try {
    await agent.down();
    topology.up();
    const services = benchServices(count, '10.1.1.3', '10.1.2.3');
    // Pods get their addresses before services do: the first ones of the pod CIDR are asked for once and kept.
    const programMs = await agent.up(
      {
        '/api/v1/services': services.all.map(serviceObject),
        '/apis/discovery.k8s.io/v1/endpointslices': services.all.flatMap(sliceObjects),
      },
      ['--bpf-lb-map-max', '524288'],
    );
    const localIp = agent.addPod('server-a', topology.namespace('server-a'));
    agent.addPod('client', topology.namespace('client'));
    topology.startServers(load);
    await moveLocal(agent, services, localIp);
    return {
      name: 'ciliate',
      client: clientOf(topology, serviceTarget(services), argv => agent.inCgroup(argv)),
      facts: async changes => ({
        programMs,
        changesMs: await measureChanges(agent, services, changes),
        rssBytes: agent.rssBytes(),
        mapBytes: agent.mapBytes(),
      }),
      down,
    };
  } catch (error) {
    await down();
    throw error;
  }
}

/** The local service to where its pod is; resolves when the kernel has it. */
async function moveLocal(agent: AgentPeer, services: MeasuredServices, ip: string): Promise<void> {
  const probe = new ChangeProbe(agent.bpfRoot, services.local.clusterIp);
  const [last, ...others] = [...serverPorts].reverse();
  try {
    for (const port of others) await agent.changeSlice(sliceObject('local', port, [ip], '11'));
    await probe.measure(() => agent.changeSlice(sliceObject('local', last ?? 0, [], '11')), others.length);
    await probe.measure(() => agent.changeSlice(sliceObject('local', last ?? 0, [ip], '12')), serverPorts.length);
  } finally {
    probe.close();
  }
}

async function measureChanges(agent: AgentPeer, services: MeasuredServices, count: number): Promise<readonly number[]> {
  const probe = new ChangeProbe(agent.bpfRoot, services.remote.clusterIp);
  try {
    const times: number[] = [];
    for (let i = 0; i < count; i += 1) {
      const ips = i % 2 === 0 ? [] : ['10.1.2.3'];
      const slice = sliceObject('remote', serverPorts[3], ips, String(100 + i));
      times.push(await probe.measure(() => agent.changeSlice(slice), i % 2 === 0 ? 3 : 4));
    }
    return times;
  } finally {
    probe.close();
  }
}

export function startPeer(name: PeerName, load: string, count: number): Peer | Promise<Peer> {
  if (name === 'plain') return startPlain(load);
  if (name === 'iptables') return startIptables(load, count);
  return name === 'nftables' ? startNftables(load, count) : startCiliate(load, count);
}
