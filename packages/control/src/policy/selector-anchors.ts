/** What an identity must have to be selected by a peer, so that nobody else has to be looked at. */
import {
  addressBytes,
  type LabelTerm,
  labelValue,
  type Peer,
  type Prefix,
  prefixAddress,
  prefixBits,
} from '@ciliate/model';
import { groupsOf, type PeerContext, type PeerIdentity } from './peers.ts';
import type { ServiceTargets } from './service-peers.ts';

/** A property by which identities are told apart: a label's key, or the first bits of a block. */
export interface Dimension {
  readonly name: string;
  /** Undefined: the identity has no such property. */
  readonly valueOf: (identity: PeerIdentity) => string | undefined;
}

export interface Place {
  readonly dimension: Dimension;
  /** Undefined: any. */
  readonly value: string | undefined;
}

/** Who is selected is in one of these places. */
export type Anchor = readonly Place[];

/** Each of them holds for everybody whom the peer selects; none: there is nothing to go by. */
export function anchorsOf(peer: Peer, context: PeerContext): readonly Anchor[] {
  switch (peer.kind) {
    case 'everybody':
      return [];
    case 'labels':
    case 'nodes':
      return peer.terms.flatMap(labelAnchor);
    case 'fqdn':
      return labelAnchor({ source: 'fqdn', key: peer.pattern, operator: 'Exists', values: [] });
    case 'service':
      return [servicePlaces(context.serviceTargets(peer))];
    case 'cidr':
      return [[blockPlace(peer.cidr)]];
    case 'cidr-group':
      return [groupsOf(peer.group, context).flatMap(group => group.cidrs.map(blockPlace))];
  }
}

const byNumber: Dimension = { name: 'number', valueOf: ({ id }) => String(id) };

function labelAnchor(term: LabelTerm): readonly Anchor[] {
  const dimension = {
    name: `label ${term.source}:${term.key}`,
    valueOf: ({ labels }: PeerIdentity) => labelValue(term, labels),
  };
  if (term.operator === 'Exists') return [[{ dimension, value: undefined }]];
  return term.operator === 'In' ? [[...new Set(term.values)].map(value => ({ dimension, value }))] : [];
}

/** Of each selector the first label: its namespace stands before. */
function servicePlaces({ selectors, ids, prefixes }: ServiceTargets): Anchor {
  const labels = selectors.flatMap(terms => terms.slice(1, 2).flatMap(labelAnchor)).flat();
  return [...labels, ...ids.map(id => ({ dimension: byNumber, value: String(id) })), ...prefixes.map(blockPlace)];
}

/** Blocks inside of a block begin with the same bits. */
function blockPlace(block: Prefix): Place {
  const bits = prefixBits(block);
  const dimension: Dimension = {
    name: `block ${bits}`,
    valueOf: ({ prefix }) => (prefix === undefined ? undefined : firstBits(prefix, bits)),
  };
  return { dimension, value: firstBits(block, bits) };
}

function firstBits(prefix: Prefix, bits: number): string | undefined {
  if (prefixBits(prefix) < bits) return undefined;
  const bytes = addressBytes(prefixAddress(prefix));
  const whole = bits >> 3;
  const rest = (bytes[whole] ?? 0) >> (8 - (bits & 7));
  return String.fromCharCode(...bytes.subarray(0, whole), rest);
}
