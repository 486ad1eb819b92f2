/** Values of rows in the least memory: tens of thousands of rows hold them for as long as the agent runs. */
import { intern, Pool } from '@ciliate/tables';
import type { Labels } from './labels.ts';
import type { Protocol } from './rows.ts';

const noItems: readonly never[] = [];
const noLabels: Labels = {};
const lists = new Pool<readonly string[]>();
const portLists = new Pool<readonly object[]>();

/** The list with room for its own items alone; one that grew has room for a dozen more. */
export function compactList<Item>(list: readonly Item[]): readonly Item[] {
  return list.length === 0 ? noItems : list.slice();
}

/** A list of names that many rows have: zones, nodes. */
export function sharedList(list: readonly string[]): readonly string[] {
  return lists.share(list.join(), list.map(intern));
}

/** Ports of services and of slices: most have one of a few lists. */
export function sharedPorts<Port extends NamedPort>(ports: readonly Port[]): readonly Port[] {
  // Each has a node port of its own.
  if (ports.length === 0 || ports.some(({ nodePort = 0 }) => nodePort > 0)) return compactList(ports);
  const key = ports.map(port => `${port.name} ${port.port} ${port.protocol} ${port.nodePort ?? ''}`).join();
  return portLists.share(key, ports.slice()) as readonly Port[];
}

interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** Of a service. */
  readonly nodePort?: number;
}

export function compactLabels(labels: Labels): Labels {
  return Object.keys(labels).length === 0 ? noLabels : labels;
}
