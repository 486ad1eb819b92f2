/** Why a service goes where it goes: its frontends as the datapath has them, and what each endpoint of its slices gets. */
import { type Forwarding, forwardingProblem, isExposedOn, takers } from '@ciliate/control';
import {
  type EndpointSliceRow,
  type FrontendRow,
  hostPort,
  isIPv4,
  objectKey,
  portKey,
  type ServicePortRow,
  type ServiceRow,
  type SliceEndpoint,
  type Tables,
} from '@ciliate/model';
import type { ServiceEndpointReport, ServiceExplanation, ServiceFrontendReport } from '@ciliate/protocol';

type ServiceTables = Pick<
  Tables,
  'services' | 'endpointSlices' | 'frontends' | 'lbRows' | 'serviceConflicts' | 'nodes'
>;

interface NodeSettings {
  readonly nodeName: string;
  readonly forwarding: Forwarding;
}

/** Undefined: there is no such service, or another proxy has it. `key`: namespace/name. */
export function explainService(
  key: string,
  tables: ServiceTables,
  about: NodeSettings,
): ServiceExplanation | undefined {
  const { nodeName, forwarding } = about;
  const service = tables.services.get(key);
  if (service === undefined) return undefined;
  const isExposed = isExposedOn(service, tables.nodes.get(nodeName)?.labels ?? {});
  const rows = tables.frontends.by('service', key);
  const slices = tables.endpointSlices.by('service', key);
  const frontends = rows.map(row => frontendReport(row, tables));
  const endpoints = slices.flatMap(slice => endpointReports(slice, service, rows, nodeName));
  return {
    namespace: service.namespace,
    name: service.name,
    type: service.type,
    settings: settingsOf(service, rows),
    frontends,
    endpoints: endpoints.toSorted((a, b) => (a.endpoint < b.endpoint ? -1 : 1)),
    problems: [
      ...(isExposed ? problemsOf(service, frontends, slices) : [notHere]),
      ...[forwardingProblem(service, forwarding)].filter(problem => problem !== undefined),
      ...tables.serviceConflicts
        .all()
        .filter(row => row.service === key)
        .map(({ message }) => message),
    ],
  };
}

const notHere = 'not on this node: service.cilium.io/node or node-selector names others';

function frontendReport(row: FrontendRow, tables: ServiceTables): ServiceFrontendReport {
  const key = portKey(row);
  const lb = tables.lbRows.get(key);
  const status = lb?.status;
  return {
    frontend: key,
    type: row.type,
    id: lb?.serviceId ?? 0,
    state: status?.kind ?? 'pending',
    error: status?.kind === 'error' ? status.error : '',
    outside: row.routable ? taking(row.backends).length : 0,
    inside: taking(row.internalBackends ?? row.backends).length,
    redirectedBy: row.redirectTo,
  };
}

/** Those that get new flows; quarantined ones when nobody else is there. */
function taking(backends: FrontendRow['backends']): FrontendRow['backends'] {
  const first = takers(backends);
  return first.length > 0 ? first : backends.filter(({ state }) => state === 'quarantined');
}

/** How outsiders' packets reach backends elsewhere; '' = by SNAT, as usual. */
function forwardingText({ forwardingMode }: ServiceRow, rows: readonly FrontendRow[]): string {
  const dialled = rows.filter(({ type }) => type !== 'ClusterIP');
  const protocols = new Set(dialled.filter(({ dsr }) => dsr).map(({ protocol }) => protocol));
  if (protocols.size === 0) return forwardingMode === 'snat' ? 'forwarding: snat' : '';
  return dialled.every(({ dsr }) => dsr) ? 'forwarding: dsr' : `forwarding: dsr for ${[...protocols].join(', ')}`;
}

function settingsOf(service: ServiceRow, rows: readonly FrontendRow[]): readonly string[] {
  const { externalTrafficPolicy, internalTrafficPolicy, affinityTimeout, sourceRanges, sourceRangesDeny } = service;
  return [
    externalTrafficPolicy === 'Local' ? 'externalTrafficPolicy: Local' : '',
    internalTrafficPolicy === 'Local' ? 'internalTrafficPolicy: Local' : '',
    affinityTimeout > 0 ? `sessionAffinity: ClientIP, ${affinityTimeout} s` : '',
    service.trafficDistribution === '' ? '' : `trafficDistribution: ${service.trafficDistribution}`,
    sourceRanges.length > 0 ? `sources ${sourceRangesDeny ? 'denied' : 'allowed'}: ${sourceRanges.join(', ')}` : '',
    service.algorithm === '' ? '' : `algorithm: ${service.algorithm}`,
    forwardingText(service, rows),
    service.exposedType === '' ? '' : `only as ${service.exposedType}`,
    service.healthCheck === undefined ? '' : `backends probed every ${service.healthCheck.interval} s`,
    service.proxyPort === undefined ? '' : `by the proxy on port ${service.proxyPort} of the node`,
    service.healthCheckNodePort > 0 ? `healthCheckNodePort: ${service.healthCheckNodePort}` : '',
  ].filter(text => text !== '');
}

