import type { Database, RWTable } from '@ciliate/tables';
import { frontendColumns, labelsColumn, nodeColumns, serviceColumns } from './columns.ts';
import { objectKey, portKey } from './keys.ts';
import { labelsKey } from './labels.ts';
import { definePolicyTables, type PolicyTables } from './policy/tables.ts';
import type {
  BackendHealthRow,
  DeviceRow,
  EndpointDeviceRow,
  EndpointMapRow,
  EndpointRow,
  EndpointSliceRow,
  FrontendRow,
  IdentityRow,
  IpcacheRow,
  LbRow,
  LbSkipRow,
  LocalRedirectRow,
  NamespaceRow,
  NetdevRow,
  NodeMapRow,
  NodeRow,
  PodRow,
  RemoteEndpointRow,
  RouteRow,
  ServiceConflictRow,
  ServiceHealthRow,
  ServiceRow,
} from './rows.ts';

/** Every table of a node. Each has one writer (STYLE rule 3): sources, the endpoint manager, a controller. */
export interface Tables extends PolicyTables {
  readonly nodes: RWTable<NodeRow, 'address'>;
  readonly pods: RWTable<PodRow, 'address' | 'namespace'>;
  readonly namespaces: RWTable<NamespaceRow>;
  readonly services: RWTable<ServiceRow>;
  readonly endpointSlices: RWTable<EndpointSliceRow, 'service'>;
  readonly remoteEndpoints: RWTable<RemoteEndpointRow, 'address' | 'identity'>;
  readonly endpoints: RWTable<EndpointRow, 'address' | 'container' | 'pod' | 'identity'>;
  readonly identities: RWTable<IdentityRow, 'labels'>;
  readonly devices: RWTable<DeviceRow>;
  readonly localRedirects: RWTable<LocalRedirectRow>;
  /** Index owned: the address, of those that own theirs. */
  readonly frontends: RWTable<FrontendRow, 'service' | 'backend' | 'owned'>;
  readonly serviceHealth: RWTable<ServiceHealthRow>;
  readonly backendHealth: RWTable<BackendHealthRow, 'service'>;
  readonly serviceConflicts: RWTable<ServiceConflictRow, 'frontend'>;
  readonly lbRows: RWTable<LbRow>;
  readonly lbSkipRows: RWTable<LbSkipRow, 'pod'>;
  readonly ipcacheRows: RWTable<IpcacheRow>;
  readonly endpointMapRows: RWTable<EndpointMapRow>;
  readonly endpointDeviceRows: RWTable<EndpointDeviceRow>;
  readonly netdevRows: RWTable<NetdevRow>;
  readonly nodeMapRows: RWTable<NodeMapRow>;
  readonly routeRows: RWTable<RouteRow>;
}

/** Makes all tables, empty, in `db`. Keys and indexes are those that rows.ts names. */
export function defineTables(db: Database): Tables {
  return { ...intentTables(db), ...serviceTables(db), ...desiredTables(db), ...definePolicyTables(db) };
}

function intentTables(db: Database) {
  return {
    nodes: db.table<NodeRow, 'address'>({
      name: 'nodes',
      key: row => row.name,
      indexes: { address: row => [...row.addresses.map(({ address }) => address), ...row.routerAddresses] },
      columns: nodeColumns,
    }),
    pods: db.table<PodRow, 'address' | 'namespace'>({
      name: 'pods',
      key: objectKey,
      indexes: { address: row => row.podIPs, namespace: row => [row.namespace] },
    }),
    namespaces: db.table<NamespaceRow, string>({ name: 'namespaces', key: row => row.name }),
    endpoints: db.table<EndpointRow, 'address' | 'container' | 'pod' | 'identity'>({
      name: 'endpoints',
      key: row => String(row.id),
      indexes: {
        address: row => row.addresses,
        container: row => [row.containerId],
        pod: row => (row.podName === '' ? [] : [`${row.podNamespace}/${row.podName}`]),
        identity: row => [String(row.identity)],
      },
    }),
    remoteEndpoints: db.table<RemoteEndpointRow, 'address' | 'identity'>({
      name: 'remoteEndpoints',
      key: objectKey,
      indexes: { address: row => row.addresses, identity: row => [String(row.identity)] },
    }),
    identities: db.table<IdentityRow, 'labels'>({
      name: 'identities',
      key: row => String(row.id),
      indexes: { labels: row => [labelsKey(row.labels)] },
      columns: { ID: row => String(row.id), Labels: labelsColumn },
    }),
    devices: db.table<DeviceRow, string>({ name: 'devices', key: row => row.name }),
  };
}

function serviceTables(db: Database) {
  return {
    services: db.table<ServiceRow, string>({ name: 'services', key: objectKey, columns: serviceColumns }),
    endpointSlices: db.table<EndpointSliceRow, 'service'>({
      name: 'endpointSlices',
      key: objectKey,
      indexes: { service: row => [`${row.namespace}/${row.service}`] },
    }),
    localRedirects: db.table<LocalRedirectRow, string>({ name: 'localRedirects', key: objectKey }),
    serviceHealth: db.table<ServiceHealthRow, string>({ name: 'serviceHealth', key: row => row.service }),
    backendHealth: db.table<BackendHealthRow, 'service'>({
      name: 'backendHealth',
      key: row => `${row.service} ${row.backend}`,
      indexes: { service: row => [row.service] },
    }),
    serviceConflicts: db.table<ServiceConflictRow, 'frontend'>({
      name: 'serviceConflicts',
      key: row => `${row.service} ${row.frontend}`,
      indexes: { frontend: row => [row.frontend] },
    }),
    frontends: db.table<FrontendRow, 'service' | 'backend' | 'owned'>({
      name: 'frontends',
      key: portKey,
      indexes: {
        service: row => [row.service],
        owned: row => (row.ownsAddress ? [row.address] : []),
        backend: row => [
          ...new Set(
            [row.backends, row.internalBackends, row.notRedirected, row.dsrBackends].flatMap(
              backends => backends?.map(({ address }) => address) ?? [],
            ),
          ),
        ],
      },
      columns: frontendColumns,
    }),
  };
}

function desiredTables(db: Database) {
  return {
    lbRows: db.table<LbRow, string>({ name: 'lbRows', key: row => row.key }),
    lbSkipRows: db.table<LbSkipRow, 'pod'>({
      name: 'lbSkipRows',
      key: row => `${row.pod} ${row.frontend} ${row.by}`,
      indexes: { pod: row => [row.pod] },
    }),
    ipcacheRows: db.table<IpcacheRow, string>({ name: 'ipcacheRows', key: row => row.prefix }),
    endpointMapRows: db.table<EndpointMapRow, string>({ name: 'endpointMapRows', key: row => row.address }),
    endpointDeviceRows: db.table<EndpointDeviceRow, string>({ name: 'endpointDeviceRows', key: row => row.device }),
    netdevRows: db.table<NetdevRow, string>({ name: 'netdevRows', key: row => row.device }),
    nodeMapRows: db.table<NodeMapRow, string>({ name: 'nodeMapRows', key: row => row.address }),
    routeRows: db.table<RouteRow, string>({ name: 'routeRows', key: row => row.prefix }),
  };
}
