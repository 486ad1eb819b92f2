/** What is used of a map. */
interface NumberMap extends Pick<Map<string, number>, 'size' | 'get' | 'has' | 'delete'> {
  set(key: string, value: number): void;
  values(): Iterable<number>;
}

/** Numbers for keys: stable while the key is held, and after a restart; a freed number is used again as late as possible. */
export class IdAllocator {
  readonly #min: number;
  readonly #max: number;
  readonly #ids: NumberMap;
  /** Restored, and not asked for since. */
  readonly #unclaimed = new Set<string>();
  /** Freed numbers, the longest free first. */
  readonly #freed = new Set<number>();
  #next: number;

  /** `ids`: empty; who has many keys may know a smaller map for them. */
  constructor(range: { readonly min: number; readonly max: number }, ids: NumberMap = new Map()) {
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
  isClaimed(key: string): boolean {
    return this.#ids.has(key) && (this.#unclaimed.size === 0 || !this.#unclaimed.has(key));
  }

  /** Once, before the first acquire: what the kernel holds. Of two keys with one number the first keeps it. */
  restore(entries: Iterable<readonly [key: string, id: number]>): void {
    const used = new Set<number>();
    for (const [key, id] of entries) {
      if (this.#ids.has(key) || used.has(id)) continue;
      this.#ids.set(key, id);
      used.add(id);
      this.#unclaimed.add(key);
      // Below it may be numbers that were freed lately: they come last.
      this.#next = Math.max(this.#next, id + 1);
    }
  }

  /** The number of the key, a new one if it has none. Undefined when the range is used up. */
  acquire(key: string): number | undefined {
    this.#unclaimed.delete(key);
    const held = this.#ids.get(key);
    if (held !== undefined) return held;
    const id = this.#fresh() ?? this.#reused();
    if (id === undefined) return undefined;
    this.#ids.set(key, id);
    return id;
  }

  /** Like acquire; true when the key was not claimed before. */
  claim(key: string): boolean {
    if (this.isClaimed(key)) return false;
    this.acquire(key);
    return true;
  }

  get(key: string): number | undefined {
    return this.#ids.get(key);
  }

  release(key: string): void {
    const id = this.#ids.get(key);
    if (id === undefined) return;
    this.#ids.delete(key);
    this.#unclaimed.delete(key);
    this.#freed.add(id);
  }

  /** Frees what was restored and never asked for: call when every source has delivered. */
  releaseUnclaimed(): void {
    for (const key of [...this.#unclaimed]) this.release(key);
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
