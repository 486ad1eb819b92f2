/**
 * The kernel as a small interface (STYLE rule 6). `BpfMap` has two implementations: the real one over libbpf and a fake
 * that is as strict (max entries, batch semantics, byte copies) and can be told to fail.
 */

import type { EntryBatch } from './entry-batch.ts';

/** Fixed-size binary layout, generated from BTF in @ciliate/abi. */
export interface Codec<T> {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Writes `value` at `offset`; every byte of the range is written, padding as zero. */
  write(value: T, target: Uint8Array, offset: number): void;
  read(source: Uint8Array, offset: number): T;
}

export interface BpfMap<K, V> {
  readonly name: string;
  readonly type: string;
  readonly maxEntries: number;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
  lookup(key: K): V | undefined;
  /** Inserts or replaces. Throws MapError MAP_FULL (with name, size and the option to raise). */
  put(key: K, value: V): void;
  /** Throws MapError MAP_EXISTS when the key is there. */
  create(key: K, value: V): void;
  /** False when there was nothing. */
  remove(key: K): boolean;
  /** In the kernel's order; entries that come or go meanwhile may be missed or doubled. */
  entries(): IterableIterator<[K, V]>;
  keys(): IterableIterator<K>;
  /** Entries now. Counted by walking unless the kernel tells. */
  count(): number;
  /** In order; a failure leaves those before it. */
  putBatch(entries: readonly (readonly [K, V])[] | EntryBatch<K, V>): void;
  removeBatch(keys: readonly K[]): void;
  close(): void;
}

/** Per-CPU value maps: a lookup gives one value per possible CPU. */
export interface PerCpuMap<K, V> {
  readonly name: string;
  readonly maxEntries: number;
  lookup(key: K): readonly V[] | undefined;
  entries(): IterableIterator<[K, readonly V[]]>;
  close(): void;
}
