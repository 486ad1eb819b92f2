/** A BPF ring buffer map in this process's memory: a page that we write, a page that the kernel writes, the data twice. */
import { syscallError } from './errors.ts';
import { c, errno, type Pointer, viewMemory } from './ffi.ts';
import { mapInfo } from './info.ts';
import { RingReader } from './ring-reader.ts';

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const pageSize = 4096;
const failed = 0xffffffffffffffffn;
const POLLIN = 1;

function map(fd: number, length: number, protection: number, offset: number): Pointer {
  const address = c.mmap(null, length, protection, MAP_SHARED, fd, offset);
  if (BigInt.asUintN(64, address) === failed) throw syscallError('mmap of a ring buffer', errno());
  return address;
}

export class RingBuffer {
  readonly #fd: number;
  readonly #reader: RingReader;
  readonly #mappings: readonly (readonly [Pointer, number])[];

  constructor(fd: number) {
    this.#fd = fd;
    const size = mapInfo(fd).maxEntries;
    const consumer = map(fd, pageSize, PROT_READ | PROT_WRITE, 0);
    const length = pageSize + 2 * size;
    const producer = map(fd, length, PROT_READ, pageSize);
    this.#mappings = [
      [consumer, pageSize],
      [producer, length],
    ];
    const shared = viewMemory(producer, length);
    this.#reader = new RingReader({
      consumer: new BigUint64Array(viewMemory(consumer, 8)),
      producer: new BigUint64Array(shared, 0, 1),
      data: new Uint8Array(shared, pageSize),
    });
  }

  get overwritten(): number {
    return this.#reader.overwritten;
  }

  /** Passes over what is there. */
  skip(): void {
    this.#reader.skip();
  }

  /** RingReader.read */
  read(consume: (record: Uint8Array) => void, limit?: number): number {
    return this.#reader.read(consume, limit);
  }

  /** Blocks the thread until there is a record, at most `timeout` milliseconds. */
  wait(timeout: number): void {
    const fds = Buffer.alloc(8); // struct pollfd: fd, events, revents
    fds.writeInt32LE(this.#fd, 0);
    fds.writeInt16LE(POLLIN, 4);
    c.poll(fds, 1, timeout);
  }

  /** Records that were handed out must not be touched any more. */
  close(): void {
    for (const [address, length] of this.#mappings) c.munmap(address, length);
  }
}
