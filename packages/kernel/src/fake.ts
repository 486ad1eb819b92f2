/** A map without a kernel, as strict as the kernel's, and one that fails on purpose (STYLE rule 6). */
import { EntryBatch } from './entry-batch.ts';
import { KernelError } from './errors.ts';
import { type MapDescription, mapFull } from './map.ts';
import type { BpfMap, Codec } from './types.ts';

export class FakeMap<K, V> implements BpfMap<K, V> {
  readonly name: string;
  readonly type: string;
  readonly maxEntries: number;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
  readonly #entries = new Map<string, Uint8Array>();

  constructor(spec: MapDescription<K, V> & { readonly maxEntries: number }) {
    this.name = spec.name;
    this.type = spec.type;
    this.maxEntries = spec.maxEntries;
    this.key = spec.key;
    this.value = spec.value;
  }

  #keyText(key: K): string {
    const bytes = Buffer.alloc(this.key.size);
    this.key.write(key, bytes, 0);
    return bytes.toString('latin1');
  }

  lookup(key: K): V | undefined {
    const bytes = this.#entries.get(this.#keyText(key));
    return bytes === undefined ? undefined : this.value.read(bytes, 0);
  }

  put(key: K, value: V): void {
    const text = this.#keyText(key);
    if (!this.#entries.has(text) && this.#entries.size >= this.maxEntries) {
      if (!this.type.startsWith('lru')) throw mapFull(this.name, this.maxEntries);
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    const bytes = new Uint8Array(this.value.size);
    this.value.write(value, bytes, 0);
    this.#entries.set(text, bytes);
  }

  create(key: K, value: V): void {
    if (this.#entries.has(this.#keyText(key)))
      throw new KernelError({ code: 'MAP_EXISTS', map: this.name }, `${this.name}: the key is there already`);
    this.put(key, value);
  }

  remove(key: K): boolean {
    return this.#entries.delete(this.#keyText(key));
  }

  *entries(): IterableIterator<[K, V]> {
    for (const [key, value] of [...this.#entries])
      yield [this.key.read(new Uint8Array(Buffer.from(key, 'latin1')), 0), this.value.read(value, 0)];
  }

  *keys(): IterableIterator<K> {
    for (const [key] of this.entries()) yield key;
  }

  count(): number {
    return this.#entries.size;
  }

  putBatch(entries: readonly (readonly [K, V])[] | EntryBatch<K, V>): void {
    for (const [key, value] of entries instanceof EntryBatch ? entries.entries() : entries) this.put(key, value);
  }

  removeBatch(keys: readonly K[]): void {
    for (const key of keys) this.remove(key);
  }

  close(): void {
    // Nothing is held.
  }
}

/** A small generator with a seed (mulberry32), so that a failing run can be repeated. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Passes on to `map`, but fails at `rate` of the writes, before anything is changed. */
export class FaultyMap<K, V> implements BpfMap<K, V> {
  readonly name: string;
  readonly type: string;
  readonly maxEntries: number;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
  readonly #map: BpfMap<K, V>;
  readonly #random: () => number;
  readonly #rate: number;

  constructor(map: BpfMap<K, V>, options: { readonly rate: number; readonly seed: number }) {
    this.#map = map;
    this.#rate = options.rate;
    this.#random = seededRandom(options.seed);
    this.name = map.name;
    this.type = map.type;
    this.maxEntries = map.maxEntries;
    this.key = map.key;
    this.value = map.value;
  }

  #maybeFail(what: string): void {
    if (this.#random() < this.#rate)
      throw new KernelError(
        { code: 'SYSCALL', errno: 'EAGAIN', map: this.name },
        `${what} ${this.name}: injected fault`,
      );
  }

  lookup(key: K): V | undefined {
    return this.#map.lookup(key);
  }

  put(key: K, value: V): void {
    this.#maybeFail('update of');
    this.#map.put(key, value);
  }

  create(key: K, value: V): void {
    this.#maybeFail('update of');
    this.#map.create(key, value);
  }

  remove(key: K): boolean {
    this.#maybeFail('delete from');
    return this.#map.remove(key);
  }

  entries(): IterableIterator<[K, V]> {
    return this.#map.entries();
  }

  keys(): IterableIterator<K> {
    return this.#map.keys();
  }

  count(): number {
    return this.#map.count();
  }

  putBatch(entries: readonly (readonly [K, V])[] | EntryBatch<K, V>): void {
    this.#maybeFail('update of');
    this.#map.putBatch(entries);
  }

  removeBatch(keys: readonly K[]): void {
    this.#maybeFail('delete from');
    this.#map.removeBatch(keys);
  }

  close(): void {
    this.#map.close();
  }
}
