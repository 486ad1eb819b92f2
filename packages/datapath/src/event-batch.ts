/**
 * Records on their way from the worker that reads the ring buffer to the main thread: one buffer for many, handed over and not copied.
 * Each record is its length (u32, little endian), its bytes, and up to 3 bytes of padding.
 */
const firstSize = 1 << 14;

const padded = (length: number): number => (length + 3) & ~3;

export class BatchWriter {
  #bytes = new Uint8Array(firstSize);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  #records = 0;

  get records(): number {
    return this.#records;
  }

  add(record: Uint8Array): void {
    const end = this.#length + 4 + padded(record.length);
    if (end > this.#bytes.length) this.#grow(end);
    this.#view.setUint32(this.#length, record.length, true);
    this.#bytes.set(record, this.#length + 4);
    this.#length = end;
    this.#records += 1;
  }

  /** What was added, and the writer is empty again. */
  take(): Uint8Array<ArrayBuffer> {
    const batch = this.#bytes.subarray(0, this.#length);
    this.#bytes = new Uint8Array(firstSize);
    this.#view = new DataView(this.#bytes.buffer);
    this.#length = 0;
    this.#records = 0;
    return batch;
  }

  #grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

/** Views of the records of a batch. */
export function* readBatch(batch: Uint8Array): IterableIterator<Uint8Array> {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  for (let offset = 0; offset < batch.length; ) {
    const length = view.getUint32(offset, true);
    yield batch.subarray(offset + 4, offset + 4 + length);
    offset += 4 + padded(length);
  }
}
