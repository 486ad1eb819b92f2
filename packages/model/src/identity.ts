import { type Labels, labelsKey } from './labels.ts';
import type { IdentityRow } from './rows.ts';

/** Numbers of DESIGN §4, by the name that follows 'reserved:'. */
export const reservedIdentities = {
  unknown: 0,
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  'remote-node': 6,
  'kube-apiserver': 7,
  ingress: 8,
  'world-ipv4': 9,
  'world-ipv6': 10,
} as const;

export type ReservedIdentity = keyof typeof reservedIdentities;

/** Cluster identities: those that CiliumIdentity objects claim. */
export const minClusterIdentity = 256;
export const maxClusterIdentity = 65_535;

/** Rows of the reserved identities, as every node has them. */
export function reservedIdentityRows(): readonly IdentityRow[] {
  return Object.entries(reservedIdentities).map(([name, id]) => ({
    id,
    // An API server that is no node has an address block's number; this one stands for other nodes that are.
    labels: { [`reserved:${name}`]: '', ...(name === 'kube-apiserver' ? { 'reserved:remote-node': '' } : {}) },
    reserved: true,
  }));
}

/**
 * Numbers to try for a label set, best first: its hash, then the numbers after it. Every node computes the same order, so
 * that two nodes with the same labels meet at the same CiliumIdentity.
 */
export function* identityCandidates(labels: Labels): IterableIterator<number> {
  const range = maxClusterIdentity - minClusterIdentity + 1;
  const start = fnv1a(labelsKey(labels)) % range;
  for (let step = 0; step < range; step += 1) yield minClusterIdentity + ((start + step) % range);
}

/** FNV-1a, 32 bits, over UTF-16 units, mixed so that close texts land apart. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  return (hash ^ (hash >>> 15)) >>> 0;
}
