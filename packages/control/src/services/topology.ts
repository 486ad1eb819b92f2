/** Backends close to this node (KEP-2433 topology hints, KEP-3015 trafficDistribution), as kube-proxy chooses them. */
import type { FrontendBackend, ServiceRow } from '@ciliate/model';
import type { FrontendContext } from './compile-frontends.ts';

const zoneLabel = 'topology.kubernetes.io/zone';

/**
 * Those that hints keep for this node or its zone. All, when the service does not ask for it, the node's zone is not known, an active
 * backend has no hint, or none is hinted at this zone: an endpoint too far is better than none. Where nobody writes hints for nodes
 * (Kubernetes before 1.34), the node that a backend is on is its hint.
 */
export function nearest(
  service: Pick<ServiceRow, 'trafficDistribution'>,
  backends: readonly FrontendBackend[],
  context: Pick<FrontendContext, 'nodeName' | 'nodeLabels'>,
): readonly FrontendBackend[] {
  if (service.trafficDistribution === '') return backends;
  const active = backends.filter(backend => backend.state === 'active');
  if (service.trafficDistribution === 'PreferSameNode') {
    const here = onNode(backends, active, context.nodeName);
    if (here.some(({ state }) => state === 'active')) return here;
  }
  const zone = context.nodeLabels[zoneLabel];
  if (zone === undefined || active.some(({ zoneHints }) => zoneHints === undefined)) return backends;
  const inZone = backends.filter(({ zoneHints }) => zoneHints?.includes(zone));
  return inZone.some(({ state }) => state === 'active') ? inZone : backends;
}

function onNode(
  backends: readonly FrontendBackend[],
  active: readonly FrontendBackend[],
  nodeName: string,
): readonly FrontendBackend[] {
  const hinted = active.filter(({ nodeHints }) => nodeHints !== undefined);
  if (hinted.length === 0) return backends.filter(backend => backend.nodeName === nodeName);
  return hinted.length < active.length ? [] : backends.filter(({ nodeHints }) => nodeHints?.includes(nodeName));
}
