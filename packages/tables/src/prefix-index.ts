import { TableError } from './errors.ts';
import type { ChangeCursor, Table } from './types.ts';

/** The first `bits` bits of 16 bytes. IPv4 is ::ffff:a.b.c.d, so its /24 has 120 bits. */
export interface BitPrefix {
  /** 16 bytes; those past `bits` do not count. */
  readonly bytes: Uint8Array;
  readonly bits: number;
}

export interface PrefixMatch<Value> {
  readonly bits: number;
  readonly value: Value;
}

/** Prefix → value with longest match. One hash map a prefix length: a lookup costs the lengths in use, not the prefixes. */
export class PrefixIndex<Value> {
  readonly #byBits = new Map<number, Map<string, Value>>();
  /** Lengths in use, longest first. */
  #lengths: number[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Inserts or replaces; returns the value that was there. */
  set({ bytes, bits }: BitPrefix, value: Value): Value | undefined {
    const key = prefixKey(bytes, bits);
    const values = this.#byBits.get(bits) ?? this.#addLength(bits);
    const before = values.get(key);
    if (!values.has(key)) this.#size += 1;
    values.set(key, value);
    return before;
  }

  /** True when there was one. */
  delete({ bytes, bits }: BitPrefix): boolean {
    const values = this.#byBits.get(bits);
    if (values?.delete(prefixKey(bytes, bits)) !== true) return false;
    this.#size -= 1;
    if (values.size === 0) {
      this.#byBits.delete(bits);
      this.#lengths = this.#lengths.filter(length => length !== bits);
    }
    return true;
  }

  exact({ bytes, bits }: BitPrefix): Value | undefined {
    const key = prefixKey(bytes, bits);
    return this.#byBits.get(bits)?.get(key);
  }

  /** The longest prefix that contains the address (16 bytes). */
  longest(address: Uint8Array): PrefixMatch<Value> | undefined {
    for (const match of this.#matches(address, 128)) return match;
    return undefined;
  }

  /** Every prefix that contains the given one, itself included, longest first. */
  covering({ bytes, bits }: BitPrefix): readonly PrefixMatch<Value>[] {
    return [...this.#matches(bytes, bits)];
  }

  *#matches(bytes: Uint8Array, atMost: number): IterableIterator<PrefixMatch<Value>> {
    for (const bits of this.#lengths) {
      if (bits > atMost) continue;
      const values = this.#byBits.get(bits);
      const key = prefixKey(bytes, bits);
      const value = values?.get(key);
      if (value !== undefined || values?.has(key) === true) yield { bits, value: value as Value };
    }
  }

  #addLength(bits: number): Map<string, Value> {
    const values = new Map<string, Value>();
    this.#byBits.set(bits, values);
    this.#lengths = [...this.#lengths, bits].sort((a, b) => b - a);
    return values;
  }
}

/** A longest-prefix index over a table. It catches up with the table at each lookup, so it is never behind it. */
export class TablePrefixIndex<Row> {
  readonly #index = new PrefixIndex<ReadonlyMap<string, Row>>();
  readonly #prefixes = new Map<string, readonly BitPrefix[]>();
  readonly #cursor: ChangeCursor<Row>;
  readonly #prefixesOf: (row: Row) => readonly BitPrefix[];
  readonly #table: Pick<Table<Row>, 'revision'>;
  /** Revision of the table that the index has. */
  #revision = 0;

  constructor(table: Table<Row, never> | Table<Row>, prefixesOf: (row: Row) => readonly BitPrefix[]) {
    this.#table = table;
    this.#cursor = table.changes();
    this.#prefixesOf = prefixesOf;
  }

  /** Rows of the longest prefix that contains the address (16 bytes); more than one when rows share the prefix. */
  longest(address: Uint8Array): readonly Row[] {
    this.#catchUp();
    return [...(this.#index.longest(address)?.value.values() ?? [])];
  }

  exact(prefix: BitPrefix): readonly Row[] {
    this.#catchUp();
    return [...(this.#index.exact(prefix)?.values() ?? [])];
  }

  /** Rows of every prefix that contains the given one, longest first. */
  covering(prefix: BitPrefix): readonly Row[] {
    this.#catchUp();
    return this.#index.covering(prefix).flatMap(match => [...match.value.values()]);
  }

  close(): void {
    this.#cursor.close();
  }

  #catchUp(): void {
    if (this.#table.revision === this.#revision) return;
    this.#revision = this.#table.revision;
    for (const { key, row, deleted } of this.#cursor.next()) {
      for (const prefix of this.#prefixes.get(key) ?? []) this.#drop(prefix, key);
      this.#prefixes.delete(key);
      if (deleted) continue;
      const prefixes = this.#prefixesOf(row);
      this.#prefixes.set(key, prefixes);
      for (const prefix of prefixes) this.#index.set(prefix, new Map(this.#index.exact(prefix)).set(key, row));
    }
  }

  #drop(prefix: BitPrefix, key: string): void {
    const rows = new Map(this.#index.exact(prefix));
    rows.delete(key);
    if (rows.size === 0) this.#index.delete(prefix);
    else this.#index.set(prefix, rows);
  }
}

/** The prefix's bits as text, the rest zero: eight 16-bit units. */
function prefixKey(bytes: Uint8Array, bits: number): string {
  if (bytes.length !== 16 || !Number.isInteger(bits) || bits < 0 || bits > 128) {
    const details = { bits, bytes: bytes.length };
    throw new TableError('BAD_PREFIX', details, `a prefix has 16 bytes and 0 to 128 bits, not ${bits}`);
  }
  const units: number[] = [];
  for (let i = 0, left = bits; i < 16 && left > 0; i += 2, left -= 16) {
    const unit = ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    units.push(left >= 16 ? unit : unit & (0xffff << (16 - left)));
  }
  return String.fromCharCode(...units);
}
