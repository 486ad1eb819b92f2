import {
  type BackendState,
  type EndpointSliceRow,
  type FrontendBackend,
  isIPv4,
  type Protocol,
  portKey,
  type ServicePortRow,
  type SliceEndpoint,
} from '@ciliate/model';

/**
 * Backends of a service port out of all slices of the service, each address and port once. The readier come first, each part by
 * address. Where two slices have the same address (an endpoint moves from one to the other), the readier one says what it is, of two
 * alike the first by name: not the one that came first.
 */
export function compileBackends(
  slices: readonly EndpointSliceRow[],
  port: ServicePortRow,
  family: EndpointSliceRow['family'],
): readonly FrontendBackend[] {
  const found = new Map<string, FrontendBackend>();
  for (const slice of slices.toSorted((a, b) => compareTexts(a.name, b.name))) {
    const numbers = slice.ports.filter(it => it.name === port.name && it.protocol === port.protocol);
    for (const endpoint of slice.endpoints) {
      if (isIPv4(endpoint.address) !== (family === 'IPv4')) continue;
      for (const { port: number } of numbers) addBackend(found, endpoint, number, port.protocol);
    }
  }
  return [...found]
    .sort(([keyA, a], [keyB, b]) => order(a.state) - order(b.state) || compareTexts(keyA, keyB))
    .map(([, backend]) => backend);
}

function addBackend(
  found: Map<string, FrontendBackend>,
  endpoint: SliceEndpoint,
  port: number,
  protocol: Protocol,
): void {
  const state = stateOf(endpoint);
  const { address, nodeName, zone, zoneHints, nodeHints } = endpoint;
  const key = portKey({ address, port, protocol });
  const known = found.get(key);
  if (known !== undefined && order(known.state) <= order(state)) return;
  found.set(key, { address, port, protocol, state, nodeName, zone, zoneHints, nodeHints });
}

/** A terminating endpoint that says ready is one of publishNotReadyAddresses: it is active. */
export function stateOf({ ready, serving, terminating }: SliceEndpoint): BackendState {
  if (ready) return 'active';
  if (!terminating) return 'maintenance';
  return serving ? 'terminating' : 'terminating-not-serving';
}

/** The readiest first. */
export const backendStates: readonly BackendState[] = [
  'active',
  'terminating',
  'quarantined',
  'terminating-not-serving',
  'maintenance',
];

const order = (state: BackendState): number => backendStates.indexOf(state);

/** Who gets new flows: the active ones, else those that terminate but serve. */
export function takers<Backend extends { readonly state: BackendState }>(
  backends: readonly Backend[],
): readonly Backend[] {
  const active = backends.filter(({ state }) => state === 'active');
  return active.length > 0 ? active : backends.filter(({ state }) => state === 'terminating');
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
