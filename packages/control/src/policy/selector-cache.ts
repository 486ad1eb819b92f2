/** Which identities each peer of each rule stands for, kept up to date as identities come and go. */
import { type Peer, termsKey } from '@ciliate/model';
import { type PeerContext, type PeerIdentity, selectsPeer } from './peers.ts';

interface Selection {
  readonly peer: Peer;
  readonly ids: Set<number>;
}

/** Equal for peers that stand for the same. */
export function peerKey(peer: Peer): string {
  switch (peer.kind) {
    case 'labels':
      return `labels ${termsKey(peer.terms)}`;
    case 'cidr-group':
      return `group ${'name' in peer.group ? peer.group.name : termsKey(peer.group.terms)} - ${peer.except.join(' ')}`;
    case 'service': {
      const { namespace, name, terms } = peer.service;
      return `service ${namespace}/${name} ${terms === undefined ? '' : termsKey(terms)}`;
    }
    default:
      return JSON.stringify(peer);
  }
}

export class SelectorCache {
  readonly #identities = new Map<number, PeerIdentity>();
  readonly #selections = new Map<string, Selection>();
  #context: PeerContext;

  constructor(context: PeerContext) {
    this.#context = context;
  }

  get identities(): number {
    return this.#identities.size;
  }

  get selectors(): number {
    return this.#selections.size;
  }

  identity(id: number): PeerIdentity | undefined {
    return this.#identities.get(id);
  }

  /** By its key: the selection is kept from now on. */
  select(key: string, peer: Peer): readonly PeerIdentity[] {
    const ids = this.#selection(key, peer).ids;
    const found: PeerIdentity[] = [];
    for (const id of ids) {
      const identity = this.#identities.get(id);
      if (identity !== undefined) found.push(identity);
    }
    return found;
  }

  #selection(key: string, peer: Peer): Selection {
    const known = this.#selections.get(key);
    if (known !== undefined) return known;
    const ids = new Set<number>();
    for (const identity of this.#identities.values()) {
      if (selectsPeer(peer, identity, this.#context)) ids.add(identity.id);
    }
    const made = { peer, ids };
    this.#selections.set(key, made);
    return made;
  }

  /** Adds or replaces. Keys of the selections that change, or whose identity's named ports may have. */
  put(identity: PeerIdentity): readonly string[] {
    this.#identities.set(identity.id, identity);
    const touched: string[] = [];
    for (const [key, { peer, ids }] of this.#selections) {
      const before = ids.has(identity.id);
      const now = selectsPeer(peer, identity, this.#context);
      if (now) ids.add(identity.id);
      else ids.delete(identity.id);
      if (now || before) touched.push(key);
    }
    return touched;
  }

  remove(id: number): readonly string[] {
    this.#identities.delete(id);
    const touched: string[] = [];
    for (const [key, { ids }] of this.#selections) if (ids.delete(id)) touched.push(key);
    return touched;
  }

  /** Groups of blocks or services have changed: what rests on them is selected anew. */
  setContext(context: PeerContext, kinds: readonly Peer['kind'][]): readonly string[] {
    this.#context = context;
    const touched: string[] = [];
    for (const [key, { peer, ids }] of this.#selections) {
      if (!kinds.includes(peer.kind)) continue;
      ids.clear();
      for (const identity of this.#identities.values()) {
        if (selectsPeer(peer, identity, context)) ids.add(identity.id);
      }
      touched.push(key);
    }
    return touched;
  }

  /** Selections that no group uses any more. */
  forget(keys: Iterable<string>): void {
    for (const key of keys) this.#selections.delete(key);
  }
}
