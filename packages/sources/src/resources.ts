/** Paths of the resources that we read or write. */

const cilium = '/apis/cilium.io/v2';

export const resourcePaths = {
  nodes: '/api/v1/nodes',
  pods: '/api/v1/pods',
  namespaces: '/api/v1/namespaces',
  services: '/api/v1/services',
  endpointSlices: '/apis/discovery.k8s.io/v1/endpointslices',
  ciliumNodes: `${cilium}/ciliumnodes`,
  ciliumEndpoints: `${cilium}/ciliumendpoints`,
  ciliumIdentities: `${cilium}/ciliumidentities`,
  networkPolicies: '/apis/networking.k8s.io/v1/networkpolicies',
  ciliumNetworkPolicies: `${cilium}/ciliumnetworkpolicies`,
  ciliumClusterwideNetworkPolicies: `${cilium}/ciliumclusterwidenetworkpolicies`,
  localRedirectPolicies: `${cilium}/ciliumlocalredirectpolicies`,
  ciliumCidrGroups: `${cilium}/ciliumcidrgroups`,
  crds: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
  node: (name: string): string => `/api/v1/nodes/${name}`,
  nodeStatus: (name: string): string => `/api/v1/nodes/${name}/status`,
  eventsOf: (namespace: string): string => `/api/v1/namespaces/${namespace}/events`,
  pod: (namespace: string, name: string): string => `/api/v1/namespaces/${namespace}/pods/${name}`,
  ciliumNode: (name: string): string => `${cilium}/ciliumnodes/${name}`,
  ciliumEndpointsOf: (namespace: string): string => `${cilium}/namespaces/${namespace}/ciliumendpoints`,
  ciliumEndpoint: (namespace: string, name: string): string =>
    `${cilium}/namespaces/${namespace}/ciliumendpoints/${name}`,
  ciliumIdentity: (id: number | string): string => `${cilium}/ciliumidentities/${id}`,
  crd: (name: string): string => `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`,
  leases: (namespace: string): string => `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`,
  lease: (namespace: string, name: string): string =>
    `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${name}`,
} as const;
