/**
 * Contestants of one kind of load, measured in turns. A round goes through all of them forwards and backwards (A B C, C B A) in short pieces:
 * what drifts while it lasts falls on each alike, and a stolen moment spoils one piece, not a contestant.
 */
import type { Sample } from './report.ts';
import { sampleOf } from './section.ts';
import { median } from './statistics.ts';

export interface Contestant {
  readonly name: string;
  /** The argv of a client of the load generator. */
  readonly command: (seconds: number) => readonly string[];
}

export interface RoundOptions {
  /** Of each contestant in the round, all pieces together. */
  readonly seconds: number;
  /** Even: as many forwards as backwards. */
  readonly pieces: number;
}

/** The medians of the pieces; operations and errors are their sums. CPU is weighted: the kernel counts it in ticks, too coarse for one piece. */
function joined(pieces: readonly Sample[]): Sample {
  const middle = (of: (piece: Sample) => number) => median(pieces.map(of));
  const sum = (of: (piece: Sample) => number) => pieces.reduce((total, piece) => total + of(piece), 0);
  return {
    operations: sum(piece => piece.operations),
    rate: middle(piece => piece.rate),
    p50_us: middle(piece => piece.p50_us),
    p99_us: middle(piece => piece.p99_us),
    bytes_per_second: middle(piece => piece.bytes_per_second),
    errors: sum(piece => piece.errors),
    cpu_us_per_op: sum(piece => piece.cpu_us_per_op * piece.operations) / sum(piece => piece.operations),
  };
}

/** One sample of each contestant, by name. */
export async function measureRound(
  contestants: readonly Contestant[],
  { seconds, pieces }: RoundOptions,
  what: string,
): Promise<ReadonlyMap<string, Sample>> {
  const length = seconds / pieces;
  const measured = new Map<string, Sample[]>();
  for (let piece = 0; piece < pieces; piece += 1) {
    const order = piece % 2 === 0 ? contestants : contestants.toReversed();
    for (const { name, command } of order) {
      const sample = await sampleOf(command(length), length, `${what}: ${name}`);
      measured.set(name, [...(measured.get(name) ?? []), sample]);
    }
  }
  return new Map([...measured].map(([name, samples]) => [name, joined(samples)]));
}
