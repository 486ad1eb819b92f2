/**
 * When the parts of a log were written, as precisely as the kubelet looks (about a second). Containers write their logs
 * themselves, so that they need no kubelet to live; so nobody stamps each line.
 */
const most = 10_000;

export class LogClock {
  readonly #start: string;
  #marks: { readonly end: number; readonly at: string }[] = [];

  /** `start` stands for what was there before the first look; ISO 8601. */
  constructor(start: string) {
    this.#start = start;
  }

  /** The log had `size` bytes at `at`. */
  saw(size: number, at: string): void {
    if (size <= (this.#marks.at(-1)?.end ?? 0)) return;
    this.#marks.push({ end: size, at });
    if (this.#marks.length > most) this.#marks = this.#marks.slice(most / 2);
  }

  /** Time of the byte at `offset`. */
  at(offset: number, now: string): string {
    const [first] = this.#marks;
    if (first !== undefined && offset < first.end) return this.#start === '' ? first.at : this.#start;
    return this.#marks.find(mark => offset < mark.end)?.at ?? now;
  }
}

/** Puts the time before each line. Chunks may end within a line. */
export class Stamper {
  readonly #clock: LogClock;
  #offset: number;
  #lineStart = true;

  constructor(clock: LogClock, offset: number) {
    this.#clock = clock;
    this.#offset = offset;
  }

  stamp(chunk: Buffer, now: string): Buffer {
    const parts: Buffer[] = [];
    for (let from = 0; from < chunk.length; ) {
      const newline = chunk.indexOf(10, from);
      const end = newline < 0 ? chunk.length : newline + 1;
      if (this.#lineStart) parts.push(Buffer.from(`${this.#clock.at(this.#offset, now)} `));
      parts.push(chunk.subarray(from, end));
      this.#lineStart = newline >= 0;
      this.#offset += end - from;
      from = end;
    }
    return Buffer.concat(parts);
  }
}