function problemsOf(
  service: ServiceRow,
  frontends: readonly ServiceFrontendReport[],
  slices: readonly EndpointSliceRow[],
): readonly string[] {
  if (service.type === 'ExternalName') return ['ExternalName: a name in DNS, nothing is balanced'];
  if (service.headless) return ['headless: DNS gives the pods themselves, nothing is balanced'];
  const errors = [...new Set(frontends.map(({ error }) => error))].filter(error => error !== '');
  if (slices.every(({ endpoints }) => endpoints.length === 0)) {
    return [...errors, 'no EndpointSlice of the service has an endpoint: does its selector match the labels of a pod?'];
  }
  const idle = frontends.filter(({ inside, outside }) => inside + outside === 0);
  if (frontends.length === 0) return [...errors, 'no frontend: the service has no address of a family that is enabled'];
  if (idle.length === 0) return errors;
  return [...errors, `refused for want of a backend: ${idle.map(({ frontend }) => frontend).join(', ')}`];
}

function endpointReports(
  slice: EndpointSliceRow,
  service: ServiceRow,
  rows: readonly FrontendRow[],
  nodeName: string,
): readonly ServiceEndpointReport[] {
  const own = service.ports.flatMap(port =>
    slice.ports
      .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
      .map(({ port: number }) => ({ port, number })),
  );
  return slice.endpoints.flatMap(endpoint => {
    const about = { pod: endpoint.targetPod, node: endpoint.nodeName, zone: endpoint.zone, slice: slice.name };
    const unnamed = `the slice names no port '${service.ports.map(({ name }) => name).join("', '")}' of the service`;
    const { address } = endpoint;
    if (own.length === 0) {
      const none = { outside: false, inside: false, reasons: [unnamed] };
      return [{ endpoint: hostPort(address, 0), ...about, ...none }];
    }
    return own.map(({ port, number }) => {
      const backend = portKey({ address, port: number, protocol: port.protocol });
      return { endpoint: backend, ...about, ...usesOf(backend, endpoint, port, service, rows, nodeName) };
    });
  });
}

function usesOf(
  backend: string,
  endpoint: SliceEndpoint,
  port: ServicePortRow,
  service: ServiceRow,
  rows: readonly FrontendRow[],
  nodeName: string,
): Pick<ServiceEndpointReport, 'outside' | 'inside' | 'reasons'> {
  const isV4 = !backend.startsWith('[');
  const mine = rows.filter(
    row => row.portName === port.name && row.protocol === port.protocol && isIPv4(row.address) === isV4,
  );
  const has = (backends: FrontendRow['backends']) => taking(backends).some(one => portKey(one) === backend);
  const outer = mine.filter(({ routable }) => routable);
  const outside = outer.some(row => has(row.backends));
  const inside = mine.some(row => has(row.internalBackends ?? row.backends));
  if (inside && (outside || outer.length === 0)) return { outside, inside, reasons: [] };
  const proxied =
    service.proxyPort === undefined || port.protocol !== 'TCP' ? undefined : 'the proxy of the node gets its flows';
  const reason = proxied ?? reasonOf(endpoint, service, mine, isV4, nodeName) ?? checkedReason(backend, service, mine);
  return { outside, inside, reasons: [reason] };
}

/** The first thing that keeps it away. */
function reasonOf(
  endpoint: SliceEndpoint,
  service: ServiceRow,
  rows: readonly FrontendRow[],
  isV4: boolean,
  nodeName: string,
): string | undefined {
  const { ready, serving, terminating } = endpoint;
  if (rows.length === 0) return `the service has no ${isV4 ? 'IPv4' : 'IPv6'} frontend for it`;
  if (!ready && terminating && serving) return 'it terminates: new flows only when no other endpoint is ready';
  if (!ready) return terminating ? 'it terminates and serves no more' : 'it is not ready (readiness of its pod)';
  if (rows.every(({ redirectTo }) => redirectTo !== '')) return `taken over by ${rows[0]?.redirectTo}`;
  if (endpoint.nodeName !== nodeName) {
    const local = [
      service.internalTrafficPolicy === 'Local' ? 'pods (internalTrafficPolicy Local)' : '',
      service.externalTrafficPolicy === 'Local' ? 'outsiders (externalTrafficPolicy Local)' : '',
    ].filter(text => text !== '');
    if (local.length > 0)
      return `it is on ${endpoint.nodeName || 'another node'}, and not for ${local.join(' and ')} here`;
  }
  if (service.trafficDistribution !== '')
    return `others are nearer (trafficDistribution ${service.trafficDistribution})`;
  return undefined;
}

/** What is left when nothing that the service says keeps it away. */
function checkedReason(backend: string, service: ServiceRow, rows: readonly FrontendRow[]): string {
  if (service.healthCheck !== undefined) {
    const all = rows.flatMap(row => [...row.backends, ...(row.internalBackends ?? [])]);
    const isQuarantined = all.some(one => one.state === 'quarantined' && portKey(one) === backend);
    return isQuarantined ? 'it does not answer to health checks (quarantined)' : 'no health check has reached it yet';
  }
  return 'another endpoint has its address and port, or the datapath has not followed yet';
}

/** 'name' or 'namespace/name' → keys of the services that are meant. */
export function servicesNamed(name: string, tables: Pick<Tables, 'services'>): readonly string[] {
  if (name.includes('/')) return tables.services.get(name) === undefined ? [] : [name];
  const all = tables.services.all().filter(row => row.name === name);
  return all.map(objectKey);
}
