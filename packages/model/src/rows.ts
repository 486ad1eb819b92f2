/**
 * The rows that stand between rooms. Intent rows say what Kubernetes, files and the CNI want; desired rows say what the
 * kernel shall hold. Map keys and values of desired rows are the types of @ciliate/abi.
 */
import type {
  EndpointEntry,
  EndpointKey,
  IpcacheEntry,
  IpcacheKey,
  LbAffinityMatch,
  LbBackend,
  LbDsr,
  LbDsrKey,
  LbKey,
  LbRevnat,
  LbService,
  LbSkip,
  LbSkipKey,
  LbSourceRange,
  LbSourceRangeKey,
  NetdevEntry,
  NetdevKey,
  NodeEntry,
  NodeKey,
} from '@ciliate/abi';
import type { Reconcilable } from '@ciliate/tables';
import type { Address, Prefix } from './address.ts';
import type { Labels } from './labels.ts';
import type { AuditMode } from './policy/rows.ts';
import type { LabelSelector } from './selector.ts';

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

// ---- intent ----

export interface NodeAddress {
  readonly type: 'InternalIP' | 'ExternalIP' | 'Hostname' | 'CiliumInternalIP';
  readonly address: string;
}

/** A node of the cluster, merged from its Node and its CiliumNode. Key: name. */
export interface NodeRow {
  readonly name: string;
  readonly local: boolean;
  readonly labels: Labels;
  readonly addresses: readonly NodeAddress[];
  /** Pod CIDRs that this node hands out, both families. */
  readonly podCIDRs: readonly Prefix[];
  /** Router addresses (CiliumInternalIP), at most one a family. */
  readonly routerAddresses: readonly Address[];
  readonly healthAddresses: readonly Address[];
  /** Being deleted, or marked so by the cluster autoscaler: load balancers shall leave it out. */
  readonly leaving?: true;
}

/** A pod that runs on this node. Key: namespace/name. */
export interface PodRow {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Of a static pod: the number by which kubelet and runtime know it. Its object has another. */
  readonly staticUid?: string;
  readonly nodeName: string;
  readonly labels: Labels;
  readonly serviceAccount: string;
  readonly podIPs: readonly Address[];
  readonly hostNetwork: boolean;
  readonly phase: string;
  readonly namedPorts: Readonly<Record<string, { readonly port: number; readonly protocol: Protocol }>>;
  /** Condition Ready. */
  readonly ready: boolean;
  readonly hostPorts: readonly HostPort[];
}

/** A port of a container that the node's own addresses serve. */
export interface HostPort {
  readonly hostPort: number;
  /** Undefined: every address of the node. */
  readonly hostIP: Address | undefined;
  readonly containerPort: number;
  readonly protocol: Protocol;
}

/** Key: name. */
export interface NamespaceRow {
  readonly name: string;
  readonly labels: Labels;
  /** Annotation ciliate.io/audit: all policies in it are only tried out. Absent: off. */
  readonly audit?: AuditMode;
}

export type ServiceType = 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';

export interface ServicePortRow {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** 0: none. */
  readonly nodePort: number;
}

/** A Kubernetes Service. Key: namespace/name. */
export interface ServiceRow {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly type: ServiceType;
  readonly labels: Labels;
  /** Of the pods that serve; empty: somebody else says who serves. */
  readonly selector: Labels;
  /** Empty for headless ('None') and ExternalName. */
  readonly clusterIPs: readonly Address[];
  readonly externalIPs: readonly Address[];
  readonly loadBalancerIPs: readonly Address[];
  readonly ports: readonly ServicePortRow[];
  readonly externalTrafficPolicy: 'Cluster' | 'Local';
  readonly internalTrafficPolicy: 'Cluster' | 'Local';
  /** Seconds; 0 = no ClientIP affinity. */
  readonly affinityTimeout: number;
  /** clusterIP None, or the label service.kubernetes.io/headless: nothing is balanced. */
  readonly headless: boolean;
  readonly healthCheckNodePort: number;
  readonly sourceRanges: readonly Prefix[];
  /** The ranges say who may not, instead of who may. */
  readonly sourceRangesDeny: boolean;
  readonly loadBalancerClass: string;
  /** '' = backends are chosen wherever they are. */
  readonly trafficDistribution: '' | 'PreferSameZone' | 'PreferSameNode';
  /** Annotation service.cilium.io/type: only frontends of this kind. */
  readonly exposedType: '' | 'ClusterIP' | 'NodePort' | 'LoadBalancer';
  readonly algorithm: '' | 'random' | 'maglev';
  readonly forwardingMode: '' | 'snat' | 'dsr';
  /** A proxy of the node serves: where the backend is here, it gets the packets as they came. */
  readonly delegatesToProxy: boolean;
  /** Nodes on which addresses for outsiders are served; undefined: all. */
  readonly exposedNodes: LabelSelector | undefined;
  /** Milliseconds since 1970; of two services that want one address the older one has it. */
  readonly created: number;
  /** Annotation ciliate.io/health-check: who does not answer gets nothing. Absent: the slices are believed. */
  readonly healthCheck?: HealthCheck;
  /** Annotation ciliate.io/proxy-port: where a proxy in the network of every node listens, which gets what is sent to TCP ports. Absent: none. */
  readonly proxyPort?: number;
  /** Of --lb-state-file, not of the API server. */
  readonly fromFile?: true;
}

