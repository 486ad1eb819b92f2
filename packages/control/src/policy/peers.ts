/** Which identities a peer of a rule stands for. */
import {
  type AddressBlockRow,
  type AddressClassRow,
  type CidrGroupReference,
  type CidrGroupRow,
  isIPv4,
  type Labels,
  matchesTerms,
  type Peer,
  type Prefix,
  prefixCovers,
} from '@ciliate/model';
import { noTargets, type ServicePeer, type ServiceTargets } from './service-peers.ts';

/** Somebody that policy can name: an identity of the cluster, an address block outside of it, or a class of addresses that pods have. */
export interface PeerIdentity {
  readonly id: number;
  readonly labels: Labels;
  /** `cidr` and `class`: the block; of a class of nodes the longest one that policies name. */
  readonly prefix: Prefix | undefined;
  readonly kind: 'labels' | 'cidr' | 'class';
  /** 'TCP/http' style keys, '6/http' → port numbers of the pods that have this identity. */
  readonly namedPorts: ReadonlyMap<string, readonly number[]>;
}

export interface PeerContext {
  readonly cidrGroups: readonly CidrGroupRow[];
  /** Blocks of Cilium's policies hold nodes too. */
  readonly cidrMatchesNodes: boolean;
  /** Whom a toServices reference stands for. */
  readonly serviceTargets: (peer: ServicePeer) => ServiceTargets;
}

export const noPeerContext: PeerContext = {
  cidrGroups: [],
  cidrMatchesNodes: false,
  serviceTargets: () => noTargets,
};

/** What policy takes an address block for. `dualStack`: world-ipv4 and world-ipv6 instead of world. */
export function blockIdentity({ kind, prefix, id, apiServer }: AddressBlockRow, dualStack: boolean): PeerIdentity {
  const world = dualStack ? (isIPv4(prefix) ? 'world-ipv4' : 'world-ipv6') : 'world';
  const labels: Labels = {
    ...(kind === 'class' ? {} : { [`reserved:${world}`]: '', [`cidr:${prefix}`]: '' }),
    ...(apiServer === undefined ? {} : { 'reserved:kube-apiserver': '' }),
  };
  return { id, labels, prefix, kind, namedPorts: new Map() };
}

export function classIdentity({ id, labels, block, namedPorts }: AddressClassRow): PeerIdentity {
  return { id, labels, prefix: block, kind: 'class', namedPorts: new Map(namedPorts) };
}

/** Whether a peer is found by the class of an address, beside the identity that the address has. */
export function asksClass(peer: Peer, { cidrMatchesNodes }: Pick<PeerContext, 'cidrMatchesNodes'>): boolean {
  if (peer.kind === 'cidr') return peer.pods || cidrMatchesNodes;
  return peer.kind === 'nodes' || ((peer.kind === 'cidr-group' || peer.kind === 'service') && cidrMatchesNodes);
}

export function selectsPeer(peer: Peer, identity: PeerIdentity, context: PeerContext): boolean {
  if (identity.kind === 'class') return selectsClass(peer, identity, context);
  switch (peer.kind) {
    case 'everybody':
      return true;
    case 'labels':
      return matchesTerms(peer.terms, identity.labels);
    case 'fqdn':
      return `fqdn:${peer.pattern}` in identity.labels;
    case 'nodes':
      return false;
    case 'service':
      return serves(context.serviceTargets(peer), identity);
    case 'cidr':
      // The identity of a block that Cilium's rules name may hold addresses that an ipBlock leaves out.
      return !peer.pods && inBlock(peer.cidr, peer.except, identity);
    case 'cidr-group':
      return inGroup(peer, identity, context);
  }
}

/** A class stands beside an identity, never alone: only who asks about addresses means it. */
function selectsClass(peer: Peer, identity: PeerIdentity, context: PeerContext): boolean {
  const isNode = 'reserved:remote-node' in identity.labels || 'reserved:host' in identity.labels;
  const asked = isNode && context.cidrMatchesNodes;
  if (peer.kind === 'cidr') return (peer.pods || asked) && inBlock(peer.cidr, peer.except, identity);
  if (peer.kind === 'cidr-group') return asked && inGroup(peer, identity, context);
  if (peer.kind === 'service') return asked && isOneOf(context.serviceTargets(peer).prefixes, identity);
  return peer.kind === 'nodes' && isNode && matchesTerms(peer.terms, identity.labels);
}

function serves({ selectors, ids, prefixes }: ServiceTargets, identity: PeerIdentity): boolean {
  if (identity.kind === 'cidr') return isOneOf(prefixes, identity);
  return ids.includes(identity.id) || selectors.some(terms => matchesTerms(terms, identity.labels));
}

const isOneOf = (prefixes: readonly Prefix[], { prefix }: PeerIdentity): boolean =>
  prefix !== undefined && prefixes.includes(prefix);

function inGroup(peer: Extract<Peer, { kind: 'cidr-group' }>, identity: PeerIdentity, context: PeerContext): boolean {
  return groupsOf(peer.group, context).some(group => group.cidrs.some(cidr => inBlock(cidr, peer.except, identity)));
}

export function groupsOf(reference: CidrGroupReference, context: PeerContext): readonly CidrGroupRow[] {
  if ('name' in reference) return context.cidrGroups.filter(group => group.name === reference.name);
  return context.cidrGroups.filter(group => matchesTerms(reference.terms, asSecurityLabels(group.labels)));
}

function asSecurityLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value]));
}

/** Whole families too are blocks: what they cover has an identity of theirs, not the world's. */
function inBlock(cidr: Prefix, except: readonly Prefix[], { prefix }: PeerIdentity): boolean {
  return prefix !== undefined && prefixCovers(cidr, prefix) && !except.some(one => prefixCovers(one, prefix));
}

/** Blocks that a peer names, with what is taken out of them: each needs an identity (or a class) of its own. */
export function prefixesOf(peer: Peer, context: PeerContext): readonly Prefix[] {
  if (peer.kind === 'cidr') return [peer.cidr, ...peer.except];
  if (peer.kind === 'service') return context.serviceTargets(peer).prefixes;
  if (peer.kind !== 'cidr-group') return [];
  return [...groupsOf(peer.group, context).flatMap(group => group.cidrs), ...peer.except];
}
