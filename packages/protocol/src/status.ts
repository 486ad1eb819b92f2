/** JSON shapes of GET /v1/healthz and GET /v1/config. Field names are the field's; times are RFC 3339. */

export type State = 'Ok' | 'Warning' | 'Failure' | 'Disabled';

export interface Status {
  readonly state: State;
  readonly msg?: string;
}

export interface ControllerStatus {
  readonly name: string;
  readonly uuid?: string;
  readonly configuration?: { readonly interval?: string; readonly 'error-retry'?: boolean };
  readonly status: {
    readonly 'success-count': number;
    readonly 'failure-count': number;
    readonly 'consecutive-failure-count': number;
    readonly 'last-success-timestamp'?: string;
    readonly 'last-failure-timestamp'?: string;
    readonly 'last-failure-msg'?: string;
  };
}

export interface IpamStatus {
  readonly status: string;
  /** Addresses in use. */
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  /** address → owner: 'router', 'health', 'namespace/pod'. */
  readonly allocations: Readonly<Record<string, string>>;
  /** Ours: one per pod CIDR, so that `3/254 allocated from 10.244.1.0/24` can be printed. */
  readonly pools: readonly IpamPool[];
}

export interface IpamPool {
  readonly prefix: string;
  readonly family: 'IPv4' | 'IPv6';
  /** Text, because an IPv6 pool overflows a number: usable addresses. */
  readonly capacity: string;
  readonly allocated: number;
}

export interface BpfMapStatus {
  readonly name: string;
  /** Maximum entries. */
  readonly size: number;
  /** Entries now; absent when the map cannot be counted (ring buffer). */
  readonly entries?: number;
  readonly type?: string;
}

export interface KubeProxyReplacement {
  readonly mode: 'True' | 'False';
  readonly devices: readonly string[];
  readonly deviceList: readonly { readonly name: string; readonly ip: readonly string[] }[];
  readonly directRoutingDevice: string;
  readonly features: {
    readonly socketLB: { readonly enabled: boolean };
    readonly socketLBTracing?: { readonly enabled: boolean };
    readonly nodePort: {
      readonly enabled: boolean;
      readonly mode: 'SNAT' | 'DSR' | 'Hybrid';
      /** Absent: no service can be forwarded by DSR. */
      readonly dsrMode?: 'IP Option/Extension' | 'IPIP';
      readonly algorithm: 'Random' | 'Maglev';
      readonly acceleration: 'Disabled' | 'Native' | 'Best-Effort';
      /** Ours: where XDP runs; `why` it does not where it was asked for. */
      readonly accelerated: readonly {
        readonly device: string;
        readonly mode: 'native' | 'none';
        readonly why: string;
      }[];
      readonly portMin: number;
      readonly portMax: number;
    };
    readonly hostPort: { readonly enabled: boolean };
    readonly externalIPs: { readonly enabled: boolean };
    readonly sessionAffinity: { readonly enabled: boolean };
    readonly gracefulTermination: { readonly enabled: boolean };
    readonly nat46X64: { readonly enabled: boolean };
  };
}

export interface ClusterStatus {
  /** Name of this node, with the cluster: 'default/node-1'. */
  readonly self: string;
  readonly nodes: readonly NodeElement[];
  readonly ciliumHealth: Status;
}

export interface NodeAddressingElement {
  readonly enabled: boolean;
  readonly ip: string;
  /** Pod CIDR. */
  readonly 'alloc-range'?: string;
  readonly 'address-type'?: string;
}

export interface NodeElement {
  readonly name: string;
  readonly 'primary-address': { readonly ipv4?: NodeAddressingElement; readonly ipv6?: NodeAddressingElement };
  readonly 'secondary-addresses'?: readonly NodeAddressingElement[];
  readonly 'health-endpoint-address'?: { readonly ipv4?: NodeAddressingElement; readonly ipv6?: NodeAddressingElement };
  readonly source?: string;
}