export interface HealthCheck {
  /** Seconds between two probes of a backend. */
  readonly interval: number;
}

/** A CiliumLocalRedirectPolicy: pods of this node take a service's or an address's traffic. Key: namespace/name. */
export interface LocalRedirectRow {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Milliseconds since 1970; of two redirects that want one frontend the older one has it. */
  readonly created: number;
  readonly frontend:
    | {
        readonly kind: 'service';
        readonly namespace: string;
        readonly name: string;
        readonly ports: readonly RedirectPort[];
      }
    | { readonly kind: 'address'; readonly address: Address; readonly ports: readonly RedirectPort[] };
  readonly pods: LabelSelector;
  readonly backendPorts: readonly RedirectPort[];
  /** The redirect's own pods reach the frontend as it is. */
  readonly skipFromBackend: boolean;
}

export interface RedirectPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/** One EndpointSlice. Key: namespace/name. */
export interface EndpointSliceRow {
  readonly namespace: string;
  readonly name: string;
  /** Name of the Service (label kubernetes.io/service-name). */
  readonly service: string;
  readonly family: 'IPv4' | 'IPv6';
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: Protocol }[];
  readonly endpoints: readonly SliceEndpoint[];
  /** As of ServiceRow. */
  readonly fromFile?: true;
}

/** One address of an endpoint; those of one with several are equal in everything else. */
export interface SliceEndpoint {
  readonly address: Address;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string;
  readonly zone: string;
  /** hints.forZones, hints.forNodes; undefined: none. */
  readonly zoneHints: readonly string[] | undefined;
  readonly nodeHints: readonly string[] | undefined;
  /** namespace/name of the pod behind it; '' = none named. */
  readonly targetPod: string;
}

/** An endpoint of another node, from its CiliumEndpoint. Key: namespace/name. */
export interface RemoteEndpointRow {
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly Address[];
  readonly identity: number;
  readonly nodeAddress: Address;
  readonly namedPorts: PodRow['namedPorts'];
}

export type EndpointState = 'creating' | 'waiting-for-identity' | 'ready' | 'disconnecting' | 'invalid';

/** A workload of this node: made by the CNI, restored at start. Key: id. */
export interface EndpointRow {
  readonly id: number;
  readonly containerId: string;
  /** Name of the device inside the pod, CNI_IFNAME. */
  readonly containerDevice: string;
  /** CNI_NETNS as given. */
  readonly netns: string;
  /** CNI network name. */
  readonly network: string;
  /** SO_NETNS_COOKIE of the namespace, in decimal: what the kernel tells socket programs. Absent: not known. */
  readonly netnsCookie?: string;
  /** Host side of the veth. */
  readonly device: string;
  readonly ifindex: number;
  readonly mac: string;
  readonly nodeMac: string;
  readonly addresses: readonly Address[];
  /** '' when no pod is behind it (health endpoint). */
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly kind: 'pod' | 'health';
  readonly state: EndpointState;
  readonly identity: number;
  readonly labels: Labels;
}

/** An identity in use. Key: id. */
export interface IdentityRow {
  readonly id: number;
  /** Security labels, 'source:key' → value; reserved identities carry reserved:NAME. */
  readonly labels: Labels;
  readonly reserved: boolean;
}

