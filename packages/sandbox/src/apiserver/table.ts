/** meta.k8s.io/v1 Table: what `kubectl get` prints. */
import { jsonPathText } from './json-path.ts';
import { type KubeObject, listAt, numberAt, objectAt, textAt } from './object.ts';
import type { Resource } from './registry.ts';

interface Cell {
  readonly name: string;
  /** 1: only with -o wide. */
  readonly priority: 0 | 1;
  readonly value: (object: KubeObject) => string | number;
}

const cell = (name: string, value: Cell['value'], priority: 0 | 1 = 0): Cell => ({ name, value, priority });
const wide = (name: string, value: Cell['value']): Cell => cell(name, value, 1);
const none = (text: string): string => (text === '' ? '<none>' : text);

export function age(time: string | undefined, now = Date.now()): string {
  if (time === undefined || time === '') return '<unknown>';
  const seconds = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}

const ageCell = cell('Age', object => age(object.metadata.creationTimestamp));
const nameCell = cell('Name', object => object.metadata.name);

function podStatus(pod: KubeObject): string {
  const statuses = [...listAt(pod, 'status', 'initContainerStatuses'), ...listAt(pod, 'status', 'containerStatuses')];
  const waiting = statuses.map(status => textAt(status, 'state', 'waiting', 'reason')).find(reason => reason !== '');
  const ended = statuses.map(status => textAt(status, 'state', 'terminated', 'reason')).find(reason => reason !== '');
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  const phase = textAt(pod, 'status', 'phase') || 'Pending';
  return waiting ?? (phase === 'Running' ? undefined : ended) ?? (textAt(pod, 'status', 'reason') || phase);
}

function podReady(pod: KubeObject): string {
  const ready = listAt(pod, 'status', 'containerStatuses').filter(status => textAt(status, 'ready') === 'true').length;
  return `${ready}/${listAt(pod, 'spec', 'containers').length}`;
}

const restarts = (pod: KubeObject): string =>
  String(
    listAt(pod, 'status', 'containerStatuses').reduce(
      (sum: number, status) => sum + numberAt(status, 'restartCount'),
      0,
    ),
  );

function nodeStatus(node: KubeObject): string {
  const ready = listAt(node, 'status', 'conditions').find(condition => textAt(condition, 'type') === 'Ready');
  const word = textAt(ready, 'status') === 'True' ? 'Ready' : 'NotReady';
  return textAt(node, 'spec', 'unschedulable') === 'true' ? `${word},SchedulingDisabled` : word;
}

function nodeRoles(node: KubeObject): string {
  const roles = Object.keys(node.metadata.labels ?? {}).flatMap(
    key => /^node-role\.kubernetes\.io\/(.+)$/.exec(key)?.[1] ?? [],
  );
  return none(roles.join(','));
}

const nodeAddress =
  (type: string) =>
  (node: KubeObject): string =>
    none(
      textAt(
        listAt(node, 'status', 'addresses').find(address => textAt(address, 'type') === type),
        'address',
      ),
    );

function servicePorts(service: KubeObject): string {
  const ports = listAt(service, 'spec', 'ports').map(port => {
    const nodePort = numberAt(port, 'nodePort');
    return `${numberAt(port, 'port')}${nodePort === 0 ? '' : `:${nodePort}`}/${textAt(port, 'protocol') || 'TCP'}`;
  });
  return none(ports.join(','));
}

function externalIP(service: KubeObject): string {
  const ingress = listAt(service, 'status', 'loadBalancer', 'ingress').map(
    entry => textAt(entry, 'ip') || textAt(entry, 'hostname'),
  );
  const all = [...ingress, ...listAt(service, 'spec', 'externalIPs').map(String)];
  if (all.length > 0) return all.join(',');
  if (textAt(service, 'spec', 'type') === 'ExternalName') return textAt(service, 'spec', 'externalName');
  return textAt(service, 'spec', 'type') === 'LoadBalancer' ? '<pending>' : '<none>';
}

