/** How two peers that were measured in turns compare, and how much of that is noise. */
import type { Target } from './report.ts';
import { median } from './statistics.ts';

/**
 * Over the ratios of the rounds. With five rounds the true median lies between `low` and `high` with 94 % confidence (1 - 2 × ½⁵): each
 * round falls on either side of it as a coin does.
 */
export interface Ratio {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** One rate a round from each, of the same rounds. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): Ratio {
  const ratios = ours.map((rate, round) => rate / (theirs[round] ?? Number.NaN));
  return { median: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) };
}

/** '0.984 (0.971–0.992)' */
export function ratioText({ median: middle, low, high }: Ratio, digits = 3): string {
  return `${middle.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`;
}

/** Met or missed by the median; said to be open when the rounds fell on both sides. */
export function atLeast(what: string, ratio: Ratio, least: number): Target {
  return {
    target: `${what} ≥ ${least.toFixed(2)}`,
    measured: ratioText(ratio),
    met: ratio.median >= least,
    open: ratio.low < least && ratio.high >= least,
  };
}
