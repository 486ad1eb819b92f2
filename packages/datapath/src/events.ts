/** The datapath's events: a worker reads them from the ring buffer while somebody listens. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { RingBuffer } from '@ciliate/kernel';
import { readBatch } from './event-batch.ts';
import { Control, controlBytes, type EventBatch, type EventWorkerData } from './event-control.ts';

export interface EventListener {
  /** Numbers of enum event_type; all when not given. */
  readonly types?: readonly number[];
  /** The bytes are the listener's to keep. */
  record(bytes: Uint8Array): void;
  /** So many records were lost since this was last told, of whatever type. */
  lost(count: number): void;
}

export interface EventModules {
  /** Descriptor of the ring buffer. */
  readonly ringFd: number;
  /** Records that found no room since the map was made, of all CPUs. */
  readonly kernelLost: () => number;
  readonly onError: (error: unknown) => void;
}

/** Milliseconds between looks at what the kernel has lost, and before a worker that failed is started again. */
const interval = 1000;

/** Beside the bundle, or the source when run from source. */
function workerFile(): string {
  const bundled = join(import.meta.dirname, 'event-worker.mjs');
  return existsSync(bundled) ? bundled : join(import.meta.dirname, 'event-worker.ts');
}

const maskOf = (types: readonly number[] | undefined): number =>
  types === undefined ? -1 : types.reduce((mask, type) => mask | (1 << type), 0);

/** Without listeners nothing is read: the ring fills up and the kernel drops events, not packets; these do not count as lost. */
export class EventStream {
  readonly #modules: EventModules;
  readonly #listeners = new Set<EventListener>();
  /** The running worker's. */
  #words = new Int32Array(new SharedArrayBuffer(controlBytes));
  #serving = false;
  #kernelLost = 0;
  #overwritten = 0;
  #lost = 0;

  constructor(modules: EventModules) {
    this.#modules = modules;
  }

  /** Records lost since the agent started, while somebody listened. */
  get lost(): number {
    return this.#lost;
  }

  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    this.#wantTypes();
    if (!this.#serving) void this.#serve();
    return () => {
      this.#listeners.delete(listener);
      this.#wantTypes();
      if (this.#listeners.size === 0) this.#endWorker();
    };
  }

  /** Nobody hears anything any more. */
  stop(): void {
    this.#listeners.clear();
    this.#endWorker();
  }

  #wantTypes(): void {
    const mask = [...this.#listeners].reduce((all, { types }) => all | maskOf(types), 0);
    Atomics.store(this.#words, Control.TYPES, mask);
  }

  #endWorker(): void {
    Atomics.store(this.#words, Control.STOP, 1);
    Atomics.notify(this.#words, Control.STOP);
    Atomics.notify(this.#words, Control.IN_FLIGHT);
  }

  /** One worker after the other, never two: a ring buffer has one reader. */
  async #serve(): Promise<void> {
    this.#serving = true;
    try {
      const ring = new RingBuffer(this.#modules.ringFd);
      ring.skip();
      ring.close();
      this.#kernelLost = this.#modules.kernelLost();
      const timer = setInterval(() => this.#countLost(), interval);
      timer.unref();
      while (this.#listeners.size > 0) {
        const failure = await this.#runWorker();
        if (failure === undefined) continue;
        this.#modules.onError(failure);
        await delay(interval, undefined, { ref: false });
      }
      clearInterval(timer);
      this.#countLost();
    } catch (error) {
      this.#modules.onError(error);
    } finally {
      this.#serving = false;
    }
  }

  /** Resolves when it has ended, with the reason if it was not asked to. */
  #runWorker(): Promise<unknown> {
    const control = new SharedArrayBuffer(controlBytes);
    this.#words = new Int32Array(control);
    this.#overwritten = 0;
    this.#wantTypes();
    const workerData: EventWorkerData = { ringFd: this.#modules.ringFd, control };
    return new Promise(resolve => {
      let failure: unknown;
      const worker = new Worker(workerFile(), { workerData, name: 'events' });
      worker.unref();
      worker.on('message', (batch: EventBatch) => this.#take(batch));
      worker.on('error', error => {
        failure = error;
      });
      worker.once('exit', () => resolve(failure));
    });
  }

  #take({ records, overwritten }: EventBatch): void {
    Atomics.sub(this.#words, Control.IN_FLIGHT, 1);
    Atomics.notify(this.#words, Control.IN_FLIGHT);
    if (overwritten > this.#overwritten) this.#tellLost(overwritten - this.#overwritten);
    this.#overwritten = overwritten;
    for (const record of readBatch(records)) {
      const bit = 1 << (record[0] ?? 0);
      for (const listener of this.#listeners) if ((maskOf(listener.types) & bit) !== 0) listener.record(record);
    }
  }

  #countLost(): void {
    const total = this.#modules.kernelLost();
    if (total > this.#kernelLost) this.#tellLost(total - this.#kernelLost);
    this.#kernelLost = total;
  }

  #tellLost(count: number): void {
    this.#lost += count;
    for (const listener of this.#listeners) listener.lost(count);
  }
}
