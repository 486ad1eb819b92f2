/** BpfMap over a file descriptor. Buffers are allocated once per map; calls are synchronous (about 1 µs each). */
import { EntryBatch } from './entry-batch.ts';
import { errnoName, KernelError, syscallError } from './errors.ts';
import { bpf, c, errno } from './ffi.ts';
import { mapInfo } from './info.ts';
import type { BpfMap, Codec, PerCpuMap } from './types.ts';

const BPF_ANY = 0;
const BPF_NOEXIST = 1;
const batchSize = 4096;
/** How kernels say that a type of map has no batches. */
const unsupported: readonly string[] = ['ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'errno 524'];

/** Kernel numbers of map types (enum bpf_map_type) by our names. */
export const mapTypeNumbers: Readonly<Record<string, number>> = {
  hash: 1,
  array: 2,
  prog_array: 3,
  percpu_hash: 5,
  percpu_array: 6,
  lru_hash: 9,
  lru_percpu_hash: 10,
  lpm_trie: 11,
  array_of_maps: 12,
  hash_of_maps: 13,
  sk_storage: 24,
  ringbuf: 27,
};

/** What a generated map description has; MapSpec of @ciliate/abi fits. */
export interface MapDescription<K, V> {
  readonly name: string;
  readonly type: string;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
}

export function mapTypeName(type: number): string {
  return Object.entries(mapTypeNumbers).find(([, number]) => number === type)?.[0] ?? `type ${type}`;
}

/** Options that raise the size of a map, for the message of MAP_FULL. */
const sizeOptions: Readonly<Record<string, string>> = {
  lb_services: '--bpf-lb-map-max',
  lb_backends: '--bpf-lb-map-max',
  lb_revnat: '--bpf-lb-map-max',
  lb_affinity_match: '--bpf-lb-map-max',
  lb_source_ranges: '--bpf-lb-map-max',
  ct: '--bpf-ct-global-max',
  nat: '--bpf-nat-global-max',
};

export function mapFull(name: string, maxEntries: number, cause?: unknown): KernelError {
  const option = sizeOptions[name];
  const remedy = option === undefined ? 'remove entries, or build with a larger size' : `raise ${option}`;
  return new KernelError(
    { code: 'MAP_FULL', map: name, maxEntries },
    `${name} is full (${maxEntries} entries): ${remedy}`,
    { cause },
  );
}

export function openPinned(path: string): number {
  const fd = bpf.get(path);
  if (fd < 0) {
    const name = errnoName(errno());
    throw new KernelError(
      { code: name === 'ENOENT' ? 'MAP_NOT_FOUND' : 'SYSCALL', errno: name, path },
      `open ${path}: ${name}`,
    );
  }
  return fd;
}

/** Throws MAP_ABI_MISMATCH when the map behind `fd` has other sizes than `spec` says. */
export function checkLayout(fd: number, spec: MapDescription<unknown, unknown>): void {
  const info = mapInfo(fd);
  const isBuffer = spec.type === 'ringbuf';
  const type = mapTypeNumbers[spec.type];
  if (info.type === type && (isBuffer || (info.keySize === spec.key.size && info.valueSize === spec.value.size)))
    return;
  throw new KernelError(
    { code: 'MAP_ABI_MISMATCH', map: spec.name },
    `the pinned map ${spec.name} is of another version (type ${mapTypeName(info.type)}, key ${info.keySize}, value ${info.valueSize} bytes; ` +
      `wanted ${spec.type}, ${spec.key.size}, ${spec.value.size}): start the version that made it, or remove the pin when no pod runs`,
  );
}

export class KernelMap<K, V> implements BpfMap<K, V> {
  readonly name: string;
  readonly type: string;
  readonly maxEntries: number;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
  readonly fd: number;
  readonly #key: Uint8Array;
  readonly #value: Uint8Array;
  /** Undefined: not tried yet. Tries have batches in newer kernels alone. */
  #batch: boolean | undefined;

  /** Takes the descriptor over: close() closes it. Throws MAP_ABI_MISMATCH. */
  constructor(fd: number, spec: MapDescription<K, V>) {
    checkLayout(fd, spec);
    this.fd = fd;
    this.name = spec.name;
    this.type = spec.type;
    this.key = spec.key;
    this.value = spec.value;
    this.maxEntries = mapInfo(fd).maxEntries;
    this.#key = new Uint8Array(spec.key.size);
    this.#value = new Uint8Array(spec.value.size);
    this.#batch = spec.type === 'lpm_trie' ? undefined : true;
  }

  lookup(key: K): V | undefined {
    this.key.write(key, this.#key, 0);
    if (bpf.lookup(this.fd, this.#key, this.#value) === 0) return this.value.read(this.#value, 0);
    const code = errno();
    if (errnoName(code) === 'ENOENT') return undefined;
    throw syscallError(`lookup in ${this.name}`, code, { map: this.name });
  }

  put(key: K, value: V): void {
    this.#update(key, value, BPF_ANY);
  }

  create(key: K, value: V): void {
    this.#update(key, value, BPF_NOEXIST);
  }

  #update(key: K, value: V, flags: number): void {
    this.key.write(key, this.#key, 0);
    this.value.write(value, this.#value, 0);
    if (bpf.update(this.fd, this.#key, this.#value, flags) !== 0) throw this.#updateError(errno());
  }

  #updateError(code: number): KernelError {
    const name = errnoName(code);
    const cause = syscallError(`update of ${this.name}`, code, { map: this.name });
    if (name === 'E2BIG' || name === 'ENOSPC') return mapFull(this.name, this.maxEntries, cause);
    if (name === 'EEXIST')
      return new KernelError({ code: 'MAP_EXISTS', map: this.name }, `${this.name}: the key is there already`, {
        cause,
      });
    return cause;
  }

  remove(key: K): boolean {
    this.key.write(key, this.#key, 0);
    if (bpf.delete(this.fd, this.#key) === 0) return true;
    const code = errno();
    if (errnoName(code) === 'ENOENT') return false;
    throw syscallError(`delete from ${this.name}`, code, { map: this.name });
  }

  *entries(): IterableIterator<[K, V]> {
    if (this.#hasBatches()) {
      yield* this.#entriesByBatch();
      return;
    }
    for (const key of this.keys()) {
      const value = this.lookup(key);
      if (value !== undefined) yield [key, value];
    }
  }

  #hasBatches(): boolean {
    this.#batch ??= this.#tryBatch();
    return this.#batch;
  }

  #tryBatch(): boolean {
    const token = new Uint8Array(Math.max(4, this.key.size));
    const failed = bpf.lookupBatch(this.fd, null, token, this.#key, this.#value, [1], null) !== 0;
    return !failed || !unsupported.includes(errnoName(errno()));
  }

  *#entriesByBatch(): IterableIterator<[K, V]> {
    for (const { keys, values, count } of this.#batches()) {
      for (let index = 0; index < count; index += 1) {
        yield [this.key.read(keys, index * this.key.size), this.value.read(values, index * this.value.size)];
      }
    }
  }

  /** The bytes of some entries after the other; the buffers are used again for the next. */
  *#batches(): IterableIterator<{ readonly keys: Uint8Array; readonly values: Uint8Array; readonly count: number }> {
    const keys = new Uint8Array(batchSize * this.key.size);
    const values = new Uint8Array(batchSize * this.value.size);
    let from: Uint8Array | null = null;
    let next = new Uint8Array(Math.max(4, this.key.size));
    for (;;) {
      const count: [number] = [batchSize];
      const failed = bpf.lookupBatch(this.fd, from, next, keys, values, count, null) !== 0;
      const name = failed ? errnoName(errno()) : '';
      if (failed && name !== 'ENOENT') throw syscallError(`batch lookup in ${this.name}`, errno(), { map: this.name });
      yield { keys, values, count: count[0] };
      if (failed) return;
      from = next;
      next = new Uint8Array(next.length);
    }
  }

  *keys(): IterableIterator<K> {
    let from: Uint8Array | null = null;
    for (;;) {
      const next = new Uint8Array(this.key.size);
      if (bpf.nextKey(this.fd, from, next) !== 0) return;
      yield this.key.read(next, 0);
      from = next;
    }
  }

  count(): number {
    let count = 0;
    if (this.#hasBatches()) for (const batch of this.#batches()) count += batch.count;
    else for (const _key of this.keys()) count += 1;
    return count;
  }

  putBatch(entries: readonly (readonly [K, V])[] | EntryBatch<K, V>): void {
    const batch = entries instanceof EntryBatch ? entries : this.#encoded(entries);
    for (let start = 0; start < batch.count; start += batchSize) {
      const { keys, values } = batch.part(start, batchSize);
      const count: [number] = [Math.min(batchSize, batch.count - start)];
      if (bpf.updateBatch(this.fd, keys, values, count, null) === 0) continue;
      const code = errno();
      if (!unsupported.includes(errnoName(code))) throw this.#updateError(code);
      for (const [key, value] of batch.entries()) this.put(key, value);
      return;
    }
  }

  #encoded(entries: readonly (readonly [K, V])[]): EntryBatch<K, V> {
    const batch = new EntryBatch(this, Math.max(1, entries.length));
    for (const [key, value] of entries) batch.add(key, value);
    return batch;
  }

  removeBatch(keys: readonly K[]): void {
    // The kernel's batch delete stops at the first key that is gone, so it is used as what it is: an optimization.
    for (const key of keys) this.remove(key);
  }

  close(): void {
    c.close(this.fd);
  }
}

/** Reader of per-CPU maps: values are padded to 8 bytes for each possible CPU (kernel: bpf_map_value_size). */
export class KernelPerCpuMap<K, V> implements PerCpuMap<K, V> {
  readonly name: string;
  readonly maxEntries: number;
  readonly fd: number;
  readonly #spec: MapDescription<K, V>;
  readonly #cpus = bpf.numPossibleCpus();
  readonly #stride: number;

  constructor(fd: number, spec: MapDescription<K, V>) {
    checkLayout(fd, spec);
    this.fd = fd;
    this.name = spec.name;
    this.#spec = spec;
    this.maxEntries = mapInfo(fd).maxEntries;
    this.#stride = Math.ceil(spec.value.size / 8) * 8;
  }

  lookup(key: K): readonly V[] | undefined {
    const bytes = new Uint8Array(this.#spec.key.size);
    this.#spec.key.write(key, bytes, 0);
    return this.#lookupBytes(bytes);
  }

  #lookupBytes(key: Uint8Array): readonly V[] | undefined {
    const values = new Uint8Array(this.#stride * this.#cpus);
    if (bpf.lookup(this.fd, key, values) !== 0) return undefined;
    return Array.from({ length: this.#cpus }, (_, cpu) => this.#spec.value.read(values, cpu * this.#stride));
  }

  *entries(): IterableIterator<[K, readonly V[]]> {
    let from: Uint8Array | null = null;
    for (;;) {
      const next = new Uint8Array(this.#spec.key.size);
      if (bpf.nextKey(this.fd, from, next) !== 0) return;
      const values = this.#lookupBytes(next);
      if (values !== undefined) yield [this.#spec.key.read(next, 0), values];
      from = next;
    }
  }

  close(): void {
    c.close(this.fd);
  }
}
