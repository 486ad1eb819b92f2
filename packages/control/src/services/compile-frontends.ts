import {
  type Address,
  type EndpointSliceRow,
  type FrontendBackend,
  type FrontendRow,
  type FrontendType,
  isIPv4,
  type NodeRow,
  objectKey,
  type Protocol,
  parseAddress,
  portKey,
  type ServicePortRow,
  type ServiceRow,
  type SliceEndpoint,
  tryParseAddress,
} from '@ciliate/model';
import { type Claim, Claims } from '../claims.ts';
import { groupBy } from '../group-by.ts';

export interface FrontendContext {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Addresses of this node on which NodePorts answer, without the surrogates. */
  readonly nodePortAddresses: readonly Address[];
}

/** Stand for every address of the node: what a socket of the node itself looks up, and what `service list` shows. */
const surrogates: readonly Address[] = [parseAddress('0.0.0.0'), parseAddress('::')];

/** Who gets an address that several services want, the lowest first. */
const ranks: Readonly<Record<FrontendType, number>> = {
  ClusterIP: 0,
  LoadBalancer: 1,
  ExternalIPs: 2,
  NodePort: 3,
  HostPort: 4,
};

/** All frontends of all services. The incremental controller gives the same rows. */
export function compileFrontends(
  services: readonly ServiceRow[],
  slices: readonly EndpointSliceRow[],
  context: FrontendContext,
): readonly FrontendRow[] {
  const byService = groupBy(slices, slice => `${slice.namespace}/${slice.service}`);
  const claims = new Claims<FrontendRow>();
  for (const service of services) {
    const key = objectKey(service);
    claims.set(key, frontendClaims(compileService(service, byService.get(key) ?? [], context)));
  }
  return [...claims.dirty].map(key => claims.winner(key)).filter(row => row !== undefined);
}

export function frontendClaims(rows: readonly FrontendRow[]): readonly Claim<FrontendRow>[] {
  return rows.map(row => ({ key: portKey(row), rank: ranks[row.type], row }));
}

/** Where NodePorts answer on this node. */
export function nodePortAddressesOf(local: NodeRow | undefined): readonly Address[] {
  const ips = local?.addresses.filter(item => item.type === 'InternalIP' || item.type === 'ExternalIP') ?? [];
  return [...new Set(ips.map(item => tryParseAddress(item.address)).filter(address => address !== undefined))];
}

/** The frontends of one service; `slices` are its own. Headless and ExternalName services have none. */
export function compileService(
  service: ServiceRow,
  slices: readonly EndpointSliceRow[],
  context: FrontendContext,
): readonly FrontendRow[] {
  return service.ports.flatMap(port => {
    const backends = {
      IPv4: compileBackends(slices, port, 'IPv4'),
      IPv6: compileBackends(slices, port, 'IPv6'),
    };
    return addressesOf(service, port, context)
      .filter(({ address }) => (isIPv4(address) ? context.ipv4 : context.ipv6))
      .map(({ address, type }) => ({
        address,
        port: type === 'NodePort' ? port.nodePort : port.port,
        protocol: port.protocol,
        type,
        service: objectKey(service),
        portName: port.name,
        externalTrafficPolicy: service.externalTrafficPolicy,
        internalTrafficPolicy: service.internalTrafficPolicy,
        affinityTimeout: service.affinityTimeout,
        backends: backends[isIPv4(address) ? 'IPv4' : 'IPv6'],
      }));
  });
}

interface Dialled {
  readonly address: Address;
  readonly type: FrontendType;
}

function addressesOf(service: ServiceRow, port: ServicePortRow, context: FrontendContext): readonly Dialled[] {
  if (service.clusterIPs.length === 0) return [];
  const as = (type: FrontendType) => (address: Address) => ({ address, type });
  const hasNodePort = port.nodePort > 0 && (service.type === 'NodePort' || service.type === 'LoadBalancer');
  const families = new Set(service.clusterIPs.map(isIPv4));
  const nodeAddresses = hasNodePort ? [...context.nodePortAddresses, ...surrogates] : [];
  return [
    ...service.clusterIPs.map(as('ClusterIP')),
    ...service.loadBalancerIPs.map(as('LoadBalancer')),
    ...service.externalIPs.map(as('ExternalIPs')),
    ...nodeAddresses.filter(address => families.has(isIPv4(address))).map(as('NodePort')),
  ];
}

/**
 * Backends of a service port out of all slices of the service, each address and port once: the ready ones as active, those
 * that terminate but still serve as terminating. Active first, each part by address.
 */
export function compileBackends(
  slices: readonly EndpointSliceRow[],
  port: ServicePortRow,
  family: EndpointSliceRow['family'],
): readonly FrontendBackend[] {
  const found = new Map<string, FrontendBackend>();
  for (const slice of slices) {
    if (slice.family !== family) continue;
    const numbers = slice.ports.filter(it => it.name === port.name && it.protocol === port.protocol);
    for (const endpoint of slice.endpoints) {
      for (const { port: number } of numbers) addBackends(found, endpoint, number, port.protocol);
    }
  }
  return [...found]
    .sort(([keyA, a], [keyB, b]) => (a.state === b.state ? compareTexts(keyA, keyB) : compareTexts(a.state, b.state)))
    .map(([, backend]) => backend);
}

function addBackends(
  found: Map<string, FrontendBackend>,
  endpoint: SliceEndpoint,
  port: number,
  protocol: Protocol,
): void {
  const state = stateOf(endpoint);
  if (state === undefined) return;
  for (const address of endpoint.addresses) {
    const key = portKey({ address, port, protocol });
    if (found.get(key)?.state === 'active') continue;
    found.set(key, { address, port, protocol, state, nodeName: endpoint.nodeName, zone: endpoint.zone });
  }
}

/** Undefined: takes no flows. A terminating endpoint that says ready is one of publishNotReadyAddresses: it is active. */
function stateOf({ ready, serving, terminating }: SliceEndpoint): 'active' | 'terminating' | undefined {
  if (ready) return 'active';
  return serving && terminating ? 'terminating' : undefined;
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
