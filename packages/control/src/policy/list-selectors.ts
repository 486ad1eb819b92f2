/** Selectors of all policies, and whom each stands for now: what `policy selectors` shows. */
import { type Peer, type PolicyReference, type PolicyRow, policyReference, termsText } from '@ciliate/model';
import { type PeerContext, type PeerIdentity, selectsPeer } from './peers.ts';
import { peerKey } from './selector-cache.ts';

export interface SelectorUse {
  readonly selector: string;
  /** Sorted. */
  readonly identities: readonly number[];
  /** Rules that name it, those of one policy each counted. */
  readonly users: number;
  readonly policies: readonly PolicyReference[];
}

/** For people: 'app=web', 'cidr:10.0.0.0/8 except 10.1.0.0/16'. */
export function peerText(peer: Peer): string {
  switch (peer.kind) {
    case 'everybody':
      return 'everybody';
    case 'labels':
      return termsText(peer.terms);
    case 'nodes':
      return `nodes:${termsText(peer.terms)}`;
    case 'cidr':
      return `${peer.pods ? 'ipBlock' : 'cidr'}:${peer.cidr}${exceptText(peer.except)}`;
    case 'cidr-group': {
      const name = 'name' in peer.group ? peer.group.name : `{${termsText(peer.group.terms)}}`;
      return `cidrgroup:${name}${exceptText(peer.except)}`;
    }
    case 'service': {
      const { namespace, name, terms } = peer.service;
      const space = namespace === '' ? '*' : namespace;
      return `service:${space}/${terms === undefined ? name : `{${termsText(terms)}}`}`;
    }
    case 'fqdn':
      return `fqdn:${peer.pattern}`;
  }
}

const exceptText = (except: readonly string[]): string => (except.length === 0 ? '' : ` except ${except.join(', ')}`);

/** Subjects of rules too, as the field's tools list them. Cost: selectors × identities. */
export function listSelectors(
  policies: Iterable<PolicyRow>,
  identities: readonly PeerIdentity[],
  context: PeerContext,
): readonly SelectorUse[] {
  const found = new Map<string, { peer: Peer; users: number; policies: Map<string, PolicyReference> }>();
  for (const policy of policies) {
    const reference = policyReference(policy);
    for (const peer of peersOf(policy)) {
      const key = peerKey(peer);
      const use = found.get(key) ?? { peer, users: 0, policies: new Map() };
      use.users += 1;
      use.policies.set(`${reference.kind}/${reference.namespace}/${reference.name}`, reference);
      found.set(key, use);
    }
  }
  return [...found.values()]
    .map(({ peer, users, policies: named }) => ({
      selector: peerText(peer),
      identities: identities
        .filter(identity => selectsPeer(peer, identity, context))
        .map(({ id }) => id)
        .toSorted((a, b) => a - b),
      users,
      policies: [...named.values()],
    }))
    .toSorted((a, b) => (a.selector < b.selector ? -1 : 1));
}

function peersOf({ rules }: PolicyRow): readonly Peer[] {
  const subjects = rules.map((rule): Peer => ({ kind: 'labels', terms: rule.subject }));
  const traffic = rules.flatMap(rule => [...rule.ingress, ...rule.egress]);
  return [...subjects, ...traffic.flatMap(one => one.peers ?? [])];
}
