const units: readonly (readonly [number, string])[] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'm'],
  [1000, 's'],
];

/** '3m12s ago', from an RFC 3339 time; 'never' without one. Two units at most. */
export function ago(time: string | undefined, now: number): string {
  if (time === undefined || time === '') return 'never';
  return `${duration(now - Date.parse(time))} ago`;
}

/** Milliseconds as the two largest units that are not zero: '1h4m', '0s'. */
export function duration(milliseconds: number): string {
  let rest = Math.max(0, milliseconds);
  const parts: string[] = [];
  for (const [size, name] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 || parts.length > 0) parts.push(`${count}${name}`);
    if (parts.length === 2) break;
  }
  return parts.length === 0 ? '0s' : parts.join('').replace(/(?<=[a-z])0[a-z]$/, '');
}

/** Nanoseconds as the field prints latencies: '251.146µs', '1.20ms'. */
export function latency(nanoseconds: number): string {
  if (nanoseconds < 1e6) return `${(nanoseconds / 1e3).toFixed(1)}µs`;
  return nanoseconds < 1e9 ? `${(nanoseconds / 1e6).toFixed(2)}ms` : `${(nanoseconds / 1e9).toFixed(2)}s`;
}
