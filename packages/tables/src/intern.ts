/** Equal values of many rows, kept once. */

/** V8 keeps one string for all property names that are equal, as long as anybody has it; this object is for making them names. */
let names: Record<string, number> = Object.create(null);
let room = 0;

/**
 * The text itself. Equal texts that went through here share their memory: a key stands in the table of its rows, in those that are made
 * from them, in indexes and in what controllers remember.
 */
export function intern<Text extends string>(text: Text): Text {
  if (room === 0) {
    names = Object.create(null);
    room = 4096;
  }
  room -= 1;
  names[text] = 0;
  return text;
}

/** Values of which many rows have the same few. Equal keys, equal values. */
export class Pool<Value> {
  readonly #known = new Map<string, Value>();
  readonly #limit: number;

  /** Forgets all when more than `limit` are known: those that come then are shared anew. */
  constructor(limit = 4096) {
    this.#limit = limit;
  }

  share(key: string, value: Value): Value {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= this.#limit) this.#known.clear();
    this.#known.set(key, value);
    return value;
  }
}
