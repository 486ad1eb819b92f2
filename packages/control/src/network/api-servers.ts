/** Addresses of the API server: those of the service `kubernetes` in `default`, which the API server writes itself. */
import type { Address, EndpointSliceRow } from '@ciliate/model';
import type { Table } from '@ciliate/tables';

export const apiServerService = 'default/kubernetes';

export function isApiServerSlice({ namespace, service }: Pick<EndpointSliceRow, 'namespace' | 'service'>): boolean {
  return `${namespace}/${service}` === apiServerService;
}

export function apiServerAddresses(slices: Pick<Table<EndpointSliceRow, 'service'>, 'by'>): ReadonlySet<Address> {
  const endpoints = slices.by('service', apiServerService).flatMap(slice => slice.endpoints);
  return new Set(endpoints.flatMap(endpoint => endpoint.addresses));
}
