/** GET /v1/endpoint, /v1/identity, /v1/ip. */

export interface AddressPair {
  readonly ipv4?: string;
  readonly ipv6?: string;
}

export interface EndpointIdentity {
  readonly id: number;
  /** 'k8s:app=web', 'reserved:health' … sorted. */
  readonly labels: readonly string[];
  readonly labelsSHA256?: string;
}

export interface EndpointPolicy {
  /** Directions that are judged; 'audit-…': what would be denied is reported and let through. */
  readonly 'policy-enabled': PolicyEnabled;
  readonly 'policy-revision': number;
  /** Number of its policy map; 0: none. */
  readonly 'policy-group': number;
}

export type PolicyEnabled = 'none' | 'ingress' | 'egress' | 'both' | 'audit-ingress' | 'audit-egress' | 'audit-both';

export interface EndpointStatus {
  readonly state: 'creating' | 'waiting-for-identity' | 'ready' | 'disconnecting' | 'invalid' | 'regenerating';
  readonly identity: EndpointIdentity;
  readonly labels: { readonly 'security-relevant': readonly string[]; readonly derived: readonly string[] };
  readonly networking: {
    readonly addressing: readonly AddressPair[];
    readonly mac: string;
    readonly 'host-mac': string;
    readonly 'interface-name': string;
    readonly 'interface-index': number;
    readonly 'container-interface-name': string;
    readonly 'host-addressing'?: AddressPair;
  };
  readonly 'external-identifiers': {
    readonly 'container-id': string;
    readonly 'cni-attachment-id': string;
    readonly 'k8s-namespace': string;
    readonly 'k8s-pod-name': string;
    readonly 'k8s-uid': string;
    readonly 'pod-name': string;
  };
  readonly policy: {
    /** What the kernel enforces. */
    readonly realized: EndpointPolicy;
    /** What policies ask for. */
    readonly spec: EndpointPolicy;
  };
  readonly health: { readonly overallHealth: 'OK' | 'Bootstrap' | 'Pending' | 'Warning' | 'Failure' | 'Disabled' };
  readonly log: readonly {
    readonly timestamp: string;
    readonly state: string;
    readonly message: string;
    readonly code: string;
  }[];
}

export interface Endpoint {
  readonly id: number;
  readonly spec: Readonly<Record<string, never>>;
  readonly status: EndpointStatus;
}

export interface Identity {
  readonly id: number;
  readonly labels: readonly string[];
  readonly labelsSHA256?: string;
}

/** One entry of the ipcache, as GET /v1/ip lists it. */
export interface IpListEntry {
  readonly cidr: string;
  readonly identity: number;
  readonly hostIP?: string;
  readonly metadata: { readonly source: string; readonly namespace?: string; readonly name?: string };
  readonly encryptKey?: number;
}
