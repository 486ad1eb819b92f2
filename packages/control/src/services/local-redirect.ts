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
  portKey,
  type RedirectPort,
  type ServicePortRow,
} from '@ciliate/model';
import type { FrontendContext } from './compile-frontends.ts';

/** What a redirect puts behind a port of a service; empty: no pod of it is there, and the service stays as it is. */
export interface Redirect {
  /** namespace/name */
  readonly key: string;
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
    key: objectKey(row),
    name: redirectName(row),
    skipsOwnPods: row.skipFromBackend,
    backends: (port, family) => {
      const target = targetPort(row, { ...port, name: port.name.toLowerCase() });
      return target === undefined ? [] : backendsOf(row, chosen, target, family === 'IPv4', nodeName);
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

/** Several ports on a side, or all of a service's: they go together by name. */
function needsNames({ frontend: { ports }, backendPorts }: LocalRedirectRow): boolean {
  return ports.length > 1 || (ports.length === 0 && backendPorts.length > 1);
}

/** Which port of the pods a port of the frontend goes to. */
function targetPort(row: LocalRedirectRow, port: RedirectPort): RedirectPort | undefined {
  if (!redirectsPort(row, port)) return undefined;
  const wanted = row.frontend.ports.find(one => one.port === port.port && one.protocol === port.protocol);
  const same = row.backendPorts.filter(target => target.protocol === port.protocol);
  const named = (name: string) => same.find(target => target.name !== '' && target.name === name);
  const byName = named(port.name) ?? named(wanted?.name ?? '');
  return needsNames(row) ? byName : (byName ?? same[0]);
}

export interface RedirectBackend {
  readonly pod: PodRow;
  readonly address: Pick<FrontendBackend, 'address' | 'port' | 'protocol'>;
  /** What the pod calls the port; '' = nothing. */
  readonly name: string;
}

/** What the policy may send flows to. Where ports go by name, a pod has to have the port under that name. */
export function redirectBackends(row: LocalRedirectRow, pods: readonly PodRow[]): readonly RedirectBackend[] {
  const wantsNames = needsNames(row);
  return pods.flatMap(pod =>
    row.backendPorts.flatMap(({ name, port, protocol }) => {
      const declared = Object.entries(pod.namedPorts).filter(([, it]) => it.port === port && it.protocol === protocol);
      if (wantsNames && !declared.some(([own]) => own.toLowerCase() === name)) return [];
      return pod.podIPs.map(address => ({ pod, address: { address, port, protocol }, name: declared[0]?.[0] ?? '' }));
    }),
  );
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
    const target = targetPort(row, port);
    if (target === undefined) return [];
    const backends = backendsOf(row, chosen, target, isIPv4(address), context.nodeName);
    return backends.length === 0 ? [] : [redirectFrontend(row, address, port, backends)];
  });
}

/** What a redirect wants of a service that another redirect has: `rows` are the service's frontends. */
export function lostFrontends(
  redirect: Redirect,
  rows: readonly FrontendRow[],
  ports: readonly ServicePortRow[] = [],
): readonly FrontendRow[] {
  const wants = ({ portName, address }: FrontendRow): boolean => {
    const port = ports.find(({ name }) => name === portName);
    return port !== undefined && redirect.backends(port, isIPv4(address) ? 'IPv4' : 'IPv6').length > 0;
  };
  return rows
    .filter(row => row.redirectTo !== '' && row.redirectTo !== redirect.name && wants(row))
    .map(row => ({ ...row, service: redirect.name, type: 'LocalRedirect', redirectTo: '' }));
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
    // A single port goes to its backend whatever it is called.
    portName: row.frontend.ports.length > 1 ? port.name : '',
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
    delegatesToProxy: false,
    redirectTo: '',
  };
}

function backendsOf(
  row: LocalRedirectRow,
  pods: readonly PodRow[],
  target: RedirectPort,
  ipv4: boolean,
  nodeName: string,
): readonly FrontendBackend[] {
  const found = redirectBackends(row, pods)
    .map(({ address }) => address)
    .filter(({ address, port, protocol }) => {
      return isIPv4(address) === ipv4 && port === target.port && protocol === target.protocol;
    })
    .map(address => ({ ...address, state: 'active', nodeName, ...nowhere, redirected: true }) as const);
  // A pod's successor may have its address already while the pod's object is still there; two names may be of one port.
  const rows = new Map(found.map(backend => [portKey(backend), backend]));
  return [...rows].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, backend]) => backend);
}

const nowhere = { zone: '', zoneHints: undefined, nodeHints: undefined };
