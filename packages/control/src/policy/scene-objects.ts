/** Kubernetes objects (manifests, or what an API server has) into a scene. */
import {
  type Address,
  auditedBy,
  type CidrGroupRow,
  cidrGroupFromK8s,
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumNetworkPolicyFromK8s,
  endpointSliceFromK8s,
  type Labels,
  type NamespaceRow,
  type NodeRow,
  namespaceFromK8s,
  networkPolicyFromK8s,
  nodeFromK8s,
  objectKey,
  own,
  type Parsed,
  type ParseProblem,
  type PodRow,
  type PolicyRow,
  podFromK8s,
  policyKey,
  protocolNumbers,
  securityLabels,
  tryParseAddress,
} from '@ciliate/model';
import { nodeIPs } from '../network/addresses.ts';
import type { PeerNode } from './address-asks.ts';
import { identityNumbers, PolicyScene, type SceneInput, type Somebody } from './scene.ts';
import { type NamedService, namesService, targetsOf } from './service-peers.ts';

/** An object and where it stands: 'web.yaml:12'. */
export interface PlacedObject {
  readonly place: string;
  readonly object: unknown;
}

export interface ObjectProblem extends ParseProblem {
  readonly place: string;
  /** 'NetworkPolicy shop/web' */
  readonly object: string;
}

export interface SceneObjects {
  readonly scene: PolicyScene;
  readonly problems: readonly ObjectProblem[];
  /** Policy key → where it stands. */
  readonly places: ReadonlyMap<string, string>;
}

export type SceneSettings = Pick<
  SceneInput,
  'mode' | 'allowLocalHost' | 'dualStack' | 'now' | 'cidrMatchesNodes' | 'clusterName'
>;

export const sceneDefaults: Omit<SceneSettings, 'now'> = {
  mode: 'default',
  allowLocalHost: true,
  dualStack: true,
  cidrMatchesNodes: false,
  clusterName: 'default',
};

interface Collected {
  readonly pods: Map<string, PodRow>;
  readonly namespaces: Map<string, NamespaceRow>;
  readonly policies: Map<string, PolicyRow>;
  readonly places: Map<string, string>;
  readonly groups: CidrGroupRow[];
  readonly services: NamedService[];
  /** namespace/name of a service → its endpoints. */
  readonly endpoints: Map<string, readonly Address[]>;
  readonly problems: ObjectProblem[];
  readonly nodes: NodeRow[];
}

/** Later objects replace earlier ones of the same kind and name. */
export function sceneFromObjects(objects: Iterable<PlacedObject>, settings: SceneSettings): SceneObjects {
  const found: Collected = {
    ...{ pods: new Map(), namespaces: new Map(), policies: new Map(), places: new Map() },
    ...{ groups: [], services: [], endpoints: new Map(), problems: [], nodes: [] },
  };
  for (const placed of objects) collect(placed, found);
  const pods = somebodies(found, settings.clusterName);
  const scene = new PolicyScene({
    ...settings,
    pods,
    policies: [...found.policies.values()].map(row => auditedBy(row, found.namespaces.get(row.namespace))),
    cidrGroups: found.groups,
    serviceTargets: ({ service }) =>
      targetsOf(
        found.services.filter(one => namesService(service, one)),
        one => found.endpoints.get(objectKey(one)) ?? [],
        address => pods.find(pod => pod.addresses.includes(address))?.identity,
      ),
    hostLabels: securitySource(found.nodes[0]?.labels ?? {}),
    nodes: found.nodes.map(peerOf),
  });
  return { scene, problems: found.problems, places: found.places };
}

