/** Our rows in the columns of the data's tables. */
import {
  backendsOf as allBackends,
  hasHealthPort,
  isSurrogate,
  redirectName,
  redirectPods,
  stateOf,
} from '@ciliate/control';
import {
  type FrontendRow,
  hostPort,
  type LocalRedirectRow,
  objectKey,
  portKey,
  type ServiceRow,
  type Tables,
} from '@ciliate/model';
import type { Cells } from '../../script/text-table.ts';

export const nodeName = 'testnode';

/** NodePorts and host ports are listed by their surrogate alone. */
function isListed(row: FrontendRow, nodeAddresses: readonly string[]): boolean {
  const isNodes = row.type === 'NodePort' || row.type === 'HostPort';
  return !isNodes || isSurrogate(row.address) || !nodeAddresses.includes(row.address);
}

export function frontendCells(tables: Tables, nodeAddresses: readonly string[]): readonly Cells[] {
  return tables.frontends
    .all()
    .filter(row => isListed(row, nodeAddresses))
    .map(row => ({
      Address: portKey(row),
      Type: row.type,
      ServiceName: row.service,
      PortName: row.type === 'LocalRedirect' ? '' : row.portName,
      Backends: allBackends({ ...row, internalBackends: undefined })
        .map(portKey)
        .sort()
        .join(', '),
      RedirectTo: row.redirectTo,
      Status: tables.lbRows.get(portKey(row))?.status.kind === 'done' ? 'Done' : 'Error',
      Error: '',
    }));
}

function policyText({ externalTrafficPolicy: ext, internalTrafficPolicy: int }: ServiceRow): string {
  return ext === int ? ext : `Ext=${ext}, Int=${int}`;
}

function serviceFlags(row: ServiceRow): string {
  const flags = [
    row.affinityTimeout > 0 ? `SessionAffinity=${row.affinityTimeout}s` : '',
    row.algorithm === '' ? '' : `ExplicitLBAlgorithm=${row.algorithm}`,
    row.forwardingMode === '' ? '' : `ForwardingMode=${row.forwardingMode}`,
    row.healthCheckNodePort > 0 ? `HealthCheckNodePort=${row.healthCheckNodePort}` : '',
    row.loadBalancerClass === '' ? '' : `LoadBalancerClass=${row.loadBalancerClass}`,
    row.sourceRanges.length === 0 ? '' : `SourceRanges=${row.sourceRanges.join(', ')}`,
    row.sourceRangesDeny ? 'SourceRangesPolicy=deny' : '',
    row.trafficDistribution === '' ? '' : 'TrafficDistribution=PreferClose',
  ];
  return flags.filter(flag => flag !== '').join(', ');
}

export function serviceCells(tables: Tables): readonly Cells[] {
  const own = tables.services.all().map(row => ({
    Name: objectKey(row),
    Source: 'k8s',
    PortNames: row.ports
      .map(port => (port.name === '' ? '' : `${port.name}=${port.port}`))
      .filter(text => text !== '')
      .sort()
      .join(', '),
    TrafficPolicy: policyText(row),
    Flags: serviceFlags(row),
  }));
  const health = tables.services
    .all()
    .filter(hasHealthPort)
    .map(row => ({ ...plain(`${objectKey(row)}:healthserver`, 'local'), TrafficPolicy: 'Local' }));
  const redirects = tables.localRedirects.all().map(row => plain(redirectName(row), 'k8s'));
  const hostPorts = tables.frontends.all().filter(row => row.type === 'HostPort');
  const names = new Set(hostPorts.map(row => row.service));
  return [...own, ...health, ...redirects, ...[...names].map(name => plain(name, 'k8s'))];
}

function plain(name: string, source: string): Cells {
  return { Name: name, Source: source, PortNames: '', TrafficPolicy: '', Flags: '' };
}

/** Everything that could serve, whether a service asks for it or not. */
export function backendCells(tables: Tables): readonly Cells[] {
  const found = new Map<string, { readonly node: string; readonly users: Set<string> }>();
  const add = (address: string, node: string, user: string): void => {
    const known = found.get(address) ?? { node, users: new Set<string>() };
    known.users.add(user);
    found.set(address, known);
  };
  for (const slice of tables.endpointSlices.all()) {
    for (const endpoint of slice.endpoints.filter(one => stateOf(one) !== undefined)) {
      for (const address of endpoint.addresses) {
        for (const { port, protocol, name } of slice.ports) {
          const user = `${slice.namespace}/${slice.service}${name === '' ? '' : ` (${name})`}`;
          add(portKey({ address, port, protocol }), endpoint.nodeName, user);
        }
      }
    }
  }
  for (const row of tables.localRedirects.all()) addRedirect(row, tables, add);
  for (const row of tables.frontends.all()) {
    if (row.type !== 'HostPort' && !row.service.endsWith(':healthserver')) continue;
    for (const backend of row.backends) add(portKey(backend), '', row.service);
  }
  return [...found].map(([address, { node, users }]) => ({
    Address: address,
    Instances: [...users].sort().join(', '),
    Shadows: '',
    NodeName: node,
  }));
}

function addRedirect(
  row: LocalRedirectRow,
  tables: Tables,
  add: (address: string, node: string, user: string) => void,
): void {
  for (const pod of redirectPods(row, tables.pods.all(), nodeName)) {
    for (const { port, protocol, name } of row.backendPorts) {
      const named = Object.entries(pod.namedPorts).find(([, it]) => it.port === port && it.protocol === protocol);
      const label = name === '' ? (named?.[0] ?? '') : name;
      for (const address of pod.podIPs) {
        add(portKey({ address, port, protocol }), '', `${redirectName(row)}${label === '' ? '' : ` (${label})`}`);
      }
    }
  }
}

export function redirectCells(tables: Tables): readonly Cells[] {
  return tables.localRedirects.all().map(row => {
    const { frontend } = row;
    const single = frontend.ports.length === 1;
    const types =
      frontend.kind === 'service'
        ? frontend.ports.length === 0
          ? 'all'
          : single
            ? 'svc-single-port'
            : 'svc-named-ports'
        : single
          ? 'addr-single-port'
          : 'addr-named-ports';
    const addresses =
      frontend.kind === 'address'
        ? frontend.ports.map(port => `${hostPort(frontend.address, port.port)}/${port.protocol}`)
        : [];
    return {
      Name: objectKey(row),
      Type: frontend.kind,
      FrontendType: types,
      Frontends: addresses.join(', '),
    };
  });
}
