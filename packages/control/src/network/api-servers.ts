/** Addresses of the API server: those of the service `kubernetes` in `default`, which the API server writes itself. */
import { type Address, type EndpointSliceRow, hostPrefix, type NodeRow, type Prefix } from '@ciliate/model';
import type { Table } from '@ciliate/tables';
import { nodeIPs } from './addresses.ts';

export const apiServerService = 'default/kubernetes';

export function isApiServerSlice({ namespace, service }: Pick<EndpointSliceRow, 'namespace' | 'service'>): boolean {
  return `${namespace}/${service}` === apiServerService;
}

export function apiServerAddresses(slices: Pick<Table<EndpointSliceRow, 'service'>, 'by'>): ReadonlySet<Address> {
  const endpoints = slices.by('service', apiServerService).flatMap(slice => slice.endpoints);
  return new Set(endpoints.map(endpoint => endpoint.address));
}

/** Those that no node has. */
export function apiServersOutside(
  slices: Pick<Table<EndpointSliceRow, 'service'>, 'by'>,
  nodes: readonly NodeRow[],
): readonly Prefix[] {
  const servers = apiServerAddresses(slices);
  if (servers.size === 0) return [];
  const own = new Set(nodes.flatMap(nodeIPs));
  return [...servers].filter(address => !own.has(address)).map(hostPrefix);
}