/** What a device's driver can do with XDP. */
export interface XdpSupport {
  /** Runs programs on what comes in. */
  readonly runs: boolean;
  /** Takes frames that programs send out of it; a veth also those that its own program sends back. */
  readonly transmits: boolean;
  /** Also such that are in several buffers. */
  readonly transmitsScattered: boolean;
}

/** A network device of this node. Key: name. */
export interface DeviceRow {
  readonly name: string;
  readonly ifindex: number;
  readonly mac: string;
  readonly mtu: number;
  readonly kind: string;
  readonly up: boolean;
  readonly addresses: readonly Prefix[];
  /** True: from_netdev/to_netdev belong on it. */
  readonly native: boolean;
  /** Absent: nobody has asked, or the kernel does not tell (before Linux 6.3). */
  readonly xdp?: XdpSupport;
}

// ---- between services and maps: what `service list` shows ----

export type FrontendType = 'ClusterIP' | 'NodePort' | 'ExternalIPs' | 'LoadBalancer' | 'HostPort' | 'LocalRedirect';
/**
 * active: takes flows. terminating: serves on, and takes new flows when none is active. quarantined: fails its health checks.
 * terminating-not-serving and maintenance (not ready): keep the flows they have, and get no new ones.
 */
export type BackendState = 'active' | 'terminating' | 'terminating-not-serving' | 'quarantined' | 'maintenance';

export interface FrontendBackend {
  readonly address: Address;
  readonly port: number;
  readonly protocol: Protocol;
  readonly state: BackendState;
  readonly nodeName: string;
  readonly zone: string;
  /** As of SliceEndpoint. */
  readonly zoneHints: readonly string[] | undefined;
  readonly nodeHints: readonly string[] | undefined;
  /** Put here by a local redirect: traffic policies do not apply. */
  readonly redirected?: true;
}

/** An address that clients dial. Key: address:port/PROTO (with brackets for IPv6). */
export interface FrontendRow {
  readonly address: Address;
  readonly port: number;
  readonly protocol: Protocol;
  readonly type: FrontendType;
  /** namespace/name */
  readonly service: string;
  readonly portName: string;
  readonly externalTrafficPolicy: 'Cluster' | 'Local';
  readonly internalTrafficPolicy: 'Cluster' | 'Local';
  readonly affinityTimeout: number;
  /** What clients outside the cluster get; inside too, unless internalBackends says otherwise. */
  readonly backends: readonly FrontendBackend[];
  readonly internalBackends: readonly FrontendBackend[] | undefined;
  /** What pods get to which the redirect does not apply (skipRedirectFromBackend): the service's own. Absent: nobody is so. */
  readonly notRedirected?: readonly FrontendBackend[];
  /** Answers packets from outside the node; else it is there for sockets of the node and its pods. */
  readonly routable: boolean;
  /** The address belongs to the service alone: what none of its ports serves is dropped. */
  readonly ownsAddress: boolean;
  readonly sourceRanges: readonly Prefix[];
  readonly sourceRangesDeny: boolean;
  readonly maglev: boolean;
  /** Backends on other nodes get packets with the client's address, and their nodes answer the client. */
  readonly dsr: boolean;
  /** With dsr: all of the service, which other nodes may choose from. Absent: they are those that this node chooses from. */
  readonly dsrBackends?: readonly FrontendBackend[];
  /** What goes to a backend of this node is left to the node's stack untranslated: a proxy of the node answers it. */
  readonly delegatesToProxy: boolean;
  /** namespace/name of the local redirect policy that has put its pods here; '' = none. */
  readonly redirectTo: string;
}

// ---- desired: one reconciler each ----

export type LbWrite =
  | { readonly map: 'lb_services'; readonly key: LbKey; readonly value: LbService }
  | { readonly map: 'lb_backends'; readonly key: number; readonly value: LbBackend }
  | { readonly map: 'lb_revnat'; readonly key: number; readonly value: LbRevnat }
  | { readonly map: 'lb_affinity_match'; readonly key: LbAffinityMatch; readonly value: LbSourceRange }
  | { readonly map: 'lb_source_ranges'; readonly key: LbSourceRangeKey; readonly value: LbSourceRange }
  | { readonly map: 'lb_dsr'; readonly key: LbDsrKey; readonly value: LbDsr }
  /** `table`: backend ids by entry. `of` says what it is made from: equal texts, equal tables. */
  | { readonly map: 'lb_maglev'; readonly key: number; readonly of: string; readonly table: () => Uint32Array };

