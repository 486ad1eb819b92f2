/** toServices: whom the services stand for that a reference names. */
import {
  type Address,
  hostPrefix,
  type Labels,
  matchesTerms,
  minClusterIdentity,
  type Peer,
  type PolicyRow,
  type Prefix,
  peersOf,
  type ServiceReference,
  type ServiceRow,
  type ServiceTargetsRow,
  securityLabelKeys,
  term,
} from '@ciliate/model';

export type ServicePeer = Extract<Peer, { kind: 'service' }>;
export type ServiceTargets = Omit<ServiceTargetsRow, 'key'>;

export const noTargets: ServiceTargets = { selectors: [], ids: [], prefixes: [] };

export const servicePeersOf = (policy: PolicyRow): readonly ServicePeer[] =>
  peersOf(policy).filter(peer => peer.kind === 'service');

export type NamedService = Pick<ServiceRow, 'namespace' | 'name' | 'labels' | 'selector'>;

export function namesService({ namespace, name, terms }: ServiceReference, service: NamedService): boolean {
  if (namespace !== '' && service.namespace !== namespace) return false;
  return terms === undefined ? service.name === name : matchesTerms(terms, withSource(service.labels));
}

/**
 * A service with a selector stands for the pods that it selects; one without for the addresses of its endpoints, pods among them by their
 * identities. `identityOf`: of an address that a pod has.
 */
export function targetsOf(
  services: Iterable<NamedService>,
  addressesOf: (service: NamedService) => Iterable<Address>,
  identityOf: (address: Address) => number | undefined,
): ServiceTargets {
  const selectors: ServiceTargets['selectors'][number][] = [];
  const ids = new Set<number>();
  const prefixes = new Set<Prefix>();
  for (const service of services) {
    const selector = Object.entries(service.selector);
    if (selector.length > 0) {
      const own = selector.map(([key, value]) => term(`k8s:${key}`, 'In', [value]));
      selectors.push([term(securityLabelKeys.namespace, 'In', [service.namespace]), ...own]);
      continue;
    }
    for (const address of addressesOf(service)) {
      const id = identityOf(address);
      if (id === undefined) prefixes.add(hostPrefix(address));
      // Who has no identity of his own yet is nobody in particular: his number is that of all who have none.
      else if (id >= minClusterIdentity) ids.add(id);
    }
  }
  return { selectors, ids: [...ids].toSorted((a, b) => a - b), prefixes: [...prefixes].toSorted() };
}

const withSource = (labels: Labels): Labels =>
  Object.fromEntries(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value]));
