/** What is used of a map. */
interface NumberMap<Key> extends Pick<Map<Key, number>, 'size' | 'get' | 'has' | 'delete'> {
  set(key: Key, value: number): void;
  values(): Iterable<number>;
}

/** Numbers for keys: stable while the key is held, and after a restart; a freed number is used again as late as possible. */
export class IdAllocator<Key = string> {
  readonly #min: number;
  readonly #max: number;
  readonly #ids: NumberMap<Key>;
  /** Restored, and not asked for since: keys by number. */
  readonly #unclaimed = new Map<number, Key>();
  /** Freed numbers, the longest free first. */
  readonly #freed = new Set<number>();
  #next: number;

  /** `ids`: empty; who has many keys may know a smaller map for them. */
  constructor(range: { readonly min: number; readonly max: number }, ids: NumberMap<Key> = new Map()) {
    this.#ids = ids;
    this.#min = range.min;
    this.#max = range.max;
    this.#next = range.min;
  }

  get size(): number {
    return this.#ids.size;
  }

  /** Keys that were asked for and not released. */
  get claimed(): number {
    return this.#ids.size - this.#unclaimed.size;
  }

  /** False for what was only restored. */
  isClaimed(key: Key): boolean {
    const id = this.#ids.get(key);
    return id !== undefined && !this.#unclaimed.has(id);
  }

  /** Once, before the first acquire: what the kernel holds. Of two keys with one number the first keeps it. */
  restore(entries: Iterable<readonly [key: Key, id: number]>): void {
    for (const [key, id] of entries) {
      if (this.#ids.has(key) || this.#unclaimed.has(id)) continue;
      this.#ids.set(key, id);
      this.#unclaimed.set(id, key);
      // Below it may be numbers that were freed lately: they come last.
      this.#next = Math.max(this.#next, id + 1);
    }
  }

  /** The number of the key, a new one if it has none. Undefined when the range is used up. */
  acquire(key: Key): number | undefined {
    this.claim(key);
    return this.#ids.get(key);
  }

  /** Like acquire; true when the key was not claimed before, and has a number now. */
  claim(key: Key): boolean {
    const held = this.#ids.get(key);
    if (held !== undefined) return this.#unclaimed.delete(held);
    const id = this.#fresh() ?? this.#reused();
    if (id !== undefined) this.#ids.set(key, id);
    return id !== undefined;
  }

  get(key: Key): number | undefined {
    return this.#ids.get(key);
  }

  release(key: Key): void {
    const id = this.#ids.get(key);
    if (id === undefined) return;
    this.#ids.delete(key);
    this.#unclaimed.delete(id);
    this.#freed.add(id);
  }

  /** Frees what was restored and never asked for: call when every source has delivered. */
  releaseUnclaimed(): void {
    for (const key of [...this.#unclaimed.values()]) this.release(key);
  }

  #fresh(): number | undefined {
    if (this.#next > this.#max) return undefined;
    this.#next += 1;
    return this.#next - 1;
  }

  #reused(): number | undefined {
    if (this.#freed.size === 0) this.#freePassed();
    const [id] = this.#freed;
    if (id !== undefined) this.#freed.delete(id);
    return id;
  }

  /** Numbers that a restore went past are free too. */
  #freePassed(): void {
    if (this.#ids.size > this.#max - this.#min) return;
    const used = new Set(this.#ids.values());
    for (let id = this.#min; id <= this.#max; id += 1) if (!used.has(id)) this.#freed.add(id);
  }
}
