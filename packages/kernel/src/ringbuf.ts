/**
 * A BPF ring buffer, read in place (Documentation/bpf/ringbuf.rst): a consumer page that we write, a producer page and the data
 * twice in a row, so that a record never wraps. A record is a 4-byte length with two flag bits, 4 bytes of the kernel's, the data.
 */
import { syscallError } from './errors.ts';
import { c, errno, type Pointer, viewMemory } from './ffi.ts';
import { mapInfo } from './info.ts';

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const pageSize = 4096;
const busyBit = 0x80000000;
const discardBit = 0x40000000;
const failed = 0xffffffffffffffffn;

function map(fd: number, length: number, protection: number, offset: number): Pointer {
  const address = c.mmap(null, length, protection, MAP_SHARED, fd, offset);
  if (BigInt.asUintN(64, address) === failed) throw syscallError('mmap of a ring buffer', errno());
  return address;
}

export class RingBuffer {
  readonly #size: number;
  readonly #consumer: BigUint64Array;
  readonly #producer: BigUint64Array;
  readonly #data: Uint8Array;
  readonly #view: DataView;
  readonly #mappings: readonly (readonly [Pointer, number])[];

  constructor(fd: number) {
    this.#size = mapInfo(fd).maxEntries;
    const consumer = map(fd, pageSize, PROT_READ | PROT_WRITE, 0);
    const length = pageSize + 2 * this.#size;
    const producer = map(fd, length, PROT_READ, pageSize);
    this.#mappings = [
      [consumer, pageSize],
      [producer, length],
    ];
    this.#consumer = new BigUint64Array(viewMemory(consumer, 8));
    const shared = viewMemory(producer, length);
    this.#producer = new BigUint64Array(shared, 0, 1);
    this.#data = new Uint8Array(shared, pageSize);
    this.#view = new DataView(shared, pageSize);
  }

  /** Passes over what is there. */
  skip(): void {
    this.read(() => undefined);
  }

  /** Hands every finished record to `consume`; the bytes are valid during the call alone. Returns how many. */
  read(consume: (record: Uint8Array) => void): number {
    let position = this.#consumer[0] ?? 0n;
    let records = 0;
    while (position < (this.#producer[0] ?? 0n)) {
      const offset = Number(position % BigInt(this.#size));
      const head = this.#view.getUint32(offset, true);
      if ((head & busyBit) !== 0) break;
      const length = head & ~discardBit;
      if ((head & discardBit) === 0) {
        consume(this.#data.subarray(offset + 8, offset + 8 + length));
        records += 1;
      }
      position += BigInt((length + 8 + 7) & ~7);
      this.#consumer[0] = position;
    }
    return records;
  }

  close(): void {
    for (const [address, length] of this.#mappings) c.munmap(address, length);
  }
}
