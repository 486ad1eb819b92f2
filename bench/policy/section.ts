/** A pod under growing numbers of policy rules: packets of flows that the last rule allows, beside the rules of controllers. */
import { atLeast, type Ratio, ratioOf, ratioText } from '../lib/ratio.ts';
import type { Sample, Target } from '../lib/report.ts';
import { measureRound } from '../lib/rounds.ts';
import { connections, type Mode } from '../lib/scenarios.ts';
import { type BenchOptions, type Chart, rateOf, rateText, type Section } from '../lib/section.ts';
import { median, spread } from '../lib/statistics.ts';
import { Guarded, type Kind, kinds } from './peers.ts';

const modes = ['rr', 'crr'] as const;
/** Of no policy. */
const least: Readonly<Record<(typeof modes)[number], number>> = { rr: 0.98, crr: 0.95 };

/** Samples, one a round. */
class Rates {
  readonly #samples = new Map<string, readonly Sample[]>();

  add(mode: Mode, name: string, sample: Sample): void {
    const key = `${mode} ${name}`;
    this.#samples.set(key, [...(this.#samples.get(key) ?? []), sample]);
  }

  samples(mode: Mode, kind: Kind, count: number): readonly Sample[] {
    return this.#samples.get(`${mode} ${kind} ${count}`) ?? [];
  }

  rates(mode: Mode, kind: Kind, count: number): readonly number[] {
    return this.samples(mode, kind, count).map(sample => rateOf(mode, sample));
  }

  /** Against the same kind without policy. */
  cost(mode: Mode, kind: Kind, count: number): Ratio {
    return ratioOf(this.rates(mode, kind, count), this.rates(mode, kind, 0));
  }

  /** Ours against theirs, under as many rules. */
  ours(mode: Mode, kind: Kind, count: number): Ratio {
    return ratioOf(this.rates(mode, 'ciliate', count), this.rates(mode, kind, count));
  }

  toJSON(): object {
    return Object.fromEntries(this.#samples);
  }
}

async function measureTraffic(peers: readonly Guarded[], options: BenchOptions): Promise<Rates> {
  const { rounds, load, progress, quick } = options;
  const length = quick ? { seconds: 0.2, pieces: 2 } : { seconds: 0.96, pieces: 12 };
  const rates = new Rates();
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of modes) {
      const contestants = peers.map(peer => ({
        name: peer.name,
        command: (seconds: number) => peer.client(load, mode, seconds, connections[mode]),
      }));
      const samples = await measureRound(contestants, length, `${mode} under rules`);
      for (const [name, sample] of samples) rates.add(mode, name, sample);
    }
    progress(`rules: round ${round + 1}/${rounds}`);
  }
  return rates;
}

function targetsOf(rates: Rates, counts: readonly number[]): readonly Target[] {
  return modes.flatMap(mode =>
    counts
      .filter(count => count > 0)
      .map(count =>
        atLeast(`${mode} of a pod under ${count} rules: × no policy`, rates.cost(mode, 'ciliate', count), least[mode]),
      ),
  );
}

function rowsOf(rates: Rates, counts: readonly number[], programMs: ReadonlyMap<string, number>): readonly string[] {
  return modes.flatMap(mode =>
    counts.flatMap(count =>
      kinds.map(kind => {
        const own = rates.samples(mode, kind, count);
        const middle = (of: (sample: Sample) => number) => median(own.map(of)).toFixed(1);
        const all = rates.rates(mode, kind, count);
        const percent = `${(spread(all) * 100).toFixed(0)} %`;
        const ours = kind === 'ciliate' ? '–' : ratioText(rates.ours(mode, kind, count), 2);
        const times = [middle(x => x.p50_us), middle(x => x.p99_us), middle(x => x.cpu_us_per_op)];
        const cells = [mode, count, kind, rateText(mode, median(all)), percent, ...times];
        const program = programMs.get(`${kind} ${count}`)?.toFixed(0) ?? '–';
        return `| ${[...cells, ratioText(rates.cost(mode, kind, count)), ours, program].join(' | ')} |`;
      }),
    ),
  );
}

function textOf(rates: Rates, counts: readonly number[], programMs: ReadonlyMap<string, number>): readonly string[] {
  return [
    'Pod to pod on one node; the rules select the server, the last one allows the client. The peers are plain routing with the rules that Calico',
    'and kube-router write for the same policy (iptables-legacy and ipset). All were measured in turns, in short pieces, forwards and backwards;',
    'ratios are medians over rounds (smallest–largest, which enclose the true one with 94 % confidence in five rounds). Written: ipset and',
    'iptables-restore; ours from the start of the agent’s process until it is ready.',
    '',
    '| mode | rules | peer | median rate | spread | p50 µs | p99 µs | CPU µs/op | × no policy | ciliate × | written ms |',
    '|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|',
    ...rowsOf(rates, counts, programMs),
    '',
  ];
}

function chartOf(rates: Rates, counts: readonly number[]): Chart {
  return {
    title: 'A pod under policy rules: connect, request, close',
    unit: 'per second, more is better',
    series: kinds,
    groups: counts.map(count => ({
      name: `${count} rules`,
      values: kinds.map(kind => median(rates.rates('crr', kind, count))),
    })),
  };
}

export const policySection: Section = {
  name: 'policy',
  title: 'A pod under policy rules',
  measure: async options => {
    const counts = options.quick ? [0, 10, 1000] : [0, 10, 1000, 10_000];
    const peers = kinds.flatMap(kind => counts.map(count => new Guarded(kind, count)));
    const programMs = new Map<string, number>();
    try {
      for (const peer of peers) {
        options.progress(`${peer.name} rules`);
        programMs.set(peer.name, await peer.up(options.load));
      }
      const rates = await measureTraffic(peers, options);
      return {
        text: textOf(rates, counts, programMs),
        targets: targetsOf(rates, counts),
        data: { samples: rates, programMs: Object.fromEntries(programMs) },
        charts: [chartOf(rates, counts)],
      };
    } finally {
      for (const peer of peers) await peer.down();
    }
  },
};
