/** Which identities a peer of a rule stands for. */
import {
  type AddressBlockRow,
  type CidrGroupReference,
  type CidrGroupRow,
  isIPv4,
  type Labels,
  matchesTerms,
  type Peer,
  type Prefix,
  prefixCovers,
} from '@ciliate/model';

/** Somebody that policy can name: an identity of the cluster, an address block outside of it, or a class of addresses that pods have. */
export interface PeerIdentity {
  readonly id: number;
  readonly labels: Labels;
  /** `cidr` and `class`: the block. */
  readonly prefix: Prefix | undefined;
  readonly kind: 'labels' | 'cidr' | 'class';
  /** 'TCP/http' style keys, '6/http' → port numbers of the pods that have this identity. */
  readonly namedPorts: ReadonlyMap<string, readonly number[]>;
}

export interface PeerContext {
  readonly cidrGroups: readonly CidrGroupRow[];
  /** Addresses that a toServices reference stands for: endpoints' identities. */
  readonly serviceIdentities: (peer: Extract<Peer, { kind: 'service' }>) => ReadonlySet<number>;
}

export const noPeerContext: PeerContext = { cidrGroups: [], serviceIdentities: () => new Set() };

/** What policy takes an address block for. `dualStack`: world-ipv4 and world-ipv6 instead of world. */
export function blockIdentity({ kind, prefix, id, apiServer }: AddressBlockRow, dualStack: boolean): PeerIdentity {
  const world = dualStack ? (isIPv4(prefix) ? 'world-ipv4' : 'world-ipv6') : 'world';
  const labels: Labels = {
    ...(kind === 'class' ? {} : { [`reserved:${world}`]: '', [`cidr:${prefix}`]: '' }),
    ...(apiServer === undefined ? {} : { 'reserved:kube-apiserver': '' }),
  };
  return { id, labels, prefix, kind, namedPorts: new Map() };
}

export function selectsPeer(peer: Peer, identity: PeerIdentity, context: PeerContext): boolean {
  // A class stands beside an identity, never alone: only ipBlocks name it. And they name nothing else: the identity of a block that
  // Cilium's rules name may hold addresses that the ipBlock leaves out.
  if ((identity.kind === 'class') !== (peer.kind === 'cidr' && peer.pods)) return false;
  switch (peer.kind) {
    case 'everybody':
      return true;
    case 'labels':
      return matchesTerms(peer.terms, identity.labels);
    case 'fqdn':
      return `fqdn:${peer.pattern}` in identity.labels;
    case 'service':
      return context.serviceIdentities(peer).has(identity.id);
    case 'cidr':
      return inBlock(peer.cidr, peer.except, identity);
    case 'cidr-group':
      return groupsOf(peer.group, context).some(group =>
        group.cidrs.some(cidr => inBlock(cidr, peer.except, identity)),
      );
  }
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
  if (peer.kind !== 'cidr-group') return [];
  return [...groupsOf(peer.group, context).flatMap(group => group.cidrs), ...peer.except];
}
