/** Ids in a chunk. */
const span = 256;

/** How often each of many ids is used; ids are mostly close to each other. A hash map would take ten times the memory. */
export class IdCounts {
  readonly #chunks = new Map<number, Uint32Array>();
  /** Ids in use, by chunk. */
  readonly #used = new Map<number, number>();
  #size = 0;

  /** Ids that are used at all. */
  get size(): number {
    return this.#size;
  }

  get(id: number): number {
    return this.#chunks.get(Math.floor(id / span))?.[id % span] ?? 0;
  }

  /** Less than none is none. */
  add(id: number, by: number): void {
    const at = Math.floor(id / span);
    const before = this.get(id);
    const after = Math.max(0, before + by);
    if (before === after) return;
    const chunk = this.#chunks.get(at) ?? new Uint32Array(span);
    chunk[id % span] = after;
    const change = Number(after > 0) - Number(before > 0);
    const used = (this.#used.get(at) ?? 0) + change;
    this.#size += change;
    if (used > 0) {
      this.#chunks.set(at, chunk);
      this.#used.set(at, used);
    } else {
      this.#chunks.delete(at);
      this.#used.delete(at);
    }
  }
}