/**
 * What one frontend, or an address as a whole, has in the load balancer's maps; lbWrites of @ciliate/control makes LbWrites of it.
 * Key: the frontend's. Backends are shared between frontends; the reconciler counts references by backend id.
 */
export interface LbRow extends Reconcilable {
  readonly key: string;
  readonly serviceId: number;
  /** Each backend of the frontend once. */
  readonly backendIds: readonly number[];
  /** enum lb_backend_flags, in the order of backendIds. */
  readonly backendFlags: readonly number[];
  /** Of this node: other nodes may forward to them with the client's address. Absent: none. */
  readonly answering?: readonly FrontendBackend[];
  /** Undefined: nothing is in the maps, since it never fitted. */
  readonly serves: FrontendRow | UnservedAddress | undefined;
}

/** An address of which the ports that no frontend has are dropped. `type`: of a frontend that has one. */
export interface UnservedAddress {
  readonly address: Address;
  readonly type: FrontendType;
  readonly unserved: true;
}

/** An entry of lb_skip: a pod that a local redirect lets pass to what its frontend is without it. Key: pod, frontend and `by`. */
export interface LbSkipRow extends Reconcilable {
  /** namespace/name */
  readonly pod: string;
  /** As portKey writes it. */
  readonly frontend: string;
  /** Sockets are known by their namespace's cookie, packets by the endpoint that sends them. */
  readonly by: 'cookie' | 'endpoint';
  readonly key: LbSkipKey;
  readonly value: LbSkip;
}

/** Key: the prefix. */
export interface IpcacheRow extends Reconcilable {
  readonly prefix: Prefix;
  readonly key: IpcacheKey;
  readonly value: IpcacheEntry;
  /** Why it is there: 'node', 'pod-cidr', 'endpoint', 'remote-endpoint', 'host', 'cidr'. */
  readonly source: string;
}

/** An entry of the endpoints map. Key: the address. */
export interface EndpointMapRow extends Reconcilable {
  readonly address: Address;
  readonly key: EndpointKey;
  readonly value: EndpointEntry;
}

/** Programs on a pod's device. Key: device. */
export interface EndpointDeviceRow extends Reconcilable {
  readonly device: string;
  readonly ifindex: number;
  readonly endpointId: number;
}

/** Whether xdp_netdev belongs on a device. */
export interface Acceleration {
  readonly mode: 'native' | 'none';
  /** Why not, and what to do; '' when it does, or nobody asks for it. */
  readonly why: string;
}

/** Key: device name. */
export interface NetdevRow extends Reconcilable {
  readonly device: string;
  readonly acceleration: Acceleration;
  readonly key: NetdevKey;
  readonly value: NetdevEntry;
}

/** Key: the address. */
export interface NodeMapRow extends Reconcilable {
  readonly address: Address;
  readonly key: NodeKey;
  readonly value: NodeEntry;
}

/** A route of the node's main table that is ours. Key: prefix. */
export interface RouteRow extends Reconcilable {
  readonly prefix: Prefix;
  readonly device: string;
  readonly gateway: Address | undefined;
  /** Preferred source address. */
  readonly source: Address | undefined;
  readonly mtu: number;
}

/**
 * An address that an owner wants and does not get, since another one has it: two services with one external IP and port, two NodePorts
 * of one number. Key: service and frontend.
 */
export interface ServiceConflictRow {
  /** Who goes without: namespace/name of the service, as FrontendRow.service. */
  readonly service: string;
  /** Who has it. */
  readonly holder: string;
  /** What both want, as portKey writes it. */
  readonly frontend: string;
  readonly type: FrontendType;
  readonly message: string;
}

/** What a health checker has found of a backend as one service has it. Key: service and backend. */
export interface BackendHealthRow {
  /** namespace/name */
  readonly service: string;
  /** As portKey writes it. */
  readonly backend: string;
  readonly healthy: boolean;
}

/** A service whose health others ask for on a port of this node (healthCheckNodePort). Key: the service. */
export interface ServiceHealthRow {
  /** namespace/name */
  readonly service: string;
  readonly port: number;
  /** Ready endpoints on this node. */
  readonly localEndpoints: number;
}
