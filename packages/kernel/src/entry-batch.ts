import type { Codec } from './types.ts';

/** Entries of a map as bytes, to be put together: nothing is kept of the keys and values that were added. */
export class EntryBatch<K, V> {
  readonly #key: Codec<K>;
  readonly #value: Codec<V>;
  #keys: Uint8Array;
  #values: Uint8Array;
  #count = 0;

  constructor({ key, value }: { readonly key: Codec<K>; readonly value: Codec<V> }, room = 256) {
    this.#key = key;
    this.#value = value;
    this.#keys = new Uint8Array(room * key.size);
    this.#values = new Uint8Array(room * value.size);
  }

  get count(): number {
    return this.#count;
  }

  add(key: K, value: V): void {
    if (this.#count * this.#key.size === this.#keys.length) this.#grow();
    this.#key.write(key, this.#keys, this.#count * this.#key.size);
    this.#value.write(value, this.#values, this.#count * this.#value.size);
    this.#count += 1;
  }

  /** Some entries, from `start` on: a view that is valid until the next add. */
  part(start: number, length: number): { readonly keys: Uint8Array; readonly values: Uint8Array } {
    const end = Math.min(this.#count, start + length);
    return {
      keys: this.#keys.subarray(start * this.#key.size, end * this.#key.size),
      values: this.#values.subarray(start * this.#value.size, end * this.#value.size),
    };
  }

  *entries(): IterableIterator<readonly [K, V]> {
    for (let i = 0; i < this.#count; i += 1) {
      yield [this.#key.read(this.#keys, i * this.#key.size), this.#value.read(this.#values, i * this.#value.size)];
    }
  }

  #grow(): void {
    const [keys, values] = [this.#keys, this.#values];
    this.#keys = new Uint8Array(keys.length * 2);
    this.#values = new Uint8Array(values.length * 2);
    this.#keys.set(keys);
    this.#values.set(values);
  }
}
