/** EndpointSlices (one set per family, at most 100 endpoints each) and the old Endpoints of every Service with a selector. */
import { type JsonObject, type KubeObject, listAt, numberAt, objectAt, sameJson, textAt } from '../apiserver/object.ts';
import { type Client, ownerReference } from './client.ts';
import { mirrorEndpoints } from './mirror-endpoints.ts';
import { isReady } from './workloads.ts';

const maxEndpoints = 100;
const serviceKey = 'kubernetes.io/service-name';
const managerKey = 'endpointslice.kubernetes.io/managed-by';
const manager = 'endpointslice-controller.k8s.io';

interface Port extends JsonObject {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

/** The pod's port behind a service port: a number, or the name that each pod may give another number. */
function targetPort(pod: KubeObject, servicePort: unknown): number | undefined {
  const target = (servicePort as JsonObject).targetPort ?? numberAt(servicePort, 'port');
  if (typeof target === 'number') return target;
  if (/^\d+$/.test(String(target))) return Number(target);
  const protocol = textAt(servicePort, 'protocol') || 'TCP';
  const ports = listAt(pod, 'spec', 'containers').flatMap(container => listAt(container, 'ports'));
  const found = ports.find(
    port => textAt(port, 'name') === String(target) && (textAt(port, 'protocol') || 'TCP') === protocol,
  );
  return found === undefined ? undefined : numberAt(found, 'containerPort');
}

function portsOf(service: KubeObject, pod: KubeObject): readonly Port[] {
  return listAt(service, 'spec', 'ports').flatMap(port => {
    const number = targetPort(pod, port);
    return number === undefined
      ? []
      : [{ name: textAt(port, 'name'), port: number, protocol: textAt(port, 'protocol') || 'TCP' }];
  });
}

function endpointOf(
  service: KubeObject,
  pod: KubeObject,
  address: string,
  zones: ReadonlyMap<string, string>,
): JsonObject {
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const serving = isReady(pod);
  const always = textAt(service, 'spec', 'publishNotReadyAddresses') === 'true';
  const nodeName = textAt(pod, 'spec', 'nodeName');
  const zone = zones.get(nodeName) ?? '';
  return {
    addresses: [address],
    conditions: { ready: always || (serving && !terminating), serving: always || serving, terminating },
    nodeName,
    ...(zone === '' ? {} : { zone }),
    targetRef: {
      kind: 'Pod',
      namespace: pod.metadata.namespace ?? '',
      name: pod.metadata.name,
      uid: pod.metadata.uid ?? '',
    },
  };
}

function podAddress(pod: KubeObject, family: string): string | undefined {
  const all = listAt(pod, 'status', 'podIPs').map(entry => textAt(entry, 'ip'));
  return all.find(ip => ip.includes(':') === (family === 'IPv6'));
}

function slicesOf(
  service: KubeObject,
  pods: readonly KubeObject[],
  family: string,
  zones: ReadonlyMap<string, string>,
): readonly KubeObject[] {
  const groups = new Map<string, { readonly ports: readonly Port[]; readonly endpoints: JsonObject[] }>();
  for (const pod of pods) {
    const address = podAddress(pod, family);
    const ports = portsOf(service, pod);
    if (address === undefined) continue;
    const key = JSON.stringify(ports);
    const group = groups.get(key) ?? { ports, endpoints: [] };
    group.endpoints.push(endpointOf(service, pod, address, zones));
    groups.set(key, group);
  }
  const { name, namespace = 'default' } = service.metadata;
  const slices: KubeObject[] = [];
  for (const { ports, endpoints } of groups.values()) {
    for (let start = 0; start < endpoints.length; start += maxEndpoints) {
      slices.push({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          name: `${name}-${family.toLowerCase()}-${slices.length}`,
          namespace,
          labels: { ...service.metadata.labels, [serviceKey]: name, [managerKey]: manager },
          ownerReferences: [ownerReference(service)],
        },
        addressType: family,
        endpoints: endpoints.slice(start, start + maxEndpoints),
        ports,
      });
    }
  }
  return slices;
}

function endpointsOf(service: KubeObject, pods: readonly KubeObject[]): KubeObject {
  const family =
    textAt(
      listAt(service, 'spec', 'ipFamilies')[0] === undefined ? {} : { f: listAt(service, 'spec', 'ipFamilies')[0] },
      'f',
    ) || 'IPv4';
  const addresses = pods.filter(isReady).flatMap(pod => {
    const ip = podAddress(pod, family);
    return ip === undefined
      ? []
      : [
          {
            ip,
            nodeName: textAt(pod, 'spec', 'nodeName'),
            targetRef: { kind: 'Pod', namespace: pod.metadata.namespace ?? '', name: pod.metadata.name },
          },
        ];
  });
  const [first] = pods;
  const subsets = addresses.length === 0 || first === undefined ? [] : [{ addresses, ports: portsOf(service, first) }];
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: {
      name: service.metadata.name,
      namespace: service.metadata.namespace ?? 'default',
      labels: service.metadata.labels ?? {},
    },
    subsets,
  };
}

function put(client: Client, wanted: KubeObject): void {
  const before = client.get(wanted.kind, wanted.metadata.namespace, wanted.metadata.name);
  if (before === undefined) client.create(wanted);
  else if (
    !sameJson([before.endpoints, before.ports, before.subsets], [wanted.endpoints, wanted.ports, wanted.subsets])
  )
    client.replace({ ...before, ...wanted, metadata: before.metadata });
}

function slicesWrittenFor(client: Client, service: KubeObject): readonly KubeObject[] {
  return client
    .dependents(service.metadata.uid ?? '')
    .filter(object => object.kind === 'EndpointSlice' && object.metadata.labels?.[managerKey] === manager);
}

export function syncEndpoints(client: Client, service: KubeObject): void {
  const selector = Object.entries(objectAt(service, 'spec', 'selector'));
  const { namespace } = service.metadata;
  if (textAt(service, 'spec', 'type') === 'ExternalName') return;
  if (selector.length === 0) {
    const manual = client.get('Endpoints', namespace, service.metadata.name);
    if (manual !== undefined) mirrorEndpoints(client, manual);
    return;
  }
  const zones = new Map(
    client.list('Node').map(node => [node.metadata.name, node.metadata.labels?.['topology.kubernetes.io/zone'] ?? '']),
  );
  const pods = client
    .list('Pod', namespace)
    .filter(
      pod =>
        selector.every(([key, value]) => pod.metadata.labels?.[key] === value) &&
        textAt(pod, 'status', 'podIP') !== '' &&
        !['Succeeded', 'Failed'].includes(textAt(pod, 'status', 'phase')),
    )
    .toSorted((a, b) => a.metadata.name.localeCompare(b.metadata.name));
  const wanted = listAt(service, 'spec', 'ipFamilies').flatMap(family =>
    slicesOf(service, pods, String(family), zones),
  );
  const names = new Set(wanted.map(slice => slice.metadata.name));
  for (const slice of wanted) put(client, slice);
  const mine = slicesWrittenFor(client, service);
  for (const slice of mine) if (!names.has(slice.metadata.name)) client.remove(slice);
  put(client, endpointsOf(service, pods));
}

export function removeEndpoints(client: Client, service: KubeObject): void {
  const { name, namespace } = service.metadata;
  for (const slice of slicesWrittenFor(client, service)) client.remove(slice);
  const endpoints = client.get('Endpoints', namespace, name);
  if (endpoints !== undefined) client.remove(endpoints);
}
