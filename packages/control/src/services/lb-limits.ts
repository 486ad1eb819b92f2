/** What a set of frontends takes of the load balancer's maps. */
export interface LbUse {
  readonly services: number;
  readonly backends: number;
  readonly revnats: number;
  readonly sourceRanges: number;
  readonly answers: number;
}

export interface LbLimits {
  /** Entries of lb_services, lb_backends and lb_revnat. */
  readonly lbServicesMax: number;
  readonly lbBackendsMax: number;
  readonly lbRevnatMax: number;
  readonly lbSourceRangesMax: number;
}

/** Sizes of the maps in the kernel. A backend that keeps clients has a slot, so that lb_affinity_match need not be counted. */
export function lbMapSizes(limits: LbLimits): Readonly<Record<string, number>> {
  const { lbServicesMax, lbBackendsMax, lbRevnatMax, lbSourceRangesMax } = limits;
  return {
    lb_services: lbServicesMax,
    lb_backends: lbBackendsMax,
    lb_revnat: lbRevnatMax,
    lb_affinity_match: lbServicesMax,
    lb_source_ranges: lbSourceRangesMax,
    lb_dsr: lbServicesMax,
  };
}

/** Why a change to `after` is refused; undefined when it fits. */
export function refusal(after: LbUse, limits: LbLimits): string | undefined {
  const maps = [
    ['lb_services', after.services, limits.lbServicesMax],
    ['lb_backends', after.backends, limits.lbBackendsMax],
    ['lb_revnat', after.revnats, limits.lbRevnatMax],
    ['lb_source_ranges', after.sourceRanges, limits.lbSourceRangesMax],
    ['lb_dsr', after.answers, limits.lbServicesMax],
  ] as const;
  const full = maps.find(([, needed, max]) => needed > max);
  if (full === undefined) return undefined;
  const [map, needed, max] = full;
  return `${map} would need ${needed} entries and has ${max}: raise --bpf-lb-map-max`;
}
