/** Endpoints that somebody has written for a Service without selector, as EndpointSlices: what nodes read. */
import { type JsonObject, type KubeObject, listAt, objectAt, sameJson, textAt } from '../apiserver/object.ts';
import { type Client, ownerReference } from './client.ts';

const labels = (service: string): Readonly<Record<string, string>> => ({
  'kubernetes.io/service-name': service,
  'endpointslice.kubernetes.io/managed-by': 'endpointslicemirroring-controller.k8s.io',
});

export function mirrorEndpoints(client: Client, endpoints: KubeObject): void {
  const { namespace, name } = endpoints.metadata;
  const service = client.get('Service', namespace, name);
  const isManual = service !== undefined && Object.keys(objectAt(service, 'spec', 'selector')).length === 0;
  const skips = endpoints.metadata.labels?.['endpointslice.kubernetes.io/skip-mirror'] === 'true';
  const wanted = isManual && !skips ? slicesOf(endpoints) : [];
  const names = new Set(wanted.map(slice => slice.metadata.name));
  for (const slice of client.dependents(endpoints.metadata.uid ?? '')) {
    if (slice.kind === 'EndpointSlice' && !names.has(slice.metadata.name)) client.remove(slice);
  }
  for (const slice of wanted) {
    const before = client.get('EndpointSlice', namespace, slice.metadata.name);
    if (before === undefined) client.create(slice);
    else if (!sameJson([before.endpoints, before.ports], [slice.endpoints, slice.ports]))
      client.replace({ ...before, ...slice, metadata: before.metadata });
  }
}

/** One for each subset and family. */
function slicesOf(endpoints: KubeObject): readonly KubeObject[] {
  const { namespace = 'default', name } = endpoints.metadata;
  return listAt(endpoints, 'subsets').flatMap((subset, i) =>
    ['IPv4', 'IPv6'].flatMap(family => {
      const of = (list: string, ready: boolean) =>
        listAt(subset, list)
          .filter(address => textAt(address, 'ip').includes(':') === (family === 'IPv6'))
          .map(address => endpointOf(address, ready));
      const all = [...of('addresses', true), ...of('notReadyAddresses', false)];
      if (all.length === 0) return [];
      const metadata = {
        ...{ name: `${name}-mirrored-${family.toLowerCase()}-${i}`, namespace, labels: labels(name) },
        ownerReferences: [ownerReference(endpoints)],
      };
      const ports = listAt(subset, 'ports').map(port => ({ protocol: 'TCP', ...(port as JsonObject) }));
      return [
        {
          apiVersion: 'discovery.k8s.io/v1',
          kind: 'EndpointSlice',
          metadata,
          addressType: family,
          endpoints: all,
          ports,
        },
      ];
    }),
  );
}

function endpointOf(address: unknown, ready: boolean): JsonObject {
  const nodeName = textAt(address, 'nodeName');
  return {
    addresses: [textAt(address, 'ip')],
    conditions: { ready, serving: ready, terminating: false },
    ...(nodeName === '' ? {} : { nodeName }),
  };
}
