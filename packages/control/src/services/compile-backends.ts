import {
  type EndpointSliceRow,
  type FrontendBackend,
  type Protocol,
  portKey,
  type ServicePortRow,
  type SliceEndpoint,
} from '@ciliate/model';

/**
 * Backends of a service port out of all slices of the service, each address and port once: the ready ones as active, those
 * that terminate but still serve as terminating. Active first, each part by address. Where two slices have the same address
 * (an endpoint moves from one to the other), the first by name says what it is: not the one that came first.
 */
export function compileBackends(
  slices: readonly EndpointSliceRow[],
  port: ServicePortRow,
  family: EndpointSliceRow['family'],
): readonly FrontendBackend[] {
  const found = new Map<string, FrontendBackend>();
  for (const slice of slices.toSorted((a, b) => compareTexts(a.name, b.name))) {
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
  const { nodeName, zone, zoneHints, nodeHints } = endpoint;
  for (const address of endpoint.addresses) {
    const key = portKey({ address, port, protocol });
    if (found.get(key)?.state === 'active') continue;
    found.set(key, { address, port, protocol, state, nodeName, zone, zoneHints, nodeHints });
  }
}

/** Undefined: takes no flows. A terminating endpoint that says ready is one of publishNotReadyAddresses: it is active. */
export function stateOf({ ready, serving, terminating }: SliceEndpoint): 'active' | 'terminating' | undefined {
  if (ready) return 'active';
  return serving && terminating ? 'terminating' : undefined;
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
