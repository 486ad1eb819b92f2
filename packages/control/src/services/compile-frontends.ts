/** Services, with their slices, into frontends: what the Service API says, and nothing of maps. */
import {
  type Address,
  type EndpointSliceRow,
  type FrontendBackend,
  type FrontendRow,
  type FrontendType,
  isIPv4,
  type Labels,
  matchesSelector,
  type NodeRow,
  objectKey,
  type Prefix,
  parseAddress,
  portKey,
  prefixContains,
  type ServicePortRow,
  type ServiceRow,
  tryParseAddress,
} from '@ciliate/model';
import { type Claim, Claims } from '../claims.ts';
import { groupBy } from '../group-by.ts';
import { afterHealthChecks, type BackendHealth } from './backend-health.ts';
import { compileBackends } from './compile-backends.ts';
import { type Forwarding, usesDsr } from './forwarding.ts';
import type { Redirect } from './local-redirect.ts';
import { proxyBackends } from './node-proxy.ts';
import { nearest } from './topology.ts';

export interface FrontendContext {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly nodeName: string;
  readonly nodeLabels: Labels;
  /** Addresses of this node on which NodePorts answer, without the surrogates. */
  readonly nodePortAddresses: readonly Address[];
  /** Every address of this node. */
  readonly nodeAddresses: readonly Address[];
  /** How backends are chosen for addresses that outsiders dial, unless a service says otherwise. */
  readonly algorithm: 'random' | 'maglev';
  readonly forwarding: Forwarding;
  /** ClusterIPs answer outsiders too. */
  readonly externalClusterIP: boolean;
  /** loadBalancerSourceRanges keep outsiders from every address of the service, not from those of its load balancer alone. */
  readonly sourceRangesForAll: boolean;
}

/** Stand for every address of the node: what a socket of the node itself looks up, and what `service list` shows. */
export const surrogates: readonly Address[] = [parseAddress('0.0.0.0'), parseAddress('::')];

export function isSurrogate(address: Address): boolean {
  return surrogates.includes(address);
}

/** Who gets an address that several services want, the lowest first. */
const ranks: Readonly<Record<FrontendType, number>> = {
  ClusterIP: 0,
  // The API server has given the port to one service alone: who writes a node's address into another takes nothing from it.
  NodePort: 1,
  LoadBalancer: 2,
  ExternalIPs: 3,
  HostPort: 4,
  LocalRedirect: 5,
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
    claims.set(key, frontendClaims(compileService(service, byService.get(key) ?? [], context), service.created));
  }
  return [...claims.dirty].map(key => claims.winner(key)).filter(row => row !== undefined);
}

/** Of two owners of one kind the older one has the address: `created` in ms since 1970. */
export function frontendClaims(rows: readonly FrontendRow[], created: number): readonly Claim<FrontendRow>[] {
  return rows.map(row => ({ key: portKey(row), rank: ranks[row.type] + created / 1e15, row }));
}

/** Where NodePorts answer on this node: its addresses, or those of them that are in `cidrs`. */
export function nodePortAddressesOf(local: NodeRow | undefined, cidrs: readonly Prefix[] = []): readonly Address[] {
  const ips = local?.addresses.filter(item => item.type === 'InternalIP' || item.type === 'ExternalIP') ?? [];
  const addresses = new Set(ips.map(item => tryParseAddress(item.address)).filter(address => address !== undefined));
  if (cidrs.length === 0) return [...addresses];
  return [...addresses].filter(address => cidrs.some(cidr => prefixContains(cidr, address)));
}

