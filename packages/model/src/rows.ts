/**
 * The rows that stand between rooms. Intent rows say what Kubernetes, files and the CNI want; desired rows say what the
 * kernel shall hold. Map keys and values of desired rows are the types of @ciliate/abi.
 */
import type {
  EndpointEntry,
  EndpointKey,
  IpcacheEntry,
  IpcacheKey,
  LbBackend,
  LbKey,
  LbRevnat,
  LbService,
  NetdevEntry,
  NetdevKey,
  NodeEntry,
  NodeKey,
} from '@ciliate/abi';
import type { Reconcilable } from '@ciliate/tables';
import type { Address, Prefix } from './address.ts';
import type { Labels } from './labels.ts';

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
  readonly annotations: Labels;
  readonly addresses: readonly NodeAddress[];
  /** Pod CIDRs that this node hands out, both families. */
  readonly podCIDRs: readonly Prefix[];
  /** Router addresses (CiliumInternalIP), at most one a family. */
  readonly routerAddresses: readonly Address[];
  readonly healthAddresses: readonly Address[];
}

/** A pod that runs on this node. Key: namespace/name. */
export interface PodRow {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly nodeName: string;
  readonly labels: Labels;
  readonly serviceAccount: string;
  readonly podIPs: readonly Address[];
  readonly hostNetwork: boolean;
  readonly phase: string;
  readonly namedPorts: Readonly<Record<string, { readonly port: number; readonly protocol: Protocol }>>;
}

/** Key: name. */
export interface NamespaceRow {
  readonly name: string;
  readonly labels: Labels;
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
  readonly annotations: Labels;
  /** Empty for headless ('None') and ExternalName. */
  readonly clusterIPs: readonly Address[];
  readonly externalIPs: readonly Address[];
  readonly loadBalancerIPs: readonly Address[];
  readonly ports: readonly ServicePortRow[];
  readonly externalTrafficPolicy: 'Cluster' | 'Local';
  readonly internalTrafficPolicy: 'Cluster' | 'Local';
  /** Seconds; 0 = no ClientIP affinity. */
  readonly affinityTimeout: number;
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
}

export interface SliceEndpoint {
  readonly addresses: readonly Address[];
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string;
  readonly zone: string;
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
}

// ---- between services and maps: what `service list` shows ----

export type FrontendType = 'ClusterIP' | 'NodePort' | 'ExternalIPs' | 'LoadBalancer' | 'HostPort';
export type BackendState = 'active' | 'terminating' | 'quarantined' | 'maintenance';

export interface FrontendBackend {
  readonly address: Address;
  readonly port: number;
  readonly protocol: Protocol;
  readonly state: BackendState;
  readonly nodeName: string;
  readonly zone: string;
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
  readonly backends: readonly FrontendBackend[];
}

// ---- desired: one reconciler each ----

export type LbWrite =
  | { readonly map: 'lb_services'; readonly key: LbKey; readonly value: LbService }
  | { readonly map: 'lb_backends'; readonly key: number; readonly value: LbBackend }
  | { readonly map: 'lb_revnat'; readonly key: number; readonly value: LbRevnat };

/**
 * One frontend as map writes in the order that is safe to apply: backends, reverse NAT, slots, master last.
 * Key: the frontend's. Backends are shared between frontends; the reconciler counts references by backend id.
 */
export interface LbRow extends Reconcilable {
  readonly key: string;
  readonly serviceId: number;
  readonly backendIds: readonly number[];
  readonly writes: readonly LbWrite[];
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

/** Key: device name. */
export interface NetdevRow extends Reconcilable {
  readonly device: string;
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
