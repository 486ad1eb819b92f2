/** Medians, ratios, targets, and their table in markdown. */
import type { CniTimes } from './cni-add.ts';
import { atLeast, type Ratio, ratioOf, ratioText } from './ratio.ts';
import { type Mode, modes, type Scenario } from './scenarios.ts';
import { rateOf, rateText } from './section.ts';
import { median, spread } from './statistics.ts';
import type { TablesTimes } from './tables.ts';

/** What `load client` prints. */
export interface Sample {
  readonly operations: number;
  readonly rate: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly bytes_per_second: number;
  readonly errors: number;
  readonly cpu_us_per_op: number;
}

export interface Line {
  readonly scenario: string;
  readonly mode: Mode;
  /** Operations per second; of a stream bytes per second. */
  readonly rate: number;
  readonly spread: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Of the whole machine; of a stream per 64 KiB. */
  readonly cpuUsPerOperation: number;
  readonly errors: number;
  /** Rate / rate of the plain peer in the same round. */
  readonly ratio: Ratio;
  /** The same against pod to pod on one node. */
  readonly ratioToPod: Ratio;
}

export interface Facts {
  readonly cni: CniTimes;
  readonly readyAfterMs: number;
  readonly rssBytes: number;
  readonly tables: TablesTimes;
  /** The agent restarted beside many pods. */
  readonly full: { readonly pods: number; readonly readyAfterMs: number; readonly rssBytes: number };
}

export interface Target {
  readonly target: string;
  readonly measured: string;
  readonly met: boolean;
  /** The rounds fell on both sides of the target: another run may turn out the other way. */
  readonly open?: boolean;
}

/** Samples by scenario and mode, one per round. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

export function keyOf(scenario: string, mode: Mode): string {
  return `${mode} ${scenario}`;
}

function cpuOf(mode: Mode, sample: Sample): number {
  if (mode !== 'stream') return sample.cpu_us_per_op;
  const busy = sample.cpu_us_per_op * sample.rate;
  return (busy / sample.bytes_per_second) * 65536;
}

export function linesOf(scenarios: readonly Scenario[], samples: Samples): readonly Line[] {
  const rates = (name: string, mode: Mode) => (samples.get(keyOf(name, mode)) ?? []).map(x => rateOf(mode, x));
  const ratio = (name: string, against: string, mode: Mode) => ratioOf(rates(name, mode), rates(against, mode));
  return modes.flatMap(mode =>
    scenarios.map(({ name, against }) => {
      const own = samples.get(keyOf(name, mode)) ?? [];
      return {
        scenario: name,
        mode,
        rate: median(rates(name, mode)),
        spread: spread(rates(name, mode)),
        p50Us: median(own.map(x => x.p50_us)),
        p99Us: median(own.map(x => x.p99_us)),
        cpuUsPerOperation: median(own.map(x => cpuOf(mode, x))),
        errors: own.reduce((sum, x) => sum + x.errors, 0),
        ratio: ratio(name, against, mode),
        ratioToPod: ratio(name, 'pod same node', mode),
      };
    }),
  );
}

export function targetsOf(lines: readonly Line[], facts: Facts): readonly Target[] {
  const network = lines.flatMap(({ mode, scenario, ratio, ratioToPod }) => {
    if (scenario === 'pod same node') return [atLeast(`${mode}: pod same node × plain`, ratio, 1)];
    if (scenario === 'ClusterIP same node') return [atLeast(`${mode}: ClusterIP × pod same node`, ratioToPod, 0.97)];
    return [];
  });
  const { cni, readyAfterMs, full } = facts;
  const memory = full.rssBytes / 1e6;
  return [
    ...network,
    { target: 'CNI ADD p50 < 60 ms', measured: `${cni.addP50Ms.toFixed(1)} ms`, met: cni.addP50Ms < 60 },
    {
      target: 'agent’s part of CNI ADD p50 < 10 ms',
      measured: `${cni.agentP50Ms.toFixed(1)} ms`,
      met: cni.agentP50Ms < 10,
    },
    { target: 'agent ready < 1 s (bench pods only)', measured: `${readyAfterMs} ms`, met: readyAfterMs < 1000 },
    {
      target: `agent ready < 1 s (${full.pods} pods)`,
      measured: `${full.readyAfterMs.toFixed(0)} ms`,
      met: full.readyAfterMs < 1000,
    },
    { target: `agent memory < 120 MB (${full.pods} pods)`, measured: `${memory.toFixed(0)} MB`, met: memory < 120 },
  ];
}

export function networkText(lines: readonly Line[], facts: Facts): readonly string[] {
  const rows = lines.map(line => {
    const latency = line.mode === 'stream' ? '– | –' : `${line.p50Us.toFixed(1)} | ${line.p99Us.toFixed(1)}`;
    const percent = `${(line.spread * 100).toFixed(0)} %`;
    return `| ${line.mode} | ${line.scenario} | ${rateText(line.mode, line.rate)} | ${percent} | ${latency} | ${line.cpuUsPerOperation.toFixed(1)} | ${line.errors} | ${ratioText(line.ratio, 2)} |`;
  });
  return [
    '| mode | scenario | median rate | spread | p50 µs | p99 µs | CPU µs/op | errors | × plain |',
    '|---|---|--:|--:|--:|--:|--:|--:|--:|',
    ...rows,
    '',
    'CPU is the whole machine’s; of a stream per 64 KiB. "× plain" is the median (smallest–largest) over rounds of the ratio to plain kernel',
    'routing, measured in turns within the round: "same node" rows to plain same node, all others to plain other node.',
    'NodePort is reached from outside the nodes, over one hop fewer (local backend) than plain other node.',
    '',
    ...factLines(facts),
  ];
}

export function targetsText(targets: readonly Target[]): readonly string[] {
  const verdict = ({ met, open }: Target) =>
    `${met ? 'met' : '**missed**'}${open === true ? ', within the spread' : ''}`;
  const verdicts = targets.map(x => `| ${x.target} | ${x.measured} | ${verdict(x)} |`);
  return ['| target | measured | verdict |', '|---|--:|---|', ...verdicts, ''];
}

function factLines({ cni, tables, full }: Facts): readonly string[] {
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  return [
    `CNI, ${cni.count} times, process start included: ADD p50 ${ms(cni.addP50Ms)}, p99 ${ms(cni.addP99Ms)}; DEL p50 ${ms(cni.delP50Ms)}, p99 ${ms(cni.delP99Ms)}. The agent’s part of an ADD: p50 ${ms(cni.agentP50Ms)}, p99 ${ms(cni.agentP99Ms)}.`,
    '',
    `Tables: ${tables.rows} rows inserted in ${ms(tables.insertMs)} (one transaction each), reconciled after ${ms(tables.reconciledMs)}.`,
    '',
    `Agent with ${full.pods} pods: restarted to ready in ${ms(full.readyAfterMs)}, ${(full.rssBytes / 1e6).toFixed(0)} MB.`,
    '',
  ];
}
