/** Garbage collection of conntrack and NAT: programs walk the maps inside the kernel, nothing is copied out. */
import { decodeGcArgs, encodeGcArgs } from '@ciliate/abi';
import { testRun } from '@ciliate/kernel';
import type { NodeProgram } from './programs.ts';

export interface GcResult {
  readonly alive: number;
  readonly deleted: number;
}

export interface GcOptions {
  /** ms between runs: the shortest when much expires, the longest when nothing does. */
  readonly minInterval: number;
  readonly maxInterval: number;
}

/** One pass. Throws KernelError. */
export function collect(program: NodeProgram): GcResult {
  const { context } = testRun(program.fd, { context: encodeGcArgs({ alive: 0, deleted: 0 }) });
  return decodeGcArgs(context);
}

/** The next interval: halved when a fifth or more had expired, doubled when next to nothing had. */
export function nextInterval(interval: number, result: GcResult, options: GcOptions): number {
  const total = result.alive + result.deleted;
  const ratio = total === 0 ? 0 : result.deleted / total;
  const wanted = ratio >= 0.2 ? interval / 2 : ratio < 0.02 ? interval * 2 : interval;
  return Math.min(options.maxInterval, Math.max(options.minInterval, wanted));
}

export class MapGc {
  readonly name: string;
  readonly #options: GcOptions;
  readonly #program: NodeProgram;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #interval: number;
  #last: GcResult = { alive: 0, deleted: 0 };

  constructor(
    name: string,
    options: GcOptions,
    modules: { readonly program: NodeProgram; readonly onError: (error: unknown) => void },
  ) {
    this.name = name;
    this.#options = options;
    this.#program = modules.program;
    this.#onError = modules.onError;
    this.#interval = options.minInterval;
  }

  get last(): GcResult {
    return this.#last;
  }

  start(): void {
    this.#timer = setTimeout(() => this.#run(), this.#interval);
    this.#timer.unref();
  }

  #run(): void {
    try {
      this.#last = collect(this.#program);
      this.#interval = nextInterval(this.#interval, this.#last, this.#options);
    } catch (error) {
      this.#onError(error);
    }
    this.start();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