/** The frontends of one service; `slices` are its own. Headless and ExternalName services have none, nor have those kept from this node. */
export function compileService(
  service: ServiceRow,
  slices: readonly EndpointSliceRow[],
  context: FrontendContext,
  redirects: readonly Redirect[] = [],
  health?: BackendHealth,
): readonly FrontendRow[] {
  if (service.headless || !isExposedOn(service, context.nodeLabels)) return [];
  const frontends = service.ports.flatMap(port => {
    const backendsOf = (family: EndpointSliceRow['family']) =>
      proxyBackends(service, port, family, context) ??
      afterHealthChecks(service, compileBackends(slices, port, family), health);
    const all = { IPv4: backendsOf('IPv4'), IPv6: backendsOf('IPv6') };
    return addressesOf(service, port, context)
      .filter(({ address }) => (isIPv4(address) ? context.ipv4 : context.ipv6))
      .map(dialled => {
        const family = isIPv4(dialled.address) ? 'IPv4' : 'IPv6';
        const own = () => ownFrontend(service, port, dialled, all[family], context);
        const redirect = dialled.type === 'ClusterIP' ? redirectFor(redirects, port, family) : undefined;
        if (redirect === undefined) return own();
        return {
          ...frontendOf(service, port, dialled, redirect.backends(port, family), context),
          redirectTo: redirect.name,
          ...(redirect.skipsOwnPods ? { notRedirected: own().backends } : {}),
        };
      });
  });
  return [...frontends, ...healthFrontends(service, context)];
}

/** The first that has pods here for the port. */
function redirectFor(
  redirects: readonly Redirect[],
  port: ServicePortRow,
  family: EndpointSliceRow['family'],
): Redirect | undefined {
  return redirects.find(redirect => redirect.backends(port, family).length > 0);
}

/** By the service's own backends: of `all`, those that are near. */
function ownFrontend(
  service: ServiceRow,
  port: ServicePortRow,
  dialled: Dialled,
  all: readonly FrontendBackend[],
  context: FrontendContext,
): FrontendRow {
  const near = nearest(service, all, context);
  const row = frontendOf(service, port, dialled, near, context);
  return row.dsr && near !== all ? { ...row, dsrBackends: all } : row;
}

interface Dialled {
  readonly address: Address;
  readonly type: FrontendType;
}

function frontendOf(
  service: ServiceRow,
  port: ServicePortRow,
  { address, type }: Dialled,
  backends: readonly FrontendBackend[],
  context: FrontendContext,
): FrontendRow {
  const here = (list: readonly FrontendBackend[]) => list.filter(backend => isHere(service, backend, context));
  const [external, internal] = [service.externalTrafficPolicy === 'Local', service.internalTrafficPolicy === 'Local'];
  const isRedirected = backends.some(backend => backend.redirected === true);
  const forInsiders = isRedirected || !internal ? backends : here(backends);
  const forOutsiders = isRedirected || !external ? backends : here(backends);
  const isInner = type === 'ClusterIP';
  const routable = (!isInner || context.externalClusterIP) && !isSurrogate(address);
  const usesSlots = !isInner && external !== internal && !isRedirected;
  return {
    address,
    port: type === 'NodePort' ? port.nodePort : port.port,
    protocol: port.protocol,
    type,
    service: objectKey(service),
    portName: port.name,
    externalTrafficPolicy: service.externalTrafficPolicy,
    internalTrafficPolicy: service.internalTrafficPolicy,
    affinityTimeout: service.affinityTimeout,
    backends: isInner ? forInsiders : forOutsiders,
    internalBackends: usesSlots ? forInsiders : undefined,
    routable,
    ownsAddress: ownsAddress(type) && knownClasses.includes(service.loadBalancerClass),
    sourceRanges: hasRanges(type, context)
      ? service.sourceRanges.filter(range => isIPv4(range) === isIPv4(address))
      : none,
    sourceRangesDeny: service.sourceRangesDeny,
    maglev: usesMaglev(service, routable, address, context),
    dsr: usesDsr(service, port, context.forwarding),
    delegatesToProxy: service.delegatesToProxy && !isRedirected,
    redirectTo: '',
  };
}

const none: readonly never[] = [];

/** A proxy of a node is listed by the node's address, by whoever has made the slice, and maybe without the node's name. */
function isHere(service: ServiceRow, { nodeName, address }: FrontendBackend, context: FrontendContext): boolean {
  return nodeName === context.nodeName || (service.delegatesToProxy && context.nodeAddresses.includes(address));
}

