/** CiliumLocalRedirectPolicy: pods of this node instead of a service's backends, or behind an address of their own. */
import {
  type Address,
  type EndpointSliceRow,
  type FrontendBackend,
  type FrontendRow,
  isIPv4,
  type LocalRedirectRow,
  matchesSelector,
  objectKey,
  type PodRow,
  type Protocol,
  portKey,
  type RedirectPort,
  type ServicePortRow,
} from '@ciliate/model';
import type { FrontendContext } from './compile-frontends.ts';

/** What a redirect puts behind a port of a service; empty: no pod of it is there, and the service stays as it is. */
export interface Redirect {
  /** 'namespace/name:local-redirect', as `service list` names it. */
  readonly name: string;
  /** Its own pods get the service's backends. */
  readonly skipsOwnPods: boolean;
  backends(port: ServicePortRow, family: EndpointSliceRow['family']): readonly FrontendBackend[];
}

export const redirectName = (row: LocalRedirectRow): string => `${objectKey(row)}:local-redirect`;

/** Ready pods of this node that the policy selects. */
export function redirectPods(row: LocalRedirectRow, pods: readonly PodRow[], nodeName: string): readonly PodRow[] {
  return selectedPods(row, pods, nodeName).filter(pod => pod.ready);
}

/** Pods of this node that the policy selects, ready or not. */
export function selectedPods(row: LocalRedirectRow, pods: readonly PodRow[], nodeName: string): readonly PodRow[] {
  return pods.filter(
    pod =>
      pod.namespace === row.namespace &&
      (pod.nodeName === nodeName || pod.nodeName === '') &&
      matchesSelector(row.pods, pod.labels),
  );
}

export function serviceRedirect(row: LocalRedirectRow, pods: readonly PodRow[], nodeName: string): Redirect {
  const chosen = redirectPods(row, pods, nodeName);
  return {
    name: redirectName(row),
    skipsOwnPods: row.skipFromBackend,
    backends: (port, family) => {
      const target = targetPort(row, { ...port, name: port.name.toLowerCase() });
      if (target === undefined) return [];
      return backendsOf(chosen, target.port, port.protocol, family === 'IPv4', nodeName);
    },
  };
}

/** Whether the redirect is about a port of its frontend; naming none it is about all. */
export function redirectsPort(
  { frontend: { ports } }: LocalRedirectRow,
  { port, protocol }: Pick<RedirectPort, 'port' | 'protocol'>,
): boolean {
  return ports.length === 0 || ports.some(one => one.port === port && one.protocol === protocol);
}

/** Ports go together by name; the only port of either side needs none. */
function targetPort(row: LocalRedirectRow, port: RedirectPort): RedirectPort | undefined {
  if (!redirectsPort(row, port)) return undefined;
  const wanted = row.frontend.ports;
  const same = row.backendPorts.filter(target => target.protocol === port.protocol);
  const only = row.backendPorts.length === 1 && wanted.length === 1;
  return same.find(target => target.name === port.name && target.name !== '') ?? (only ? same[0] : unnamed(same));
}

function unnamed(ports: readonly RedirectPort[]): RedirectPort | undefined {
  return ports.length === 1 && ports[0]?.name === '' ? ports[0] : undefined;
}

/** Frontends of an address that a policy names. */
export function addressRedirect(
  row: LocalRedirectRow,
  pods: readonly PodRow[],
  context: FrontendContext,
): readonly FrontendRow[] {
  const { frontend } = row;
  if (frontend.kind !== 'address') return [];
  const { address } = frontend;
  if (!(isIPv4(address) ? context.ipv4 : context.ipv6)) return [];
  const chosen = redirectPods(row, pods, context.nodeName);
  return frontend.ports.flatMap(port => {
    const target = row.backendPorts.length === 1 ? row.backendPorts[0] : targetPort(row, port);
    if (target === undefined) return [];
    const backends = backendsOf(chosen, target.port, port.protocol, isIPv4(address), context.nodeName);
    return backends.length === 0 ? [] : [redirectFrontend(row, address, port, backends)];
  });
}

function redirectFrontend(
  row: LocalRedirectRow,
  address: Address,
  port: RedirectPort,
  backends: readonly FrontendBackend[],
): FrontendRow {
  return {
    address,
    port: port.port,
    protocol: port.protocol,
    type: 'LocalRedirect',
    service: redirectName(row),
    portName: port.name,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    affinityTimeout: 0,
    backends,
    internalBackends: undefined,
    routable: true,
    ownsAddress: false,
    sourceRanges: [],
    sourceRangesDeny: false,
    maglev: false,
    dsr: false,
    redirectTo: '',
  };
}

function backendsOf(
  pods: readonly PodRow[],
  port: number,
  protocol: Protocol,
  ipv4: boolean,
  nodeName: string,
): readonly FrontendBackend[] {
  const rows = pods.flatMap(pod =>
    pod.podIPs
      .filter(address => isIPv4(address) === ipv4)
      .map(address => ({ address, port, protocol, state: 'active', nodeName, ...nowhere, redirected: true }) as const),
  );
  return rows.toSorted((a, b) => (portKey(a) < portKey(b) ? -1 : 1));
}

const nowhere = { zone: '', zoneHints: undefined, nodeHints: undefined };
