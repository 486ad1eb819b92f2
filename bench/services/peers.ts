/** What is measured side by side: the same topology, with something else on node A. */
import type { Contestant } from '../lib/rounds.ts';
import { type MeasuredServices, serverPorts, servicePort } from './spec.ts';
import { nodeIp, type Topology } from './topology.ts';

export const peerNames = ['plain', 'iptables', 'nftables', 'ciliate'] as const;
export type PeerName = (typeof peerNames)[number];

/** 'ciliate pod': the pod dialled through us without any service. */
export const contestantNames = [...peerNames, 'ciliate pod'] as const;
export type ContestantName = (typeof contestantNames)[number];

export const routes = ['ClusterIP local', 'ClusterIP remote', 'NodePort local', 'NodePort remote'] as const;
export type Route = (typeof routes)[number];

export interface PeerFacts {
  /** Milliseconds until all services were in place: rules in the kernel; ours from the watch events to a running agent. */
  readonly programMs: number;
  /** Ours alone: from the start of the agent's process, with all services in its first lists. */
  readonly startMs?: number;
  /** Milliseconds from one change of an EndpointSlice (or of the rules) to the kernel, one for each try. */
  readonly changesMs: readonly number[];
  readonly rssBytes?: number;
  readonly mapBytes?: number;
}

export interface Peer {
  readonly name: PeerName;
  /** Clients of the route: one, or for us also the pod without a service. */
  contestants(route: Route, load: string, mode: string, more: readonly string[]): readonly Contestant[];
  facts(changes: number): Promise<PeerFacts>;
  down(): Promise<void>;
}

/** `ports` with commas between them: each connection takes one at random. */
export type Dialled = (route: Route) => { readonly host: string; readonly ports: string };

export const isNodePort = (route: Route): boolean => route.startsWith('NodePort');
const isLocal = (route: Route): boolean => route.endsWith('local');

/** The service's address; the plain peer dials the pod instead. */
export const serviceDialled =
  (services: MeasuredServices): Dialled =>
  route => {
    const service = isLocal(route) ? services.local : services.remote;
    return isNodePort(route)
      ? { host: nodeIp, ports: String(service.nodePort) }
      : { host: service.clusterIp, ports: String(servicePort) };
  };

/** The same endpoints without a service. */
export const podDialled =
  (localIp: string): Dialled =>
  route => ({ host: isLocal(route) ? localIp : '10.1.2.3', ports: serverPorts.join(',') });

export type Wrap = (argv: readonly string[]) => readonly string[];

/** `mode` and its CONNECTIONS of load; the seconds come with each piece. */
export function clientOf(
  name: ContestantName,
  topology: Topology,
  dialled: Dialled,
  wrap: Wrap = argv => argv,
): (route: Route, load: string, mode: string, more: readonly string[]) => Contestant {
  return (route, load, mode, more) => {
    const { host, ports } = dialled(route);
    const argv = (seconds: number) => [load, 'client', mode, host, ports, String(seconds), ...more];
    return {
      name,
      command: seconds =>
        isNodePort(route) ? topology.at('outside', argv(seconds)) : topology.at('client', wrap(argv(seconds))),
    };
  };
}
