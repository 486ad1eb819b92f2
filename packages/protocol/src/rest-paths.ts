/** Paths of the agent's local REST API on its unix socket. Same paths as the field's agent API; ours are under /v1/ciliate. */
export const restPaths = {
  healthz: '/v1/healthz',
  config: '/v1/config',
  endpoints: '/v1/endpoint',
  /** id: a number, or 'container-id:…', 'pod-name:ns/name', 'ipv4:…', 'ipv6:…'. */
  endpoint: (id: string): string => `/v1/endpoint/${encodeURIComponent(id)}`,
  identities: '/v1/identity',
  identity: (id: string): string => `/v1/identity/${encodeURIComponent(id)}`,
  ips: '/v1/ip',
  policy: '/v1/policy',
  policySelectors: '/v1/policy/selectors',
  services: '/v1/service',
  service: (id: string): string => `/v1/service/${encodeURIComponent(id)}`,
  /** ServiceExplanation. name: namespace/name. */
  serviceExplanation: (name: string): string => `/v1/ciliate/service/${encodeURIComponent(name)}`,
  /** LbTrace. Query: from, to. */
  lbTrace: '/v1/ciliate/lb/trace',
  nodes: '/v1/cluster/nodes',
  maps: '/v1/map',
  map: (name: string): string => `/v1/map/${encodeURIComponent(name)}`,
  clusterHealth: '/v1/health/status',
  clusterHealthProbe: '/v1/health/status/probe',
  metrics: '/metrics',
  cni: '/v1/ciliate/cni',
  drops: '/v1/ciliate/drops',
  /** NDJSON, one MonitorEvent a line. Query: type=drop,trace…; related-to=<endpoint id>; hex=true. */
  monitor: '/v1/ciliate/monitor',
  /** name: lb, ct, nat, ipcache, endpoint, metrics, policy. */
  bpf: (name: BpfDumpName): string => `/v1/ciliate/bpf/${name}`,
  /** LivePolicyExplanation[]. Query: from, to, port, protocol. */
  policyExplain: '/v1/ciliate/policy/explain',
  /** SceneJson of @ciliate/control: pods, policies and settings, as this agent knows them. */
  policyScene: '/v1/ciliate/policy/scene',
  /** PolicyVerification. */
  policyVerify: '/v1/ciliate/policy/verify',
  tables: '/v1/ciliate/tables',
  table: (name: string): string => `/v1/ciliate/tables/${encodeURIComponent(name)}`,
} as const;

export type BpfDumpName = 'lb' | 'ct' | 'nat' | 'ipcache' | 'endpoint' | 'metrics' | 'policy';

/** Body of every response that is not 2xx. */
export interface RestError {
  /** Stable, upper case: 'NOT_FOUND', 'BAD_REQUEST', 'NOT_READY' … */
  readonly code: string;
  readonly message: string;
  /** What to do about it. */
  readonly remedy: string;
}
