import { matchesTerms, type Peer, type Tables } from '@ciliate/model';

type ServiceTables = Pick<Tables, 'services' | 'endpointSlices' | 'endpoints' | 'remoteEndpoints'>;

/** toServices: the identities of the endpoints that serve. */
export function serviceIdentities(
  { services, endpointSlices, endpoints, remoteEndpoints }: ServiceTables,
  { service }: Extract<Peer, { kind: 'service' }>,
): ReadonlySet<number> {
  const wanted = services.all().filter(row => {
    if (service.namespace !== '' && row.namespace !== service.namespace) return false;
    if (service.terms === undefined) return row.name === service.name;
    const labels = Object.fromEntries(Object.entries(row.labels).map(([key, value]) => [`k8s:${key}`, value]));
    return matchesTerms(service.terms, labels);
  });
  const slices = wanted.flatMap(row => endpointSlices.by('service', `${row.namespace}/${row.name}`));
  const addresses = slices.flatMap(slice => slice.endpoints).flatMap(endpoint => endpoint.addresses);
  const rows = addresses.flatMap(address => [
    ...endpoints.by('address', address),
    ...remoteEndpoints.by('address', address),
  ]);
  return new Set(rows.map(row => row.identity));
}
