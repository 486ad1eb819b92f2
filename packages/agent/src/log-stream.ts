/** Standard output that never blocks: lines go out at once, in order, unless whoever reads them has stopped. */
import { constants, fstatSync, openSync, writeSync } from 'node:fs';

/** Bytes that may wait for the reader. */
const backlog = 1 << 20;
/** Milliseconds between tries while there is something that waits. */
const patience = 100;
/** Tries to get rid of the rest when the process ends. */
const lastTries = 10;

export interface LogStreamEvents {
  /** The reader has caught up, after so many lines had to be left out. */
  readonly caughtUp: (lost: number) => void;
}

/** A destination of pino. Errors other than a full pipe are swallowed: there is nowhere to tell them. */
export class LogStream {
  readonly #fd: number;
  readonly #events: LogStreamEvents;
  #waiting: Buffer[] = [];
  #bytes = 0;
  #lost = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(fd: number, events: LogStreamEvents) {
    this.#fd = nonBlocking(fd);
    this.#events = events;
    process.once('exit', () => this.#finish());
  }

  /** A whole line with its newline. */
  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#bytes + bytes.length > backlog) {
      this.#lost += 1;
      return;
    }
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
    if (this.#timer === undefined) this.#flush();
  }

  /** False: the reader has to go on first. */
  #flush(): boolean {
    this.#timer = undefined;
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const written = put(this.#fd, first);
      this.#bytes -= written;
      if (written < first.length) {
        this.#waiting[0] = first.subarray(written);
        this.#timer = setTimeout(() => this.#flush(), patience).unref();
        return false;
      }
      this.#waiting.shift();
    }
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      this.#events.caughtUp(lost);
    }
    return true;
  }

  #finish(): void {
    const pause = new Int32Array(new SharedArrayBuffer(4));
    for (let tries = 0; tries < lastTries && !this.#flush(); tries += 1) Atomics.wait(pause, 0, 0, patience);
  }
}

/** Bytes that went out; all of them when they never will. */
function put(fd: number, bytes: Buffer): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EAGAIN' ? 0 : bytes.length;
  }
}

/** A pipe is opened once more, because its flags are shared with whoever else writes into it. */
function nonBlocking(fd: number): number {
  try {
    const kind = fstatSync(fd);
    if (kind.isFIFO()) return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
    // A socket (systemd's journal) cannot be opened again; it is made non-blocking by whoever makes a stream of it.
    if (kind.isSocket()) process.stdout.on('error', () => undefined);
  } catch {
    // Without /proc, or without a standard output: as it is.
  }
  return fd;
}
