/**
 * Worker thread: reads the ring buffer from mapped memory, passes over the types that nobody wants without copying them, and hands
 * the others to the main thread in batches. A main thread that does not keep up is waited for; then the kernel counts what it loses.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { RingBuffer } from '@ciliate/kernel';
import { BatchWriter } from './event-batch.ts';
import { Control, type EventBatch, type EventWorkerData } from './event-control.ts';

const maxInFlight = 8;
const maxRecords = 4096;
/** Milliseconds in which records gather before they are read. */
const gather = 10;
/** Milliseconds after which the stop word is looked at, records or not. */
const patience = 250;

function run(port: MessagePort, { ringFd, control }: EventWorkerData): void {
  const words = new Int32Array(control);
  const ring = new RingBuffer(ringFd);
  const batch = new BatchWriter();
  while (Atomics.load(words, Control.STOP) === 0) {
    const waiting = Atomics.load(words, Control.IN_FLIGHT);
    if (waiting >= maxInFlight) {
      Atomics.wait(words, Control.IN_FLIGHT, waiting, patience);
      continue;
    }
    ring.wait(patience);
    const types = Atomics.load(words, Control.TYPES);
    ring.read(record => {
      if ((types & (1 << (record[0] ?? 0))) !== 0) batch.add(record);
    }, maxRecords);
    if (batch.records > 0) {
      const records = batch.take();
      Atomics.add(words, Control.IN_FLIGHT, 1);
      port.postMessage({ records, overwritten: ring.overwritten } satisfies EventBatch, [records.buffer]);
    }
    Atomics.wait(words, Control.STOP, 0, gather);
  }
  ring.close();
}

if (parentPort !== null) run(parentPort, workerData as EventWorkerData);
