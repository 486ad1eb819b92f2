import { hostPort } from './address.ts';
import { portKey } from './keys.ts';
import { type Labels, labelsKey } from './labels.ts';
import type { FrontendRow, NodeRow, ServiceRow } from './rows.ts';

/** Columns of tables whose fields do not fit a line as they are. Shared by `ciliate shell` and script tests. */

export const frontendColumns = {
  Address: (row: FrontendRow) => portKey(row),
  Type: (row: FrontendRow) => row.type,
  Service: (row: FrontendRow) => row.service,
  Port: (row: FrontendRow) => row.portName,
  Backends: (row: FrontendRow) =>
    row.backends.map(be => hostPort(be.address, be.port) + (be.state === 'active' ? '' : ` (${be.state})`)).join(', '),
} as const;

export const nodeColumns = {
  Name: (row: NodeRow) => row.name,
  Local: (row: NodeRow) => String(row.local),
  Addresses: (row: NodeRow) => row.addresses.map(({ type, address }) => `${type} ${address}`).join(', '),
  PodCIDRs: (row: NodeRow) => row.podCIDRs.join(', '),
} as const;

export const serviceColumns = {
  Service: (row: ServiceRow) => `${row.namespace}/${row.name}`,
  Type: (row: ServiceRow) => row.type,
  ClusterIPs: (row: ServiceRow) => row.clusterIPs.join(', '),
  Ports: (row: ServiceRow) => row.ports.map(port => `${port.port}/${port.protocol}`).join(', '),
} as const;

export const labelsColumn = (row: { readonly labels: Labels }): string => labelsKey(row.labels);
