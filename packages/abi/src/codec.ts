/** Fixed-size binary layout of a C type. Structurally equal to the Codec of @ciliate/kernel, so that neither imports the other. */
export interface Codec<T> {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Writes `value` at `offset`; every byte of the range is written, padding as zero. */
  write(value: T, target: Uint8Array, offset: number): void;
  read(source: Uint8Array, offset: number): T;
}

/** 16 bytes in network byte order; IPv4 as ::ffff:a.b.c.d. */
export type AddressBytes = Uint8Array;

/** A map as C declares it: sizes are the defaults, options set others before load. */
export interface MapSpec<K, V> {
  readonly name: string;
  /** Kernel name in lower case: 'hash', 'lru_hash', 'lpm_trie' … */
  readonly type: string;
  /** Entries; bytes for a ring buffer. */
  readonly maxEntries: number;
  /** BPF_F_* flags. */
  readonly flags: number;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
}

export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  const bytes = new Uint8Array(codec.size);
  codec.write(value, bytes, 0);
  return bytes;
}

/** Throws RangeError when `bytes` is shorter than the type. */
export function decode<T>(codec: Codec<T>, bytes: Uint8Array): T {
  if (bytes.length < codec.size) throw new RangeError(`${codec.name}: ${bytes.length} bytes, ${codec.size} needed`);
  return codec.read(bytes, 0);
}