/** Of another class an address may be a node's own: that one has other ports to serve. */
const knownClasses: readonly string[] = ['', 'io.cilium/bgp-control-plane', 'io.cilium/l2-announcer'];

/** Those of nodes and of local redirects have other uses too, and external IPs are whatever their administrator has made them. */
function ownsAddress(type: FrontendType): boolean {
  return type === 'ClusterIP' || type === 'LoadBalancer';
}

function usesMaglev(service: ServiceRow, routable: boolean, address: Address, context: FrontendContext): boolean {
  if (service.algorithm !== '') return service.algorithm === 'maglev' && !isSurrogate(address);
  return context.algorithm === 'maglev' && routable;
}

/** External IPs too: else who is kept out would come in by them. */
function hasRanges(type: FrontendType, { sourceRangesForAll }: FrontendContext): boolean {
  return sourceRangesForAll || type === 'LoadBalancer' || type === 'ExternalIPs';
}

function addressesOf(service: ServiceRow, port: ServicePortRow, context: FrontendContext): readonly Dialled[] {
  // A service without selector and ClusterIP that a file brings has its load balancer's addresses alone.
  const hasAddress = service.clusterIPs.length > 0 || service.loadBalancerIPs.length > 0;
  if (!hasAddress || service.type === 'ExternalName') return [];
  const wants = (type: FrontendType) => service.exposedType === '' || service.exposedType === type;
  const as = (type: FrontendType) => (address: Address) => ({ address, type });
  const hasNodePort = port.nodePort > 0 && (service.type === 'NodePort' || service.type === 'LoadBalancer');
  const families = new Set(service.clusterIPs.map(isIPv4));
  const nodeAddresses = hasNodePort ? [...context.nodePortAddresses, ...surrogates] : [];
  return [
    ...(wants('ClusterIP') ? service.clusterIPs : []).map(as('ClusterIP')),
    ...(wants('LoadBalancer') ? service.loadBalancerIPs : []).map(as('LoadBalancer')),
    ...(service.exposedType === '' ? service.externalIPs : []).map(as('ExternalIPs')),
    ...(wants('NodePort') ? nodeAddresses : []).filter(address => families.has(isIPv4(address))).map(as('NodePort')),
  ];
}

/** service.cilium.io/node and node-selector: on other nodes there is no such service, for pods either. */
export function isExposedOn({ exposedNodes }: Pick<ServiceRow, 'exposedNodes'>, nodeLabels: Labels): boolean {
  return exposedNodes === undefined || matchesSelector(exposedNodes, nodeLabels);
}

/** Whether others may ask this node for the health of the service. */
export function hasHealthPort(service: ServiceRow): boolean {
  return (
    service.healthCheckNodePort > 0 && service.type === 'LoadBalancer' && service.externalTrafficPolicy === 'Local'
  );
}

/** Load balancers that ask for health at the address that they balance reach this node's health server. */
function healthFrontends(service: ServiceRow, context: FrontendContext): readonly FrontendRow[] {
  if (!hasHealthPort(service)) return [];
  const port: ServicePortRow = { name: '', port: service.healthCheckNodePort, protocol: 'TCP', nodePort: 0 };
  return service.loadBalancerIPs.flatMap(address => {
    const node = context.nodePortAddresses.find(one => isIPv4(one) === isIPv4(address));
    if (node === undefined || !(isIPv4(address) ? context.ipv4 : context.ipv6)) return [];
    const own = { nodeName: context.nodeName, zone: '', zoneHints: undefined, nodeHints: undefined };
    const backend = { address: node, port: port.port, protocol: port.protocol, state: 'active', ...own } as const;
    const row = frontendOf(service, port, { address, type: 'LoadBalancer' }, [backend], context);
    return [{ ...row, service: `${objectKey(service)}:healthserver`, sourceRanges: [], maglev: false }];
  });
}
