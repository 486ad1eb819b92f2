/**
 * The agent's memory. V8 lets a heap grow to several times what is alive before it looks for garbage, and long lists with all that is made
 * of them leave much: unbounded, 30,000 services take twice the memory that they need, for good.
 */
import { Session } from 'node:inspector';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { boundNativeMemory, trimMemory } from '@ciliate/kernel';
import type { Service } from './lifecycle.ts';

/**
 * Percent by which the heap may grow past what is alive. While the first lists come it costs a sixth more CPU time than no bound, and half of
 * it would cost half again.
 */
const starting = 60;
/** Afterwards: what makes `spare` bytes, within these. A burst into a small heap would be collected again and again, a fifth of its time. */
const running = { least: 30, most: 100 } as const;
const spare = 24 * 1024 * 1024;
/** Bytes; a smaller heap is not worth a pause. */
const small = 48 * 1024 * 1024;
/** Share by which memory has grown when it is looked through again; more than what `spare` makes of it. */
const grown = 1.25;
/** Milliseconds between looks: what a burst of them may make of the heap is bounded while it goes on. */
const interval = 2000;
/** Milliseconds that work may take; something may be failing for ever. */
const patience = 30_000;

const setGrowth = (percent: number): void => setFlagsFromString(`--heap-growing-percent=${percent}`);

/** Before anything is allocated. */
export function boundHeap(): void {
  boundNativeMemory();
  setGrowth(starting);
}

/** Percent, for a heap of which `used` bytes are in use. */
export function runningGrowth(used: number): number {
  return Math.round(Math.min(running.most, Math.max(running.least, (100 * spare) / used)));
}

const boundRunning = (): void => setGrowth(runningGrowth(process.memoryUsage().heapUsed));

export interface HeapKeeperModules {
  /** Resolves when the work that is there now has been done: garbage is made by work. */
  readonly settled: () => Promise<void>;
  readonly onError: (error: unknown) => void;
}

/** Gives back what bursts of work have left: the first lists, and whatever makes the agent a quarter larger than it was after the last one. */
export class HeapKeeper implements Service {
  readonly name = 'heap-keeper';
  readonly #modules: HeapKeeperModules;
  #timer: NodeJS.Timeout | undefined;
  /** Bytes of RSS after the last time; 0: it has not been. */
  #kept = 0;

  constructor(modules: HeapKeeperModules) {
    this.#modules = modules;
  }

  /** When the first lists have come. */
  start(): void {
    this.#timer = setTimeout(() => void this.#look(), 0).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    boundRunning();
    try {
      if (process.memoryUsage.rss() > this.#kept * grown) {
        await Promise.race([this.#modules.settled(), delay(patience, undefined, { ref: false })]);
        await settleHeap();
        this.#kept = process.memoryUsage.rss();
      }
    } catch (error) {
      this.#modules.onError(error);
    }
    if (this.#timer !== undefined) this.#timer = setTimeout(() => void this.#look(), interval).unref();
  }
}

/** The event loop stands still for 100 to 300 ms if there is much. */
async function settleHeap(): Promise<void> {
  // What little is young by now one thread copies in a millisecond; on a busy node others would be waited for longer.
  setFlagsFromString('--no-parallel-scavenge');
  if (process.memoryUsage().heapTotal >= small) await collectGarbage();
  boundRunning();
  trimMemory();
}

/** As when memory runs low: everything that can be given back is. */
async function collectGarbage(): Promise<void> {
  const session = new Session();
  session.connect();
  try {
    await new Promise<void>((resolve, reject) => {
      session.post('HeapProfiler.collectGarbage', error => (error === null ? resolve() : reject(error)));
    });
  } finally {
    session.disconnect();
  }
}
