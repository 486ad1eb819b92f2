import type { Clock } from '@ciliate/tables';

/** The process's clock. Timers do not keep it alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after: (delay, run) => {
    // Delay 0 must not wait a timer's millisecond: it is in the path of every CNI ADD.
    if (delay <= 0) {
      const immediate = setImmediate(run);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(run, delay);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
