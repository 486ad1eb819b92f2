/**
 * Maps of maps: an inner map is filled aside and then put in the place of the one before, so a program sees the old content or the new
 * one, never half of either. The kernel waits for running programs after each such update (maybe_wait_bpf_programs, kernel/bpf/syscall.c):
 * replaceAll does so once for many.
 */
import { errnoName, syscallError } from './errors.ts';
import { bpf, c, errno } from './ffi.ts';
import { KernelMap, type MapDescription, mapFull, mapTypeNumbers } from './map.ts';
import type { BpfMap, Codec } from './types.ts';

/** What a generated description of a map of maps says about its inner maps. */
export interface InnerDescription<K, V> extends MapDescription<K, V> {
  readonly maxEntries: number;
  /** BPF_F_* */
  readonly flags: number;
}

/** New content of one inner map. */
export interface InnerContent<O, K, V> {
  readonly key: O;
  readonly entries: readonly (readonly [K, V])[];
}

export interface MapOfMaps<O, K, V> {
  readonly name: string;
  readonly maxEntries: number;
  /** Entries that an inner map may have. */
  readonly innerMaxEntries: number;
  /** The content under `key` becomes `entries`. Throws MAP_FULL (outer or inner), and then nothing has changed. */
  replace(key: O, entries: readonly (readonly [K, V])[]): void;
  /** Many at once; a failure leaves each either as it was or as wanted. */
  replaceAll(contents: readonly InnerContent<O, K, V>[]): void;
  /**
   * In the inner map that is in use, one at a time and in this order: first `puts`, then `removes`. False when there is none. A failure leaves
   * it half done.
   */
  patch(key: O, puts: readonly (readonly [K, V])[], removes: readonly K[]): boolean;
  /** Undefined: nothing is there. */
  read(key: O): readonly (readonly [K, V])[] | undefined;
  /** Entry by entry; undefined: nothing is there. To be read to its end, or closed with return(). */
  scan(key: O): IterableIterator<readonly [K, V]> | undefined;
  /** False when there was nothing. */
  remove(key: O): boolean;
  keys(): IterableIterator<O>;
  count(): number;
  close(): void;
}

/** BPF_F_NO_PREALLOC */
const noPrealloc = 1;
const optsSize = 48;
/** Offset of map_flags in struct bpf_map_create_opts of libbpf 1.1. */
const optsFlags = 28;

/** A map that nobody has pinned; closing the descriptor frees it unless it is in a map of maps. */
export function createMap(spec: InnerDescription<unknown, unknown>, maxEntries = spec.maxEntries): number {
  const opts = new DataView(new ArrayBuffer(optsSize));
  opts.setBigUint64(0, BigInt(optsSize), true);
  opts.setUint32(optsFlags, spec.flags, true);
  const type = mapTypeNumbers[spec.type] ?? 0;
  const name = spec.name.slice(0, 15);
  const fd = bpf.mapCreate(type, name, spec.key.size, spec.value.size, maxEntries, new Uint8Array(opts.buffer));
  if (fd < 0) throw syscallError(`make a map like ${spec.name}`, errno(), { map: spec.name });
  return fd;
}

export class KernelMapOfMaps<O, K, V> implements MapOfMaps<O, K, V> {
  readonly name: string;
  readonly maxEntries: number;
  readonly innerMaxEntries: number;
  readonly #outer: KernelMap<O, number>;
  readonly #inner: InnerDescription<K, V>;

  /** Takes the descriptor over. `inner` may have another size than the generated description says. */
  constructor(fd: number, spec: MapDescription<O, number>, inner: InnerDescription<K, V>) {
    this.#outer = new KernelMap(fd, spec);
    this.#inner = inner;
    this.name = spec.name;
    this.maxEntries = this.#outer.maxEntries;
    this.innerMaxEntries = inner.maxEntries;
  }

  replace(key: O, entries: readonly (readonly [K, V])[]): void {
    this.replaceAll([{ key, entries }]);
  }

