/** CustomResourceDefinitions that agents and operator need, and their registration. */
import { apiStatus, type KubeApi, resourcePaths } from '@ciliate/sources';

interface CrdSpec {
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly scope: 'Cluster' | 'Namespaced';
  readonly fields: readonly string[];
  /** A status subresource, written by agents. */
  readonly status?: boolean;
  /** Served too, beside v2 in which objects are kept and read. */
  readonly older?: 'v2alpha1';
  readonly columns: readonly { readonly name: string; readonly type: string; readonly jsonPath: string }[];
}

const group = 'cilium.io';
const valid = {
  name: 'Valid',
  type: 'string',
  jsonPath: '.status.conditions[?(@.type=="Valid")].status',
} as const;
const age = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' } as const;

const specs: readonly CrdSpec[] = [
  {
    kind: 'CiliumNode',
    plural: 'ciliumnodes',
    shortNames: ['cn', 'ciliumn'],
    scope: 'Cluster',
    fields: ['spec', 'status'],
    columns: [
      { name: 'CiliumInternalIP', type: 'string', jsonPath: '.spec.addresses[?(@.type=="CiliumInternalIP")].ip' },
      { name: 'InternalIP', type: 'string', jsonPath: '.spec.addresses[?(@.type=="InternalIP")].ip' },
      age,
    ],
  },
  {
    kind: 'CiliumEndpoint',
    plural: 'ciliumendpoints',
    shortNames: ['cep', 'ciliumep'],
    scope: 'Namespaced',
    fields: ['status'],
    columns: [
      { name: 'Security Identity', type: 'integer', jsonPath: '.status.identity.id' },
      { name: 'Endpoint State', type: 'string', jsonPath: '.status.state' },
      { name: 'IPv4', type: 'string', jsonPath: '.status.networking.addressing[0].ipv4' },
      { name: 'IPv6', type: 'string', jsonPath: '.status.networking.addressing[0].ipv6' },
    ],
  },
  {
    kind: 'CiliumIdentity',
    plural: 'ciliumidentities',
    shortNames: ['ciliumid'],
    scope: 'Cluster',
    fields: ['security-labels'],
    columns: [
      { name: 'Namespace', type: 'string', jsonPath: '.security-labels.k8s:io\\.kubernetes\\.pod\\.namespace' },
      age,
    ],
  },
  {
    kind: 'CiliumNetworkPolicy',
    plural: 'ciliumnetworkpolicies',
    shortNames: ['cnp', 'ciliumnp'],
    scope: 'Namespaced',
    fields: ['spec', 'specs', 'status'],
    columns: [age, valid],
    status: true,
  },
  {
    kind: 'CiliumClusterwideNetworkPolicy',
    plural: 'ciliumclusterwidenetworkpolicies',
    shortNames: ['ccnp'],
    scope: 'Cluster',
    fields: ['spec', 'specs', 'status'],
    columns: [valid],
    status: true,
  },
  {
    kind: 'CiliumLocalRedirectPolicy',
    plural: 'ciliumlocalredirectpolicies',
    shortNames: ['clrp'],
    scope: 'Namespaced',
    fields: ['spec', 'status'],
    columns: [age],
    status: true,
  },
  {
    kind: 'CiliumCIDRGroup',
    plural: 'ciliumcidrgroups',
    shortNames: ['ccg'],
    scope: 'Cluster',
    fields: ['spec'],
    columns: [age],
    older: 'v2alpha1',
  },
];

function definition(spec: CrdSpec): unknown {
  const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const properties = Object.fromEntries(spec.fields.map(field => [field, open]));
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${spec.plural}.${group}` },
    spec: {
      group,
      scope: spec.scope,
      names: {
        kind: spec.kind,
        listKind: `${spec.kind}List`,
        plural: spec.plural,
        singular: spec.kind.toLowerCase(),
        shortNames: spec.shortNames,
        categories: ['cilium'],
      },
      versions: ['v2', ...(spec.older === undefined ? [] : [spec.older])].map(name => ({
        name,
        served: true,
        storage: name === 'v2',
        additionalPrinterColumns: spec.columns,
        schema: { openAPIV3Schema: { type: 'object', properties } },
        ...(spec.status === true ? { subresources: { status: {} } } : {}),
      })),
    },
  };
}

/** Creates those that are missing; one that is there, ours or another's, is left as it is. Resolves to what was created. */
export async function registerCrds(api: KubeApi): Promise<readonly string[]> {
  const created: string[] = [];
  for (const spec of specs) {
    try {
      await api.request('POST', resourcePaths.crds, { body: definition(spec) });
      created.push(spec.kind);
    } catch (error) {
      if (apiStatus(error) !== 409) throw error;
    }
  }
  return created;
}
