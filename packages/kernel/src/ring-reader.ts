/**
 * Reads a BPF ring buffer where it lies (Documentation/bpf/ringbuf.rst): positions grow for ever, the data stands twice in a row so
 * that no record wraps. A record is 4 bytes of length with two flag bits, 4 bytes of the kernel's, the data; all padded to 8.
 */
const busyBit = 0x80000000;
const discardBit = 0x40000000;
const headerSize = 8;

export interface RingMemory {
  /** One entry: how far we have read. We write it. */
  readonly consumer: BigUint64Array;
  /** One entry: how far the kernel has written. */
  readonly producer: BigUint64Array;
  /** The data, twice; starts at an address that 4 divides. */
  readonly data: Uint8Array;
}

export class RingReader {
  readonly #memory: RingMemory;
  readonly #words: Uint32Array;
  readonly #size: number;
  #overwritten = 0;

  /** `memory.data` is twice as long as the ring. */
  constructor(memory: RingMemory) {
    this.#memory = memory;
    this.#size = memory.data.length / 2;
    this.#words = new Uint32Array(memory.data.buffer, memory.data.byteOffset, memory.data.length / 4);
  }

  /** How often what lay at our position was no record any more: the writer had come round, and what there was is lost. */
  get overwritten(): number {
    return this.#overwritten;
  }

  /** Passes over what is there. */
  skip(): void {
    this.read(() => undefined);
  }

  /**
   * Hands every finished record to `consume`, at most `limit`; the bytes are valid during the call alone, nothing is copied.
   * Returns how many.
   */
  read(consume: (record: Uint8Array) => void, limit = Number.POSITIVE_INFINITY): number {
    const { consumer, producer, data } = this.#memory;
    let position = Atomics.load(consumer, 0);
    let end = Atomics.load(producer, 0);
    let records = 0;
    while (position < end && records < limit) {
      const offset = Number(position % BigInt(this.#size));
      const head = Atomics.load(this.#words, offset / 4);
      const length = (head & ~(busyBit | discardBit)) >>> 0;
      const next = position + BigInt((length + headerSize + 7) & ~7);
      if (end - position > BigInt(this.#size) || next > end) {
        this.#overwritten += 1;
        position = end;
      } else if ((head & busyBit) !== 0) {
        break;
      } else {
        if ((head & discardBit) === 0) {
          consume(data.subarray(offset + headerSize, offset + headerSize + length));
          records += 1;
        }
        position = next;
      }
      Atomics.store(consumer, 0, position);
      if (position >= end) end = Atomics.load(producer, 0);
    }
    return records;
  }
}
