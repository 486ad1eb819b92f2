/** GET /v1/service: one object per frontend. */

export interface FrontendAddress {
  readonly ip: string;
  readonly port: number;
  /** Upper case: 'TCP'. */
  readonly protocol: string;
  readonly scope: 'external' | 'internal';
}

export interface BackendAddress {
  readonly ip: string;
  readonly port: number;
  readonly protocol: string;
  readonly nodeName?: string;
  readonly zone?: string;
  readonly state: 'active' | 'terminating' | 'terminating-not-serving' | 'quarantined' | 'maintenance';
  readonly preferred?: boolean;
}

export interface ServiceSpec {
  /** rev_nat_id, also the ID that `service list` prints. */
  readonly id: number;
  readonly 'frontend-address': FrontendAddress;
  readonly 'backend-addresses': readonly BackendAddress[];
  readonly flags: {
    readonly type: 'ClusterIP' | 'NodePort' | 'ExternalIPs' | 'HostPort' | 'LoadBalancer' | 'LocalRedirect';
    readonly name: string;
    readonly namespace: string;
    readonly extTrafficPolicy: 'Cluster' | 'Local';
    readonly intTrafficPolicy: 'Cluster' | 'Local';
    readonly trafficPolicy?: 'Cluster' | 'Local';
    readonly cluster?: string;
    readonly healthCheckNodePort?: number;
  };
}

export interface Service {
  readonly spec: ServiceSpec;
  readonly status: {
    readonly realized: ServiceSpec;
    /** Ours: the reconciler's word on it. */
    readonly state: 'pending' | 'done' | 'error';
    readonly error?: string;
    /** Ours: who wants this address and port too, and does not get it. */
    readonly conflicts?: readonly string[];
  };
}