export interface StatusResponse {
  readonly cilium: Status;
  readonly 'container-runtime': Status;
  readonly kubernetes: Status & { readonly 'k8s-api-versions': readonly string[] };
  readonly kvstore: Status;
  readonly 'kube-proxy-replacement': KubeProxyReplacement;
  readonly 'host-routing': { readonly mode: 'BPF' | 'Legacy' };
  readonly routing: {
    readonly 'intra-host-routing-mode': string;
    readonly 'inter-host-routing-mode': string;
    readonly 'tunnel-protocol'?: string;
  };
  readonly masquerading: {
    readonly enabled: boolean;
    readonly mode: 'BPF' | 'iptables';
    readonly 'enabled-protocols': { readonly ipv4: boolean; readonly ipv6: boolean };
    readonly 'snat-exclusion-cidr-v4'?: string;
    readonly 'snat-exclusion-cidr-v6'?: string;
  };
  readonly 'clock-source': { readonly mode: 'ktime' | 'jiffies' };
  readonly 'bandwidth-manager': { readonly enabled: boolean };
  readonly 'host-firewall': { readonly mode: 'Enabled' | 'Disabled'; readonly devices: readonly string[] };
  readonly encryption: { readonly mode: 'Disabled' | 'IPsec' | 'Wireguard'; readonly msg?: string };
  readonly 'cni-chaining': { readonly mode: string };
  readonly 'cni-file': Status;
  readonly attachMode: 'TCX' | 'TC';
  readonly datapathMode: 'veth';
  readonly ipam: IpamStatus;
  readonly cluster: ClusterStatus;
  readonly controllers: readonly ControllerStatus[];
  readonly hubble: Status & {
    readonly observer?: {
      readonly 'current-flows': number;
      readonly 'max-flows': number;
      readonly 'seen-flows': number;
      readonly uptime: string;
    };
  };
  readonly proxy: { readonly ip: string; readonly 'port-range': string; readonly 'total-redirects': number };
  readonly 'identity-range': { readonly 'min-identity': number; readonly 'max-identity': number };
  readonly 'bpf-maps': { readonly 'dynamic-size-ratio'?: number; readonly maps: readonly BpfMapStatus[] };
  readonly ciliate: CiliateStatus;
}

/** What the field's shape has no place for. */
export interface CiliateStatus {
  readonly version: string;
  readonly node: string;
  readonly pid: number;
  readonly startedAt: string;
  /** Milliseconds from process start to ready; absent until then. */
  readonly readyAfterMs?: number;
  readonly ready: boolean;
  /** Why the state is Warning; empty when all is well. */
  readonly degraded: readonly string[];
  readonly kernel: string;
  readonly endpoints: { readonly total: number; readonly ready: number };
  /** Table → initializers that have not reported. */
  readonly waitingFor: Readonly<Record<string, readonly string[]>>;
  readonly rssBytes: number;
  /** Pods belong to another CNI: no policy is enforced. */
  readonly serviceOnly: boolean;
}

export interface DaemonConfiguration {
  readonly spec: { readonly options: Readonly<Record<string, string>>; readonly 'policy-enforcement': string };
  readonly status: {
    readonly addressing: {
      readonly ipv4?: NodeAddressingElement;
      readonly ipv6?: NodeAddressingElement;
    };
    readonly 'datapath-mode': 'veth';
    readonly deviceMTU: number;
    readonly routeMTU: number;
    readonly ipamMode: string;
    readonly masquerade: boolean;
    readonly realized: { readonly options: Readonly<Record<string, string>> };
    readonly daemonConfigurationMap: Readonly<Record<string, string>>;
    readonly k8sConfiguration: string;
    readonly kvstoreConfiguration: { readonly type: string };
    readonly nodeMonitor: {
      readonly cpus: number;
      readonly npages: number;
      readonly pagesize: number;
      readonly lost: number;
    };
  };
}
