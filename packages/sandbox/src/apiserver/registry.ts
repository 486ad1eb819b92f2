/** Which resources there are. Custom ones come and go with their CustomResourceDefinition. */
import { type KubeObject, listAt, objectAt, textAt } from './object.ts';

export interface Column {
  readonly name: string;
  readonly jsonPath: string;
  readonly wide: boolean;
}

export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly hasStatus: boolean;
  readonly hasScale: boolean;
  /** Printer columns of custom resources. */
  readonly columns?: readonly Column[];
}

type Short = readonly [plural: string, kind: string, shortNames: string, flags: string];

/** Flags: n namespaced, s status, c scale, a in category 'all'. */
const builtins: Readonly<Record<string, readonly Short[]>> = {
  '/v1': [
    ['pods', 'Pod', 'po', 'nsa'],
    ['services', 'Service', 'svc', 'nsa'],
    ['endpoints', 'Endpoints', 'ep', 'n'],
    ['nodes', 'Node', 'no', 's'],
    ['namespaces', 'Namespace', 'ns', 's'],
    ['configmaps', 'ConfigMap', 'cm', 'n'],
    ['secrets', 'Secret', '', 'n'],
    ['serviceaccounts', 'ServiceAccount', 'sa', 'n'],
    ['events', 'Event', 'ev', 'n'],
    ['persistentvolumeclaims', 'PersistentVolumeClaim', 'pvc', 'ns'],
  ],
  'apps/v1': [
    ['deployments', 'Deployment', 'deploy', 'nsca'],
    ['replicasets', 'ReplicaSet', 'rs', 'nsca'],
    ['daemonsets', 'DaemonSet', 'ds', 'nsa'],
    ['statefulsets', 'StatefulSet', 'sts', 'nsca'],
  ],
  'discovery.k8s.io/v1': [['endpointslices', 'EndpointSlice', '', 'n']],
  'networking.k8s.io/v1': [
    ['networkpolicies', 'NetworkPolicy', 'netpol', 'n'],
    ['ingresses', 'Ingress', 'ing', 'ns'],
    ['ingressclasses', 'IngressClass', '', ''],
  ],
  'coordination.k8s.io/v1': [['leases', 'Lease', '', 'n']],
  'rbac.authorization.k8s.io/v1': [
    ['roles', 'Role', '', 'n'],
    ['rolebindings', 'RoleBinding', '', 'n'],
    ['clusterroles', 'ClusterRole', '', ''],
    ['clusterrolebindings', 'ClusterRoleBinding', '', ''],
  ],
  'apiextensions.k8s.io/v1': [['customresourcedefinitions', 'CustomResourceDefinition', 'crd,crds', 's']],
};

function builtin(groupVersion: string, [plural, kind, shortNames, flags]: Short): Resource {
  const [group = '', version = ''] = groupVersion.split('/');
  return {
    group,
    version,
    plural,
    singular: kind.toLowerCase(),
    kind,
    namespaced: flags.includes('n'),
    shortNames: shortNames === '' ? [] : shortNames.split(','),
    categories: flags.includes('a') ? ['all'] : [],
    hasStatus: flags.includes('s'),
    hasScale: flags.includes('c'),
  };
}

/** Resources of a CustomResourceDefinition, one for each served version. */
export function customResources(crd: KubeObject): readonly Resource[] {
  const names = objectAt(crd.spec, 'names');
  return listAt(crd.spec, 'versions').map(version => ({
    group: textAt(crd.spec, 'group'),
    version: textAt(version, 'name'),
    plural: textAt(names, 'plural'),
    singular: textAt(names, 'singular') || textAt(names, 'kind').toLowerCase(),
    kind: textAt(names, 'kind'),
    namespaced: textAt(crd.spec, 'scope') === 'Namespaced',
    shortNames: listAt(names, 'shortNames').map(String),
    categories: listAt(names, 'categories').map(String),
    hasStatus: Object.hasOwn(objectAt(version, 'subresources'), 'status'),
    hasScale: Object.hasOwn(objectAt(version, 'subresources'), 'scale'),
    columns: listAt(version, 'additionalPrinterColumns').map(column => ({
      name: textAt(column, 'name'),
      jsonPath: textAt(column, 'jsonPath'),
      wide: Number(textAt(column, 'priority') || 0) > 0,
    })),
  }));
}

export class Registry {
  readonly #resources = new Map<string, Resource>();

  constructor() {
    for (const [groupVersion, list] of Object.entries(builtins))
      for (const short of list) this.add(builtin(groupVersion, short));
  }

  add(resource: Resource): void {
    this.#resources.set(`${resource.group}/${resource.version}/${resource.plural}`, resource);
  }

  remove(resource: Resource): void {
    this.#resources.delete(`${resource.group}/${resource.version}/${resource.plural}`);
  }

  find(group: string, version: string, plural: string): Resource | undefined {
    return this.#resources.get(`${group}/${version}/${plural}`);
  }

  ofKind(kind: string, group?: string): Resource | undefined {
    return this.all().find(resource => resource.kind === kind && (group === undefined || resource.group === group));
  }

  all(): readonly Resource[] {
    return [...this.#resources.values()];
  }
}

export function apiVersionOf(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}