function selectorText(object: KubeObject, ...path: readonly string[]): string {
  return none(
    Object.entries(objectAt(object, ...path))
      .map(([key, value]) => `${key}=${String(value)}`)
      .join(','),
  );
}

const containers =
  (...path: readonly string[]) =>
  (object: KubeObject): string =>
    listAt(object, ...path)
      .map(item => textAt(item, 'name'))
      .join(',');
const images =
  (...path: readonly string[]) =>
  (object: KubeObject): string =>
    listAt(object, ...path)
      .map(item => textAt(item, 'image'))
      .join(',');
const template = ['spec', 'template', 'spec', 'containers'] as const;
const count =
  (...path: readonly string[]) =>
  (object: KubeObject): number =>
    numberAt(object, ...path);

function endpointsText(endpoints: KubeObject): string {
  const all = listAt(endpoints, 'subsets').flatMap(subset =>
    listAt(subset, 'addresses').flatMap(address =>
      listAt(subset, 'ports').map(port => `${textAt(address, 'ip')}:${numberAt(port, 'port')}`),
    ),
  );
  return none(all.length > 3 ? `${all.slice(0, 3).join(',')} + ${all.length - 3} more...` : all.join(','));
}

function sliceText(slice: KubeObject): string {
  const all = listAt(slice, 'endpoints').flatMap(endpoint => listAt(endpoint, 'addresses').map(String));
  return all.length > 3
    ? `${all.slice(0, 3).join(',')} + ${all.length - 3} more...`
    : all.length === 0
      ? '<unset>'
      : all.join(',');
}

const workload = [
  wide('Containers', containers(...template)),
  wide('Images', images(...template)),
  wide('Selector', object => selectorText(object, 'spec', 'selector', 'matchLabels')),
];

