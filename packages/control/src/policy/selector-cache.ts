/** Which identities each peer of each rule stands for, kept up to date as identities come and go. */
import { type Peer, termsKey } from '@ciliate/model';
import { type PeerContext, type PeerIdentity, selectsPeer } from './peers.ts';
import { type Anchor, anchorsOf, type Dimension } from './selector-anchors.ts';

interface Selection {
  readonly peer: Peer;
  readonly ids: Set<number>;
  /** Where the selection waits for identities; undefined: everywhere. */
  anchor: Anchor | undefined;
}

/** Identities and selections by one property. */
interface DimensionIndex {
  readonly dimension: Dimension;
  readonly ids: Map<string, Set<number>>;
  readonly selections: Map<string, Set<string>>;
  /** Selections for which any value will do. */
  readonly any: Set<string>;
}

/** Equal for peers that stand for the same. */
export function peerKey(peer: Peer): string {
  switch (peer.kind) {
    case 'labels':
      return `labels ${termsKey(peer.terms)}`;
    case 'nodes':
      return `nodes ${termsKey(peer.terms)}`;
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

/**
 * Both ways by index: a new selection looks at the identities that have its rarest property, and a new identity at the selections that
 * ask for a property that it has. Neither looks at all of the others.
 */
export class SelectorCache {
  readonly #identities = new Map<number, PeerIdentity>();
  readonly #selections = new Map<string, Selection>();
  /** Identity → selections that it is in. */
  readonly #selectedBy = new Map<number, Set<string>>();
  readonly #dimensions = new Map<string, DimensionIndex>();
  readonly #everywhere = new Set<string>();
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

  /** Keys of the selections that the identity is in. */
  selectedBy(id: number): Iterable<string> {
    return this.#selectedBy.get(id) ?? [];
  }

  identity(id: number): PeerIdentity | undefined {
    return this.#identities.get(id);
  }

  /** By its key: the selection is kept from now on. */
  select(key: string, peer: Peer): readonly PeerIdentity[] {
    const known = this.#selections.get(key) ?? this.#add(key, peer);
    const found: PeerIdentity[] = [];
    for (const id of known.ids) {
      const identity = this.#identities.get(id);
      if (identity !== undefined) found.push(identity);
    }
    return found;
  }

  /** Adds or replaces. Keys of the selections that change, or whose identity's named ports may have. */
  put(identity: PeerIdentity): readonly string[] {
    const { id } = identity;
    this.#reindex(id, identity);
    this.#identities.set(id, identity);
    const before = this.#selectedBy.get(id) ?? new Set<string>();
    const now = new Set<string>();
    for (const key of new Set([...before, ...this.#waitingFor(identity)])) {
      const selection = this.#selections.get(key);
      if (selection === undefined) continue;
      if (selectsPeer(selection.peer, identity, this.#context)) {
        selection.ids.add(id);
        now.add(key);
      } else {
        selection.ids.delete(id);
      }
    }
    this.#selectedBy.set(id, now);
    return [...new Set([...before, ...now])];
  }

  remove(id: number): readonly string[] {
    this.#reindex(id, undefined);
    this.#identities.delete(id);
    const touched = [...(this.#selectedBy.get(id) ?? [])];
    this.#selectedBy.delete(id);
    for (const key of touched) this.#selections.get(key)?.ids.delete(id);
    return touched;
  }

  /** Groups of blocks or services have changed: what rests on them is selected anew. Keys, and the identities that came or went. */
  setContext(
    context: PeerContext,
    kinds: readonly Peer['kind'][],
  ): readonly (readonly [key: string, ids: readonly number[]])[] {
    this.#context = context;
    const touched = [...this.#selections].filter(([, { peer }]) => kinds.includes(peer.kind));
    return touched.flatMap(([key, { peer, ids }]) => {
      this.#drop(key);
      const now = this.#add(key, peer).ids;
      const moved = [...[...now].filter(id => !ids.has(id)), ...[...ids].filter(id => !now.has(id))];
      return moved.length === 0 ? [] : [[key, moved] as const];
    });
  }

  /** Selections that no group uses any more. */
  forget(keys: Iterable<string>): void {
    for (const key of keys) this.#drop(key);
  }

  #add(key: string, peer: Peer): Selection {
    const anchors = anchorsOf(peer, this.#context);
    const [anchor] = anchors.toSorted((a, b) => this.#sizeOf(a) - this.#sizeOf(b));
    const selection: Selection = { peer, ids: new Set(), anchor };
    this.#selections.set(key, selection);
    for (const id of anchor === undefined ? this.#identities.keys() : this.#idsAt(anchor)) {
      const identity = this.#identities.get(id);
      if (identity === undefined || !selectsPeer(peer, identity, this.#context)) continue;
      selection.ids.add(id);
      this.#selectedBy.set(id, (this.#selectedBy.get(id) ?? new Set()).add(key));
    }
    if (anchor === undefined) this.#everywhere.add(key);
    for (const { dimension, value } of anchor ?? []) {
      const index = this.#indexOf(dimension);
      if (value === undefined) index.any.add(key);
      else index.selections.set(value, (index.selections.get(value) ?? new Set()).add(key));
    }
    return selection;
  }

  #drop(key: string): void {
    const selection = this.#selections.get(key);
    if (selection === undefined) return;
    this.#selections.delete(key);
    this.#everywhere.delete(key);
    for (const id of selection.ids) this.#selectedBy.get(id)?.delete(key);
    for (const { dimension, value = '' } of selection.anchor ?? []) {
      const index = this.#dimensions.get(dimension.name);
      if (index === undefined) continue;
      index.any.delete(key);
      const waiting = index.selections.get(value);
      waiting?.delete(key);
      if (waiting?.size === 0) index.selections.delete(value);
      if (index.any.size + index.selections.size === 0) this.#dimensions.delete(dimension.name);
    }
    // Those that selections were only measured by.
    if (this.#selections.size === 0) this.#dimensions.clear();
  }

  #indexOf(dimension: Dimension): DimensionIndex {
    const known = this.#dimensions.get(dimension.name);
    if (known !== undefined) return known;
    const made: DimensionIndex = { dimension, ids: new Map(), selections: new Map(), any: new Set() };
    for (const identity of this.#identities.values()) addTo(made.ids, dimension.valueOf(identity), identity.id);
    this.#dimensions.set(dimension.name, made);
    return made;
  }

  #reindex(id: number, identity: PeerIdentity | undefined): void {
    const before = this.#identities.get(id);
    for (const { dimension, ids } of this.#dimensions.values()) {
      const old = before === undefined ? undefined : dimension.valueOf(before);
      const value = identity === undefined ? undefined : dimension.valueOf(identity);
      if (old === value) continue;
      if (old !== undefined) {
        ids.get(old)?.delete(id);
        if (ids.get(old)?.size === 0) ids.delete(old);
      }
      addTo(ids, value, id);
    }
  }

  *#waitingFor(identity: PeerIdentity): IterableIterator<string> {
    yield* this.#everywhere;
    for (const { dimension, selections, any } of this.#dimensions.values()) {
      const value = dimension.valueOf(identity);
      if (value === undefined) continue;
      yield* any;
      yield* selections.get(value) ?? [];
    }
  }

  #sizeOf(anchor: Anchor): number {
    let size = 0;
    for (const { dimension, value } of anchor) {
      const { ids } = this.#indexOf(dimension);
      size += value === undefined ? this.#identities.size : (ids.get(value)?.size ?? 0);
    }
    return size;
  }

  *#idsAt(anchor: Anchor): IterableIterator<number> {
    for (const { dimension, value } of anchor) {
      const { ids } = this.#indexOf(dimension);
      if (value !== undefined) yield* ids.get(value) ?? [];
      else for (const some of ids.values()) yield* some;
    }
  }
}

function addTo(ids: Map<string, Set<number>>, value: string | undefined, id: number): void {
  if (value !== undefined) ids.set(value, (ids.get(value) ?? new Set()).add(id));
}
