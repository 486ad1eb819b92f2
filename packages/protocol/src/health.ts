/** GET /v1/health/status: what probes of every node have found. */

export interface ConnectivityStatus {
  /** Nanoseconds; 0 when unreachable. */
  readonly latency: number;
  /** '' = reachable. */
  readonly status: string;
  readonly lastProbed: string;
}

export interface PathStatus {
  readonly ip: string;
  readonly icmp?: ConnectivityStatus;
  readonly http: ConnectivityStatus;
}

export interface HostHealth {
  readonly 'primary-address': PathStatus;
  readonly 'secondary-addresses': readonly PathStatus[];
}

export interface HealthNode {
  /** 'default/node-1' */
  readonly name: string;
  readonly host: HostHealth;
  /** Absent until the node has published a health address. */
  readonly 'health-endpoint'?: HostHealth;
}

export interface ClusterHealth {
  readonly local: { readonly name: string };
  readonly nodes: readonly HealthNode[];
  /** When the last whole round of probes ended. */
  readonly timestamp: string;
  readonly probeInterval: string;
}

/** What the responder on port 4240 answers to GET /hello. */
export interface HealthHello {
  readonly node: string;
}