const printers: Readonly<Record<string, readonly Cell[]>> = {
  pods: [
    nameCell,
    cell('Ready', podReady),
    cell('Status', podStatus),
    cell('Restarts', restarts),
    ageCell,
    wide('IP', pod => none(textAt(pod, 'status', 'podIP'))),
    wide('Node', pod => none(textAt(pod, 'spec', 'nodeName'))),
    wide('Nominated Node', () => '<none>'),
    wide('Readiness Gates', () => '<none>'),
  ],
  nodes: [
    nameCell,
    cell('Status', nodeStatus),
    cell('Roles', nodeRoles),
    ageCell,
    cell('Version', node => textAt(node, 'status', 'nodeInfo', 'kubeletVersion')),
    wide('Internal-IP', nodeAddress('InternalIP')),
    wide('External-IP', nodeAddress('ExternalIP')),
    wide('OS-Image', node => textAt(node, 'status', 'nodeInfo', 'osImage')),
    wide('Kernel-Version', node => textAt(node, 'status', 'nodeInfo', 'kernelVersion')),
    wide('Container-Runtime', node => textAt(node, 'status', 'nodeInfo', 'containerRuntimeVersion')),
  ],
  services: [
    nameCell,
    cell('Type', service => textAt(service, 'spec', 'type')),
    cell('Cluster-IP', service => none(textAt(service, 'spec', 'clusterIP'))),
    cell('External-IP', externalIP),
    cell('Port(s)', servicePorts),
    ageCell,
    wide('Selector', service => selectorText(service, 'spec', 'selector')),
  ],
  deployments: [
    nameCell,
    cell('Ready', object => `${numberAt(object, 'status', 'readyReplicas')}/${numberAt(object, 'spec', 'replicas')}`),
    cell('Up-to-date', count('status', 'updatedReplicas')),
    cell('Available', count('status', 'availableReplicas')),
    ageCell,
    ...workload,
  ],
  replicasets: [
    nameCell,
    cell('Desired', count('spec', 'replicas')),
    cell('Current', count('status', 'replicas')),
    cell('Ready', count('status', 'readyReplicas')),
    ageCell,
    ...workload,
  ],
  statefulsets: [
    nameCell,
    cell('Ready', object => `${numberAt(object, 'status', 'readyReplicas')}/${numberAt(object, 'spec', 'replicas')}`),
    ageCell,
    ...workload.slice(0, 2),
  ],
  daemonsets: [
    nameCell,
    cell('Desired', count('status', 'desiredNumberScheduled')),
    cell('Current', count('status', 'currentNumberScheduled')),
    cell('Ready', count('status', 'numberReady')),
    cell('Up-to-date', count('status', 'updatedNumberScheduled')),
    cell('Available', count('status', 'numberAvailable')),
    cell('Node Selector', object => selectorText(object, 'spec', 'template', 'spec', 'nodeSelector')),
    ageCell,
    ...workload,
  ],
  endpoints: [nameCell, cell('Endpoints', endpointsText), ageCell],
  endpointslices: [
    nameCell,
    cell('AddressType', slice => String(slice.addressType ?? '')),
    cell(
      'Ports',
      slice =>
        listAt(slice, 'ports')
          .map(port => textAt(port, 'port'))
          .join(',') || '<unset>',
    ),
    cell('Endpoints', sliceText),
    ageCell,
  ],
  namespaces: [nameCell, cell('Status', object => textAt(object, 'status', 'phase') || 'Active'), ageCell],
  configmaps: [nameCell, cell('Data', object => Object.keys(objectAt(object, 'data')).length), ageCell],
  secrets: [
    nameCell,
    cell('Type', object => String(object.type ?? 'Opaque')),
    cell('Data', object => Object.keys(objectAt(object, 'data')).length),
    ageCell,
  ],
  serviceaccounts: [nameCell, cell('Secrets', object => listAt(object, 'secrets').length), ageCell],
  networkpolicies: [
    nameCell,
    cell('Pod-Selector', object => selectorText(object, 'spec', 'podSelector', 'matchLabels')),
    ageCell,
  ],
  leases: [nameCell, cell('Holder', object => textAt(object, 'spec', 'holderIdentity')), ageCell],
  customresourcedefinitions: [nameCell, cell('Created At', object => object.metadata.creationTimestamp ?? '')],
  events: [
    cell('Last Seen', event =>
      age(String(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp ?? '')),
    ),
    cell('Type', event => String(event.type ?? '')),
    cell('Reason', event => String(event.reason ?? '')),
    cell(
      'Object',
      event => `${textAt(event, 'involvedObject', 'kind').toLowerCase()}/${textAt(event, 'involvedObject', 'name')}`,
    ),
    cell('Message', event => String(event.message ?? '')),
  ],
};

function customCells(resource: Resource): readonly Cell[] {
  const columns = (resource.columns ?? []).map(column =>
    cell(column.name, object => jsonPathText(object, column.jsonPath), column.wide ? 1 : 0),
  );
  return [nameCell, ...columns.filter(column => column.name !== 'Age'), ageCell];
}

function cellsOf(resource: Resource): readonly Cell[] {
  return (resource.columns === undefined ? printers[resource.plural] : undefined) ?? customCells(resource);
}

/** A Table of `objects`; each row carries its object's metadata, as kubectl wants for names and namespaces. */
export function tableOf(
  resource: Resource,
  objects: readonly KubeObject[],
  listVersion: string,
  includeObject: string,
): object {
  const cells = cellsOf(resource);
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: { resourceVersion: listVersion },
    columnDefinitions: cells.map(({ name, priority }) => ({
      name,
      type: 'string',
      format: name === 'Name' ? 'name' : '',
      description: name,
      priority,
    })),
    rows: objects.map(object => ({
      cells: cells.map(({ value }) => value(object)),
      object:
        includeObject === 'Object'
          ? object
          : { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata },
    })),
  };
}