  replaceAll(contents: readonly InnerContent<O, K, V>[]): void {
    const made: (readonly [O, number])[] = [];
    try {
      for (const { key, entries } of contents) made.push([key, this.#fill(entries)]);
      const [first] = made;
      if (first !== undefined && made.length === 1) this.#outer.put(...first);
      else this.#outer.putBatch(made);
    } finally {
      for (const [, fd] of made) c.close(fd);
    }
  }

  #fill(entries: readonly (readonly [K, V])[]): number {
    if (entries.length > this.innerMaxEntries) throw mapFull(this.name, this.innerMaxEntries);
    const fd = createMap(this.#inner, this.#sizeFor(entries.length));
    try {
      const map = new KernelMap(fd, this.#inner);
      map.putBatch(entries);
    } catch (error) {
      c.close(fd);
      throw error;
    }
    return fd;
  }

  /** Arrays have the size of their template. What takes memory by its entries alone may grow; others get what they need. */
  #sizeFor(entries: number): number {
    const grows = (this.#inner.flags & noPrealloc) !== 0;
    return this.#inner.type === 'array' || grows ? this.#inner.maxEntries : Math.max(1, entries);
  }

  patch(key: O, puts: readonly (readonly [K, V])[], removes: readonly K[]): boolean {
    const map = this.#open(key);
    if (map === undefined) return false;
    try {
      for (const [k, value] of puts) map.put(k, value);
      for (const k of removes) map.remove(k);
      return true;
    } finally {
      map.close();
    }
  }

  read(key: O): readonly (readonly [K, V])[] | undefined {
    const entries = this.scan(key);
    return entries === undefined ? undefined : [...entries];
  }

  scan(key: O): IterableIterator<readonly [K, V]> | undefined {
    const map = this.#open(key);
    return map === undefined ? undefined : closing(map);
  }

  #open(key: O): KernelMap<K, V> | undefined {
    const id = this.#outer.lookup(key);
    if (id === undefined) return undefined;
    const fd = bpf.mapById(id);
    if (fd >= 0) return new KernelMap(fd, this.#inner);
    // Replaced since the lookup.
    if (errnoName(errno()) === 'ENOENT') return this.#open(key);
    throw syscallError(`open the inner map of ${this.name}`, errno(), { map: this.name });
  }

  remove(key: O): boolean {
    return this.#outer.remove(key);
  }

  keys(): IterableIterator<O> {
    return this.#outer.keys();
  }

  count(): number {
    return this.#outer.count();
  }

  close(): void {
    this.#outer.close();
  }
}

function* closing<K, V>(map: KernelMap<K, V>): IterableIterator<readonly [K, V]> {
  try {
    yield* map.entries();
  } finally {
    map.close();
  }
}

/** Without a kernel, as strict. */
export class FakeMapOfMaps<O, K, V> implements MapOfMaps<O, K, V> {
  readonly name: string;
  readonly maxEntries: number;
  readonly innerMaxEntries: number;
  readonly #outer: BpfMap<O, number>;
  readonly #inner = new Map<number, (readonly [K, V])[]>();
  readonly #codecs: { readonly key: Codec<K>; readonly value: Codec<V> };
  #next = 1;

  /** `outer` holds the numbers of the inner ones: a FakeMap, or a FaultyMap around one. */
  constructor(outer: BpfMap<O, number>, inner: InnerDescription<K, V>) {
    this.#outer = outer;
    this.#codecs = inner;
    this.name = outer.name;
    this.maxEntries = outer.maxEntries;
    this.innerMaxEntries = inner.maxEntries;
  }

  replace(key: O, entries: readonly (readonly [K, V])[]): void {
    if (entries.length > this.innerMaxEntries) throw mapFull(this.name, this.innerMaxEntries);
    const number = this.#next;
    this.#next += 1;
    const before = this.#outer.lookup(key);
    this.#outer.put(key, number);
    if (before !== undefined) this.#inner.delete(before);
    this.#inner.set(
      number,
      entries.map(([k, v]) => [copy(this.#codecs.key, k), copy(this.#codecs.value, v)] as const),
    );
  }

  replaceAll(contents: readonly InnerContent<O, K, V>[]): void {
    for (const { key, entries } of contents) this.replace(key, entries);
  }

  patch(key: O, puts: readonly (readonly [K, V])[], removes: readonly K[]): boolean {
    const inner = this.#inner.get(this.#outer.lookup(key) ?? 0);
    if (inner === undefined) return false;
    const indexOf = (wanted: K) => inner.findIndex(([k]) => this.#bytes(k) === this.#bytes(wanted));
    for (const [k, v] of puts) {
      const at = indexOf(k);
      const entry = [copy(this.#codecs.key, k), copy(this.#codecs.value, v)] as const;
      if (at < 0 && inner.length >= this.innerMaxEntries) throw mapFull(this.name, this.innerMaxEntries);
      inner.splice(at < 0 ? inner.length : at, at < 0 ? 0 : 1, entry);
    }
    for (const k of removes) if (indexOf(k) >= 0) inner.splice(indexOf(k), 1);
    return true;
  }

  #bytes(key: K): string {
    const bytes = new Uint8Array(this.#codecs.key.size);
    this.#codecs.key.write(key, bytes, 0);
    return String.fromCharCode(...bytes);
  }

  read(key: O): readonly (readonly [K, V])[] | undefined {
    const number = this.#outer.lookup(key);
    return number === undefined ? undefined : this.#inner.get(number);
  }

  scan(key: O): IterableIterator<readonly [K, V]> | undefined {
    return this.read(key)?.[Symbol.iterator]();
  }

  remove(key: O): boolean {
    const number = this.#outer.lookup(key);
    const removed = this.#outer.remove(key);
    if (removed && number !== undefined) this.#inner.delete(number);
    return removed;
  }

  keys(): IterableIterator<O> {
    return this.#outer.keys();
  }

  count(): number {
    return this.#outer.count();
  }

  close(): void {
    this.#outer.close();
  }
}

/** What the kernel would give back: through bytes. */
function copy<T>(codec: Codec<T>, value: T): T {
  const bytes = new Uint8Array(codec.size);
  codec.write(value, bytes, 0);
  return codec.read(bytes, 0);
}
