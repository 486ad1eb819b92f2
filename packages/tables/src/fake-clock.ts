import type { Clock } from './types.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  #now: number;
  #order = 0;
  readonly #timers = new Set<Timer>();

  constructor(now = 1_000_000) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  /** Timers that have not run. */
  get waiting(): number {
    return this.#timers.size;
  }

  after(delay: number, run: () => void): () => void {
    this.#order += 1;
    const timer: Timer = { at: this.#now + Math.max(0, delay), order: this.#order, run };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Runs what is due within `ms`, in order; promises settle between timers. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await drainMicrotasks();
    for (let timer = this.#earliest(); timer !== undefined && timer.at <= end; timer = this.#earliest()) {
      await this.#fire(timer);
    }
    this.#now = end;
  }

  /** Moves time from timer to timer until the promise has settled. Fails when `limit` ms of fake time did not do it. */
  async until<T>(promise: Promise<T>, limit = 3_600_000): Promise<T> {
    const end = this.#now + limit;
    let settled = false;
    const mark = () => {
      settled = true;
    };
    promise.then(mark, mark);
    for (;;) {
      await drainMicrotasks();
      // Nothing to wait for: what runs now is a long chain of awaits.
      for (let turn = 0; turn < 10_000 && !settled && this.#timers.size === 0; turn += 1) await drainMicrotasks();
      if (settled) return promise;
      const timer = this.#earliest();
      if (timer === undefined || timer.at > end) throw new Error(`nothing settled the promise within ${limit} ms`);
      await this.#fire(timer);
    }
  }

  async #fire(timer: Timer): Promise<void> {
    this.#timers.delete(timer);
    this.#now = Math.max(this.#now, timer.at);
    timer.run();
    await drainMicrotasks();
  }

  #earliest(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order)) {
        first = timer;
      }
    }
    return first;
  }
}

/** Enough turns for the chains of awaits that sit between two timers. */
async function drainMicrotasks(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await undefined;
}
