/** Rows as the REST API's endpoints, services and addresses. */
import {
  type Address,
  addressFromBytes,
  type EndpointMapRow,
  type EndpointRow,
  type FrontendRow,
  type IdentityRow,
  type IpcacheRow,
  isIPv4,
  labelList,
  prefixAddress,
  reservedIdentities,
  type Tables,
} from '@ciliate/model';
import type { Endpoint, Identity, IpListEntry, Service, ServiceSpec } from '@ciliate/protocol';
import { isLockedDown, policyEnabled, wantedPolicy } from './policy-json.ts';

/** The node itself, as the field's tools know it: an endpoint with the labels of its Node object. */
export function hostRow(tables: Tables, nodeName: string, addresses: readonly Address[]): EndpointRow {
  const node = tables.nodes.get(nodeName);
  const own = Object.entries(node?.labels ?? {}).map(([key, value]) => [`k8s:${key}`, value] as const);
  return {
    ...{ id: hostEndpointId, containerId: '', containerDevice: '', netns: '', network: '', device: '', ifindex: 0 },
    ...{ mac: '', nodeMac: '', addresses, podNamespace: '', podName: '', podUid: '', kind: 'pod', state: 'ready' },
    identity: reservedIdentities.host,
    labels: { 'reserved:host': '', ...Object.fromEntries(own) },
  };
}

/** As in the endpoints map, and in events. */
export const hostEndpointId = 0;

/** `audit`: every denial of this node is only reported. */
export function endpointJson(row: EndpointRow, tables: Tables, audit: boolean): Endpoint {
  const ipv4 = row.addresses.find(isIPv4);
  const ipv6 = row.addresses.find(address => !isIPv4(address));
  const labels = labelList(row.labels);
  const entry = entryOf(row, tables);
  const flags = entry?.value.flags ?? 0;
  return {
    id: row.id,
    spec: {},
    status: {
      state: row.state,
      identity: { id: row.identity, labels },
      labels: { 'security-relevant': labels, derived: [] },
      networking: {
        addressing: [{ ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) }],
        mac: row.mac,
        'host-mac': row.nodeMac,
        'interface-name': row.device,
        'interface-index': row.ifindex,
        'container-interface-name': row.containerDevice,
      },
      'external-identifiers': {
        'container-id': row.containerId,
        'cni-attachment-id': `${row.containerId}:${row.containerDevice}`,
        'k8s-namespace': row.podNamespace,
        'k8s-pod-name': row.podName,
        'k8s-uid': row.podUid,
        'pod-name': row.podName === '' ? '' : `${row.podNamespace}/${row.podName}`,
      },
      policy: {
        realized: {
          'policy-enabled': policyEnabled(flags),
          'policy-revision': entry?.value.policyRevision ?? 0,
          'policy-group': entry?.value.policyGroup ?? 0,
        },
        spec: wantedPolicy(row, tables, audit),
      },
      health: { overallHealth: row.state !== 'ready' ? 'Bootstrap' : isLockedDown(flags) ? 'Failure' : 'OK' },
      log: [],
    },
  };
}

function entryOf(row: EndpointRow, { endpointMapRows }: Tables): EndpointMapRow | undefined {
  return endpointMapRows.get(row.addresses[0] ?? '');
}

export const identityJson = (row: IdentityRow): Identity => ({ id: row.id, labels: labelList(row.labels) });

export function serviceJson(
  frontend: FrontendRow,
  key: string,
  { lbRows, serviceConflicts }: Pick<Tables, 'lbRows' | 'serviceConflicts'>,
): Service {
  const [namespace = '', name = ''] = frontend.service.split('/');
  const lb = lbRows.get(key);
  const spec: ServiceSpec = {
    id: lb?.serviceId ?? 0,
    'frontend-address': {
      ip: frontend.address,
      port: frontend.port,
      protocol: frontend.protocol,
      scope: 'external',
    },
    'backend-addresses': frontend.backends.map(backend => ({
      ip: backend.address,
      port: backend.port,
      protocol: backend.protocol,
      nodeName: backend.nodeName,
      zone: backend.zone,
      state: backend.state,
    })),
    flags: {
      type: frontend.type,
      name,
      namespace,
      extTrafficPolicy: frontend.externalTrafficPolicy,
      intTrafficPolicy: frontend.internalTrafficPolicy,
    },
  };
  const status = lb?.status;
  const conflicts = serviceConflicts.by('frontend', key).map(({ message }) => message);
  return {
    spec,
    status: {
      realized: spec,
      state: status?.kind ?? 'pending',
      ...(status?.kind === 'error' ? { error: `${key}: ${status.error}` } : {}),
      ...(conflicts.length > 0 ? { conflicts } : {}),
    },
  };
}

/** The pod behind a host prefix, of this node or another; undefined for everything else. */
function podOf(tables: Tables, row: IpcacheRow): { readonly namespace: string; readonly name: string } | undefined {
  const address = prefixAddress(row.prefix);
  const local = tables.endpoints.by('address', address)[0];
  if (row.source === 'endpoint' && local !== undefined && local.podName !== '') {
    return { namespace: local.podNamespace, name: local.podName };
  }
  const remote = row.source === 'remote-endpoint' ? tables.remoteEndpoints.by('address', address)[0] : undefined;
  return remote === undefined ? undefined : { namespace: remote.namespace, name: remote.name };
}

export function ipJson(row: IpcacheRow, tables: Tables): IpListEntry {
  const zero = row.value.tunnelEndpoint.every(byte => byte === 0);
  return {
    cidr: row.prefix,
    identity: row.value.identity,
    ...(zero ? {} : { hostIP: addressFromBytes(row.value.tunnelEndpoint) }),
    metadata: { source: row.source, ...podOf(tables, row) },
  };
}
