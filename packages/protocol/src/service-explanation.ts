/** GET /v1/ciliate/service/NAMESPACE/NAME: what a service is, where it goes, and why an endpoint gets nothing. */

export interface ServiceFrontendReport {
  /** ADDRESS:PORT/PROTO */
  readonly frontend: string;
  readonly type: string;
  /** As `service list` has it; 0: not in the datapath. */
  readonly id: number;
  readonly state: 'pending' | 'done' | 'error';
  readonly error: string;
  /** Backends for clients outside the cluster, and for pods and nodes. */
  readonly outside: number;
  readonly inside: number;
  /** namespace/name of the local redirect policy that has taken it over; '' = none. */
  readonly redirectedBy: string;
}

export interface ServiceEndpointReport {
  /** ADDRESS:PORT/PROTO */
  readonly endpoint: string;
  readonly pod: string;
  readonly node: string;
  readonly zone: string;
  readonly slice: string;
  /** new flows of clients outside the cluster, of pods and nodes. */
  readonly outside: boolean;
  readonly inside: boolean;
  /** Why not, or only partly; empty when it gets everything that there is. */
  readonly reasons: readonly string[];
}

export interface ServiceExplanation {
  readonly namespace: string;
  readonly name: string;
  readonly type: string;
  /** Settings that differ from the defaults, as 'externalTrafficPolicy: Local'. */
  readonly settings: readonly string[];
  readonly frontends: readonly ServiceFrontendReport[];
  readonly endpoints: readonly ServiceEndpointReport[];
  /** What keeps the service, or a part of it, from working. */
  readonly problems: readonly string[];
}
