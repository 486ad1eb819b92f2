/** What a reconciler has to do for one key. */
export interface Work<Row> {
  readonly key: string;
  readonly row: Row;
  readonly deleted: boolean;
  /** Failures in a row so far. */
  readonly attempts: number;
}

/** Delay before the attempt after `attempts` failures: doubles from `min` to `max` ms, up to a fifth less by chance. */
export function backoff(attempts: number, min: number, max: number, random: () => number): number {
  const full = Math.min(max, min * 2 ** Math.min(attempts, 30));
  return Math.max(min, full * (1 - 0.2 * random()));
}

/** Work that failed, by the time at which it is due again. One entry a key. */
export class RetryQueue<Row> {
  readonly #items = new Map<string, { readonly work: Work<Row>; readonly due: number }>();

  get size(): number {
    return this.#items.size;
  }

  add(work: Work<Row>, due: number): void {
    this.#items.set(work.key, { work, due });
  }

  /** Newer work for the key makes the old one void. */
  drop(key: string): void {
    this.#items.delete(key);
  }

  takeDue(now: number): readonly Work<Row>[] {
    const due: Work<Row>[] = [];
    for (const [key, item] of this.#items) {
      if (item.due > now) continue;
      due.push(item.work);
      this.#items.delete(key);
    }
    return due;
  }

  /** When the first entry is due, undefined when there is none. */
  nextDue(): number | undefined {
    let first: number | undefined;
    for (const { due } of this.#items.values()) if (first === undefined || due < first) first = due;
    return first;
  }
}
