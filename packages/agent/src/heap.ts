/**
 * The agent's heap. V8 lets one grow to several times what is alive before it looks for garbage, and the first lists with all that is made
 * of them leave much: unbounded, 30,000 services take twice the memory that they need, for good.
 */
import { Session } from 'node:inspector';
import { setFlagsFromString } from 'node:v8';
import { boundNativeMemory, trimMemory } from '@ciliate/kernel';

/**
 * Percent by which the heap may grow past what is alive. While lists come it costs a sixth more CPU time than no bound, and half of it would
 * cost a third; later there is little garbage.
 */
const growth = { starting: 60, running: 30 } as const;
/** Bytes; a smaller heap is not worth a pause. */
const small = 48 * 1024 * 1024;

const setGrowth = (percent: number): void => setFlagsFromString(`--heap-growing-percent=${percent}`);

/** Before anything is allocated. */
export function boundHeap(): void {
  boundNativeMemory();
  setGrowth(growth.starting);
}

/** When the first lists are in the kernel: gives back what they have left. The event loop stands still for 100 to 300 ms if it is much. */
export async function settleHeap(): Promise<void> {
  setGrowth(growth.running);
  if (process.memoryUsage().heapTotal >= small) await collectGarbage();
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
