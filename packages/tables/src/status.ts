import type { Status } from './types.ts';

/** Status that a writer gives a row it wants reconciled. `now` in ms, from the Clock. */
export function pending(now: number): Status {
  if (lastPending.since !== now) lastPending = { kind: 'pending', since: now };
  return lastPending;
}

/** Rows that are written together share it. */
let lastPending: Status = { kind: 'pending', since: Number.NaN };

/** Status of a row that the target holds. Only reconcilers write it. */
export function done(now: number): Status {
  return { kind: 'done', since: now };
}

/** Status of a row whose last `attempts` operations all failed. Only reconcilers write it. */
export function failed(now: number, error: string, attempts: number): Status {
  return { kind: 'error', since: now, error, attempts };
}

/** Status of a row that its compiler refuses, with the reason: the reconciler leaves the target as it is. */
export function refused(now: number, reason: string): Status {
  return failed(now, reason, 0);
}

/** The text of anything thrown. */
export function errorText(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
