/** Our rows in the columns of the data's tables. */
import { hasHealthPort, isExposedOn, isSurrogate, redirectName } from '@ciliate/control';
import {
  type Address,
  type FrontendRow,
  hostPort,
  isIPv4,
  isLoopback,
  objectKey,
  parseAddress,
  portKey,
  type ServiceRow,
  type Tables,
} from '@ciliate/model';
import type { Cells } from '../../script/text-table.ts';

export const nodeName = 'testnode';

/** The other program writes loopback, which only host ports can have, as the surrogate of its family. */
export function withoutLoopback(address: Address): Address {
  return isLoopback(address) ? parseAddress(isIPv4(address) ? '0.0.0.0' : '::') : address;
}

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
      Address: portKey({ ...row, address: withoutLoopback(row.address) }),
      Type: row.type,
      ServiceName: row.service,
      PortName: row.portName,
      Backends: row.backends.map(portKey).sort().join(', '),
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
    row.affinityTimeout > 0 ? `SessionAffinity=${goDuration(row.affinityTimeout)}` : '',
    row.algorithm === '' ? '' : `ExplicitLBAlgorithm=${row.algorithm}`,
    row.forwardingMode === '' ? '' : `ForwardingMode=${row.forwardingMode}`,
    row.healthCheckNodePort > 0 ? `HealthCheckNodePort=${row.healthCheckNodePort}` : '',
    row.loadBalancerClass === '' ? '' : `LoadBalancerClass=${row.loadBalancerClass}`,
    row.proxyPort === undefined ? '' : `ProxyRedirect=${row.proxyPort}`,
    row.sourceRanges.length === 0 ? '' : `SourceRanges=${row.sourceRanges.join(', ')}`,
    row.sourceRangesDeny ? 'SourceRangesPolicy=deny' : '',
    row.trafficDistribution === '' ? '' : `TrafficDistribution=${row.trafficDistribution}`,
  ];
  return flags.filter(flag => flag !== '').join(', ');
}

/** Seconds as Go writes them: 1h2m3s, 2m0s, 42s. */
function goDuration(seconds: number): string {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const front = hours > 0 ? `${hours}h${minutes}m` : minutes > 0 ? `${minutes}m` : '';
  return `${front}${seconds % 60}s`;
}

export function serviceCells(tables: Tables): readonly Cells[] {
  const labels = tables.nodes.get(nodeName)?.labels ?? {};
  const services = tables.services.all().filter(row => isExposedOn(row, labels));
  const own = services.map(row => ({
    Name: objectKey(row),
    Source: row.fromFile === true ? 'api' : 'k8s',
    PortNames: row.ports
      .map(port => (port.name === '' ? '' : `${port.name}=${port.port}`))
      .filter(text => text !== '')
      .sort()
      .join(', '),
    TrafficPolicy: policyText(row),
    Flags: serviceFlags(row),
  }));
  const health = services
    .filter(hasHealthPort)
    .map(row => ({ ...plain(`${objectKey(row)}:healthserver`, 'local'), TrafficPolicy: 'Local' }));
  const redirects = tables.localRedirects.all().map(row => plain(redirectName(row), 'k8s'));
  const hostPorts = tables.frontends.all().filter(row => row.type === 'HostPort');
  const flags = new Map(
    hostPorts.map(row => [row.service, isLoopback(row.address) ? 'LoopbackHostPort=true' : ''] as const),
  );
  const pods = [...flags].map(([name, Flags]) => ({ ...plain(name, 'k8s'), Flags }));
  return [...own, ...health, ...redirects, ...pods];
}

function plain(name: string, source: string): Cells {
  return { Name: name, Source: source, PortNames: '', TrafficPolicy: '', Flags: '' };
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
