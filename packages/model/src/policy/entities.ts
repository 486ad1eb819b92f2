/** `fromEntities` and `toEntities` (docs.cilium.io: entities based policies), as peers over reserved labels. */
import { own } from '../own.ts';
import { securityLabelKeys } from '../security-labels.ts';
import { type LabelTerms, term } from './label-terms.ts';
import type { Peer } from './rows.ts';

const reserved = (name: string): Peer => ({ kind: 'labels', terms: [term(`reserved:${name}`, 'Exists')] });

const single = [
  'host',
  'remote-node',
  'kube-apiserver',
  'ingress',
  'init',
  'health',
  'unmanaged',
  'world-ipv4',
  'world-ipv6',
] as const;

/** Pods of this cluster: those whose labels name it. */
const clusterPods: LabelTerms = [term(securityLabelKeys.cluster, 'Exists')];

const table: Readonly<Record<string, readonly Peer[]>> = {
  all: [{ kind: 'everybody' }],
  none: [],
  world: [reserved('world'), reserved('world-ipv4'), reserved('world-ipv6')],
  cluster: [
    ...['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'].map(reserved),
    { kind: 'labels', terms: clusterPods },
  ],
  ...Object.fromEntries(single.map(name => [name, [reserved(name)]])),
};

export const entityNames: readonly string[] = Object.keys(table);

/** Undefined: no such entity. */
export function entityPeers(name: string): readonly Peer[] | undefined {
  return own(table, name);
}
