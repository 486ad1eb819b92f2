/** A part of the benchmark that can be asked for alone. */
import { run } from '../../test/lib/cluster.ts';
import type { Sample, Target } from './report.ts';
import type { Mode } from './scenarios.ts';

export interface BenchOptions {
  readonly rounds: number;
  /** Of each sample of the network. */
  readonly seconds: number;
  readonly quick: boolean;
  /** Numbers of services. */
  readonly sizes: readonly number[];
  /** Path of the load generator. */
  readonly load: string;
  /** Paths of the others of bench/load. */
  readonly tools: { readonly probe: string; readonly flood: string };
  /** Port of its server in the sandboxes. */
  readonly port: number;
  readonly progress: (text: string) => void;
}

/** Bars of one chart, grouped. */
export interface BarChart {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly string[];
  readonly groups: readonly { readonly name: string; readonly values: readonly (number | undefined)[] }[];
}

/** Lines over two logarithmic axes: what grows in proportion rises by one square to the right and one up. */
export interface LineChart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly lines: readonly { readonly name: string; readonly points: readonly (readonly [x: number, y: number])[] }[];
}

export type Chart = BarChart | LineChart;

export interface SectionResult {
  /** Markdown, without the heading. */
  readonly text: readonly string[];
  readonly targets: readonly Target[];
  readonly data: unknown;
  readonly charts: readonly Chart[];
}

export interface Section {
  readonly name: string;
  readonly title: string;
  readonly measure: (options: BenchOptions) => Promise<SectionResult>;
}

/** Runs a client of the load generator. @throws when it fails or nothing succeeded */
export async function sampleOf(argv: readonly string[], seconds: number, what: string): Promise<Sample> {
  const [command = '', ...args] = argv;
  const { code, stdout, stderr } = await run(command, args, { timeout: (seconds + 30) * 1000 });
  if (code !== 0) throw new Error(`${what}: exit ${code}: ${stdout}${stderr}`);
  const result: Sample = JSON.parse(stdout);
  if (result.operations === 0) throw new Error(`${what}: no operation succeeded: ${stdout}`);
  return result;
}

/** Operations per second; of a stream bytes per second. */
export function rateOf(mode: Mode, sample: Sample): number {
  return mode === 'stream' ? sample.bytes_per_second : sample.rate;
}

export function rateText(mode: Mode, rate: number): string {
  return mode === 'stream' ? `${((rate * 8) / 1e9).toFixed(2)} Gbit/s` : `${rate.toFixed(0)} /s`;
}
