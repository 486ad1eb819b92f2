/** The datapath's ring buffer (struct bpf_ringbuf_map layout, kernel/bpf/ringbuf.c): records are read where they lie. */
import { RingBuffer } from '@ciliate/kernel';

export interface EventListener {
  record(bytes: Uint8Array): void;
  lost(count: number): void;
}

/** Reads only while somebody listens: without listeners the ring fills up and the kernel drops events, not packets. */
export class EventStream {
  readonly #fd: number;
  readonly #listeners = new Set<EventListener>();
  #ring: RingBuffer | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    if (this.#ring === undefined) {
      this.#ring = new RingBuffer(this.#fd);
      this.#ring.skip();
      this.#timer = setInterval(() => this.#drain(), 20);
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.stop();
    };
  }

  #drain(): void {
    this.#ring?.read(bytes => {
      for (const listener of this.#listeners) listener.record(bytes);
    });
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#ring?.close();
    this.#ring = undefined;
  }
}
