/** Of this process, bytes. */
export interface Memory {
  /** Before garbage is collected: what a machine has to have. */
  readonly rss: number;
  /** JavaScript's objects and buffers that are in use, after a collection. */
  readonly live: number;
}

/** The process has to be started with --expose-gc. */
export function memoryNow(): Memory {
  const rss = process.memoryUsage.rss();
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return { rss, live: heapUsed + external };
}
