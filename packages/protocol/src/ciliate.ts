/** Our additions under /v1/ciliate: map dumps, events, drops, raw tables. Ports are in host order, addresses canonical text. */
import type { PolicyVerdictEvent } from './policy.ts';

/** Maps of the load balancer beside the services: `bpf lb list --backends` and so on. */
export const lbMapNames = ['backends', 'revnat', 'source-ranges', 'affinity', 'maglev', 'skip', 'dsr'] as const;
export type LbMapName = (typeof lbMapNames)[number];

/** `id`: of the backend, else of the frontend (revNat id). Other columns by map. */
export type LbMapRow = Readonly<Record<string, string | number>>;

export interface LbDumpEntry {
  /** '10.96.0.1:443/TCP', IPv6 in brackets. */
  readonly frontend: string;
  readonly id: number;
  readonly slot: number;
  readonly type: string;
  readonly flags: readonly string[];
  /** Whose set of backends it is; 'not-redirected': of pods to which the frontend's local redirect does not apply. */
  readonly scope: 'external' | 'internal' | 'not-redirected';
  /** Slot 0: how many slots follow. */
  readonly count: number;
  readonly qcount: number;
  readonly backendId: number;
  /** '' for slot 0, or when the id names no backend. */
  readonly backend: string;
  readonly backendFlags: readonly string[];
}

export interface CtDumpEntry {
  readonly protocol: string;
  readonly direction: 'egress' | 'ingress' | 'service';
  readonly source: string;
  readonly destination: string;
  /** Where the flow of a service goes, as ADDRESS:PORT; else ''. Service entries count no packets: the flow's other entry does. */
  readonly backend: string;
  /** Seconds of the kernel's monotonic clock. */
  readonly expires: number;
  /** Seconds left; negative = awaiting garbage collection. */
  readonly remaining: number;
  readonly packets: number;
  readonly bytes: number;
  readonly flags: readonly string[];
  readonly revNatId: number;
  readonly backendId: number;
  readonly sourceIdentity: number;
}

export interface NatDumpEntry {
  readonly protocol: string;
  readonly direction: 'egress' | 'ingress';
  readonly source: string;
  readonly destination: string;
  /** The translated source (egress) or destination (ingress). */
  readonly translated: string;
  readonly expires: number;
  readonly remaining: number;
}

export interface IpcacheDumpEntry {
  readonly prefix: string;
  readonly identity: number;
  /** '' = routed normally. */
  readonly tunnelEndpoint: string;
  readonly flags: readonly string[];
}

export interface EndpointDumpEntry {
  readonly address: string;
  readonly id: number;
  readonly ifindex: number;
  readonly identity: number;
  readonly mac: string;
  readonly nodeMac: string;
  /** Number of its policy map; 0: it is not judged. */
  readonly policyGroup: number;
  readonly policyRevision: number;
  readonly flags: readonly string[];
}

export interface MetricsDumpEntry {
  readonly reason: number;
  readonly reasonName: string;
  readonly direction: 'ingress' | 'egress' | 'service' | 'unknown';
  readonly program: string;
  readonly packets: number;
  readonly bytes: number;
}

/** One line of GET /v1/ciliate/monitor. */
export interface MonitorEvent {
  readonly type: 'drop' | 'trace' | 'policy-verdict' | 'debug' | 'trace-sock' | 'lost';
  /** RFC 3339 with microseconds. */
  readonly time: string;
  /** One-line text, as `ciliate monitor` prints it. */
  readonly summary: string;
  readonly program?: string;
  readonly reason?: number;
  readonly reasonName?: string;
  readonly observationPoint?: string;
  readonly sourceIdentity?: number;
  readonly destinationIdentity?: number;
  readonly endpointId?: number;
  readonly ifindex?: number;
  readonly line?: number;
  readonly hash?: string;
  readonly length?: number;
  readonly packet?: DecodedPacket;
  /** type 'policy-verdict'. */
  readonly verdict?: PolicyVerdictEvent;
  /** Captured bytes, hexadecimal; only when asked for. */
  readonly data?: string;
  /** type 'lost': records that the ring buffer could not take since the last event. */
  readonly lost?: number;
}

/** Headers of a packet that an event has captured. Fields that were not captured are absent. */
export interface DecodedPacket {
  readonly ethernet?: { readonly source: string; readonly destination: string; readonly type: number };
  readonly source?: string;
  readonly destination?: string;
  readonly family?: 4 | 6;
  readonly protocol?: string;
  readonly ttl?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** 'SYN, ACK' */
  readonly tcpFlags?: string;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  readonly fragment?: boolean;
  /** IP in IP: what is in it, of the same family. */
  readonly encapsulates?: DecodedPacket;
}

export interface TableSummary {
  readonly name: string;
  readonly rows: number;
  readonly revision: number;
  readonly initialized: boolean;
  readonly pendingInitializers: readonly string[];
}