const templates = new Set(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job', 'ReplicationController']);

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function field(value: unknown, ...path: readonly string[]): unknown {
  let found = value;
  for (const name of path) found = isFields(found) ? found[name] : undefined;
  return found;
}

function text(value: unknown, fallback = ''): string {
  return typeof value === 'string' ? value : fallback;
}

function collect(placed: PlacedObject, found: Collected): void {
  const { object, place } = placed;
  const kind = text(field(object, 'kind'));
  const name = text(field(object, 'metadata', 'name'));
  const namespace = text(field(object, 'metadata', 'namespace'), 'default');
  const parsed = <Row>(result: Parsed<Row>): Row | undefined => {
    const problems = 'error' in result ? [result.error] : result.problems;
    for (const problem of problems) found.problems.push({ ...problem, place, object: `${kind} ${namespace}/${name}` });
    return 'row' in result ? result.row : undefined;
  };
  const items = field(object, 'items');
  if (kind.endsWith('List') && Array.isArray(items)) {
    for (const item of items) collect({ place, object: { kind: kind.slice(0, -4), ...asFields(item) } }, found);
    return;
  }
  if (kind === 'Pod' || templates.has(kind) || kind === 'CronJob') {
    const row = parsed(podFromK8s(podOf(object, kind, namespace, name)));
    if (row !== undefined && !row.hostNetwork) found.pods.set(`${row.namespace}/${row.name}`, row);
  } else if (kind === 'Namespace') {
    const row = parsed(namespaceFromK8s(object));
    if (row !== undefined) found.namespaces.set(row.name, row);
  } else if (kind in policyParsers) {
    const row = parsed(
      own(policyParsers, kind)?.(object) ?? { error: { field: 'kind', message: 'is not known', remedy: '' } },
    );
    if (row !== undefined) keepPolicy(row, place, found);
  } else if (kind === 'CiliumCIDRGroup') {
    const row = parsed(cidrGroupFromK8s(object));
    if (row !== undefined) found.groups.push(row);
  } else if (kind === 'Service') {
    const [labels, selector] = [
      asLabels(field(object, 'metadata', 'labels')),
      asLabels(field(object, 'spec', 'selector')),
    ];
    found.services.push({ namespace, name, labels, selector });
  } else if (kind === 'EndpointSlice') {
    const row = parsed(endpointSliceFromK8s(object));
    if (row !== undefined) {
      const addresses = row.endpoints.map(({ address }) => address);
      addEndpoints(`${row.namespace}/${row.service}`, addresses, found);
    }
  } else if (kind === 'Endpoints') {
    addEndpoints(`${namespace}/${name}`, endpointsOf(object), found);
  } else if (kind === 'Node') {
    const row = parsed(nodeFromK8s(object, ''));
    if (row !== undefined) found.nodes.push(row);
  }
}

const policyParsers: Readonly<Record<string, (object: unknown) => Parsed<PolicyRow>>> = {
  NetworkPolicy: networkPolicyFromK8s,
  CiliumNetworkPolicy: ciliumNetworkPolicyFromK8s,
  CiliumClusterwideNetworkPolicy: ciliumClusterwideNetworkPolicyFromK8s,
};

function keepPolicy(row: PolicyRow, place: string, found: Collected): void {
  found.policies.set(policyKey(row), row);
  found.places.set(policyKey(row), place);
  for (const reason of row.refused) {
    const object = `${row.kind} ${row.namespace}/${row.name}`;
    const remedy = 'take it out; until then the whole policy is not enforced';
    found.problems.push({ place, object, field: 'spec', message: reason, remedy });
  }
}

/** A workload is its pods: one, named as the workload. */
function podOf(object: unknown, kind: string, namespace: string, name: string): unknown {
  if (kind === 'Pod') return { ...asFields(object), metadata: { ...asFields(field(object, 'metadata')), namespace } };
  const path = kind === 'CronJob' ? ['spec', 'jobTemplate', 'spec', 'template'] : ['spec', 'template'];
  const template = field(object, ...path);
  return { metadata: { ...asFields(field(template, 'metadata')), name, namespace }, spec: field(template, 'spec') };
}

/** Which of them is `host` nobody says: each is another node. */
const peerOf = (row: NodeRow): PeerNode => ({
  name: row.name,
  labels: row.labels,
  addresses: nodeIPs(row),
  local: false,
  apiServers: [],
});

function addEndpoints(service: string, addresses: readonly Address[], found: Collected): void {
  const before = found.endpoints.get(service) ?? [];
  found.endpoints.set(service, [...before, ...addresses]);
}

/** Of a core/v1 Endpoints, the older form. */
function endpointsOf(object: unknown): readonly Address[] {
  const subsets = field(object, 'subsets');
  const lists = (Array.isArray(subsets) ? subsets : []).map(subset => field(subset, 'addresses'));
  const ips = lists
    .flatMap(list => (Array.isArray(list) ? list : []))
    .map(one => tryParseAddress(text(field(one, 'ip'))));
  return ips.filter(address => address !== undefined);
}

function asFields(value: unknown): Fields {
  return isFields(value) ? value : {};
}

function asLabels(value: unknown): Labels {
  return Object.fromEntries(Object.entries(asFields(value)).map(([key, one]) => [key, String(one)]));
}

function securitySource(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value]));
}

function somebodies({ pods, namespaces }: Collected, cluster: string): readonly Somebody[] {
  const number = identityNumbers();
  return [...pods.values()].map(pod => {
    const labels = securityLabels({
      namespace: pod.namespace,
      podLabels: pod.labels,
      // Kubernetes sets it on every namespace; manifests rarely have it.
      namespaceLabels: { 'kubernetes.io/metadata.name': pod.namespace, ...namespaces.get(pod.namespace)?.labels },
      serviceAccount: pod.serviceAccount,
      cluster,
    });
    return {
      name: `${pod.namespace}/${pod.name}`,
      kind: 'pod',
      identity: number(labels),
      labels,
      addresses: pod.podIPs,
      namedPorts: portNumbers(pod.namedPorts),
    };
  });
}

/** '6/http' → numbers. */
export function portNumbers(ports: PodRow['namedPorts']): Somebody['namedPorts'] {
  const named = Object.entries(ports);
  return new Map(
    named.map(([name, { port, protocol }]) => [`${protocolNumbers[protocol]}/${name.toLowerCase()}`, [port]]),
  );
}
