/** What the main thread and the worker that reads the ring buffer share: words of a SharedArrayBuffer, by their index. */
export const Control = {
  /** Bit n: records of event type n are wanted. */
  TYPES: 0,
  /** 1: the worker shall end. */
  STOP: 1,
  /** Batches that the main thread has not worked through yet. */
  IN_FLIGHT: 2,
} as const;

export const controlBytes = 3 * Int32Array.BYTES_PER_ELEMENT;

export interface EventWorkerData {
  readonly ringFd: number;
  readonly control: SharedArrayBuffer;
}

export interface EventBatch {
  /** event-batch.ts */
  readonly records: Uint8Array<ArrayBuffer>;
  /** RingReader.overwritten */
  readonly overwritten: number;
}
