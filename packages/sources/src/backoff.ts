import { setTimeout as delay } from 'node:timers/promises';

export type Random = () => number;

/** Waits that double from min to max (milliseconds), each shortened by up to half at random, so that agents spread out. */
export class Backoff {
  readonly #min: number;
  readonly #max: number;
  readonly #random: Random;
  #next: number;

  constructor(range: { readonly min: number; readonly max: number }, random: Random = Math.random) {
    this.#min = range.min;
    this.#max = range.max;
    this.#random = random;
    this.#next = range.min;
  }

  reset(): void {
    this.#next = this.#min;
  }

  /** The coming delay, and doubles the one after it. */
  take(): number {
    const delayNow = this.#next * (1 - this.#random() / 2);
    this.#next = Math.min(this.#next * 2, this.#max);
    return delayNow;
  }

  /** Returns early, without an error, when `signal` aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    try {
      await delay(this.take(), undefined, { signal });
    } catch {
      // Aborted: the caller looks at the signal.
    }
  }
}
