/** What REST, status and metrics read. Nothing here changes anything. */
import type {
  CtEntry,
  CtKey,
  EndpointEntry,
  EndpointKey,
  IpcacheEntry,
  IpcacheKey,
  LbAffinity,
  LbAffinityKey,
  LbBackend,
  LbDsr,
  LbDsrKey,
  LbKey,
  LbRevnat,
  LbService,
  LbSkipKey,
  LbSourceRangeKey,
  MetricsEntry,
  MetricsKey,
  NatEntry,
  NatKey,
  PolicyEntry,
  PolicyKey,
} from '@ciliate/abi';
import type { EventListener, LoadedService, loadedPeer, ProbeAnswer, ServiceFlow, ServiceRun } from '@ciliate/datapath';
import type { Acceleration, Address, Tables } from '@ciliate/model';
import type { BpfMapStatus, ClusterHealth } from '@ciliate/protocol';
import type { ReflectorHealth } from '@ciliate/sources';
import type { Ipam } from '../ipam/ipam.ts';
import type { WorkHealth } from '../keyed-queue.ts';
import type { AgentOptions } from '../options/agent-options.ts';
import type { PolicyVerifier } from '../policy/policy-verifier.ts';
import type { PolicyReporter } from '../publish/policy-reporter.ts';

/** The kernel side as REST sees it. */
export interface DatapathView {
  readonly attachMode: 'TCX' | 'TC';
  readonly devices: () => readonly { readonly name: string; readonly addresses: readonly string[] }[];
  /** Of native devices: whether XDP runs there, and why not where it was asked for. */
  readonly acceleration: () => readonly ({ readonly device: string } & Acceleration)[];
  readonly directDevice: () => string;
  readonly deviceMtu: () => number;
  readonly routeMtu: () => number;
  readonly socketLb: boolean;
  readonly maps: () => readonly BpfMapStatus[];
  readonly lbServices: () => Iterable<readonly [LbKey, LbService]>;
  readonly lbBackends: () => Iterable<readonly [number, LbBackend]>;
  readonly lbRevnat: () => Iterable<readonly [number, LbRevnat]>;
  readonly lbSourceRanges: () => Iterable<readonly [LbSourceRangeKey, unknown]>;
  /** Backends of this node, and the frontends as which they may answer. */
  readonly lbDsr: () => Iterable<readonly [LbDsrKey, LbDsr]>;
  readonly lbSkip: () => Iterable<readonly [LbSkipKey, unknown]>;
  readonly lbAffinity: () => Iterable<readonly [LbAffinityKey, LbAffinity]>;
  /** Frontend's id → backend ids of its table. */
  readonly lbMaglev: () => Iterable<readonly [number, Uint32Array]>;
  readonly ct: () => Iterable<readonly [CtKey, CtEntry]>;
  readonly nat: () => Iterable<readonly [NatKey, NatEntry]>;
  readonly ipcache: () => Iterable<readonly [IpcacheKey, IpcacheEntry]>;
  readonly endpoints: () => Iterable<readonly [EndpointKey, EndpointEntry]>;
  readonly policyMap: (group: number) => readonly (readonly [PolicyKey, PolicyEntry])[] | undefined;
  readonly scanPolicyMap: (group: number) => IterableIterator<readonly [PolicyKey, PolicyEntry]> | undefined;
  /** What the maps say about who has an address. */
  readonly loadedPeer: (address: Address) => ReturnType<typeof loadedPeer>;
  /** The first packet of a flow through the loaded program; undefined: it is not from a pod of this node. */
  readonly probe: (flow: {
    readonly source: Address;
    readonly destination: Address;
    readonly protocol: number;
    readonly port: number;
  }) => ProbeAnswer | undefined;
  readonly loadedService: (flow: ServiceFlow, inside: boolean) => LoadedService | undefined;
  readonly isUnserved: (address: Address) => boolean;
  /** The first packet of a flow to a service through the loaded programs; undefined: it would come in by no device. */
  readonly runServiceFlow: (flow: ServiceFlow) => readonly ServiceRun[] | undefined;
  /** Number of a group → its policy map. */
  readonly policyMaps: () => Iterable<readonly [number, readonly (readonly [PolicyKey, PolicyEntry])[]]>;
  readonly metrics: () => Iterable<readonly [MetricsKey, readonly MetricsEntry[]]>;
  /** Records of the ring buffer, until the returned function is called. */
  readonly subscribe: (listener: EventListener) => () => void;
  /** Events lost since the agent started, while somebody listened. */
  readonly lostEvents: () => number;
}

export interface AgentContext {
  readonly version: string;
  readonly nodeName: string;
  readonly options: AgentOptions;
  readonly tables: Tables;
  readonly ipam: Ipam;
  readonly datapath: DatapathView;
  readonly controllers: () => readonly WorkHealth[];
  readonly reflectors: () => readonly ReflectorHealth[];
  readonly apiServer: string;
  readonly verifier: PolicyVerifier;
  readonly policyChanges: () => PolicyReporter['changes'];
  readonly health: () => ClusterHealth;
  readonly probe: () => Promise<ClusterHealth>;
  readonly nodeAddresses: () => readonly Address[];
  readonly routers: () => readonly Address[];
  readonly healthAddresses: () => readonly Address[];
  readonly cniConfPath: string;
  readonly startedAt: Date;
  readonly readyAfterMs: () => number | undefined;
  readonly degraded: () => readonly string[];
}
