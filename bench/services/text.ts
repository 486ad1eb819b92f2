/** The tables of the section. */
import { ratioText } from '../lib/ratio.ts';
import type { Sample } from '../lib/report.ts';
import type { Mode } from '../lib/scenarios.ts';
import { rateOf, rateText } from '../lib/section.ts';
import { median, quantile, spread } from '../lib/statistics.ts';
import type { ContestantName, PeerFacts, PeerName, Route } from './peers.ts';
import type { Results } from './results.ts';

export interface Measured {
  readonly size: number;
  readonly contestant: ContestantName;
  readonly route: Route;
  readonly mode: Mode;
  /** One a round. */
  readonly samples: readonly Sample[];
}

export interface SizeFacts extends PeerFacts {
  readonly size: number;
  readonly peer: PeerName;
}

function rowOf({ size, contestant, route, mode, samples }: Measured, results: Results): string {
  const rates = samples.map(sample => rateOf(mode, sample));
  const isStream = mode === 'stream';
  const middle = (of: (sample: Sample) => number) => median(samples.map(of)).toFixed(1);
  const latency = isStream ? '– | –' : `${middle(x => x.p50_us)} | ${middle(x => x.p99_us)}`;
  const errors = samples.reduce((sum, x) => sum + x.errors, 0);
  const percent = `${(spread(rates) * 100).toFixed(0)} %`;
  const against = contestant === 'ciliate' ? '–' : ratioText(results.ratio(size, route, mode, contestant), 2);
  const cells = [mode, size, route, contestant, rateText(mode, median(rates)), percent, latency];
  return `| ${[...cells, middle(x => cpuOf(mode, x)), errors, against].join(' | ')} |`;
}

/** Of a stream per 64 KiB. */
function cpuOf(mode: Mode, sample: Sample): number {
  if (mode !== 'stream') return sample.cpu_us_per_op;
  return ((sample.cpu_us_per_op * sample.rate) / sample.bytes_per_second) * 65_536;
}

function factRow({ size, peer, programMs, startMs, changesMs, rssBytes, mapBytes }: SizeFacts): string {
  const changes = `${quantile(changesMs, 0.5).toFixed(1)} | ${quantile(changesMs, 0.99).toFixed(1)}`;
  const megabytes = (bytes: number | undefined) => (bytes === undefined ? '–' : `${(bytes / 1e6).toFixed(0)} MB`);
  const times = `${programMs.toFixed(0)} | ${startMs?.toFixed(0) ?? '–'}`;
  return `| ${size} | ${peer} | ${times} | ${changes} | ${megabytes(rssBytes)} | ${megabytes(mapBytes)} |`;
}

export function textOf(
  measured: readonly Measured[],
  facts: readonly SizeFacts[],
  results: Results,
): readonly string[] {
  return [
    'Measured on the last services, each with four endpoints on one server; client, node and outside are namespaces, between nodes',
    'plain routing. plain: the endpoints are dialled without any service, and without us. ciliate pod: the same through us. iptables: kube-proxy’s rules',
    'through iptables-legacy, the faster back end; nftables: its verdict maps and random maps as kube-proxy 1.36 writes them. All contestants of a',
    'row’s mode, size and way were measured in turns, in short pieces, forwards and backwards; "ciliate ×" is ours / theirs: the median over rounds,',
    'and between brackets the smallest and the largest, which enclose the true one with 94 % confidence in five rounds. CPU is the whole',
    'machine’s; of a stream per 64 KiB.',
    '',
    '| mode | services | way | peer | median rate | spread | p50 µs | p99 µs | CPU µs/op | errors | ciliate × |',
    '|---|--:|---|---|--:|--:|--:|--:|--:|--:|--:|',
    ...measured.map(one => rowOf(one, results)),
    '',
    'Programmed from nothing: for us from the first watch event that a running agent gets until the kernel’s map has every service; else the time',
    'of iptables-restore and nft, without a kube-proxy that would have to compute their input. From start: from the start of the agent’s process',
    'until it is ready, programs loaded and the lists of the API server read. One change: from the watch event until the kernel’s map has it;',
    'else iptables-restore --noflush and nft for the changed service.',
    '',
    '| services | peer | programmed ms | from start ms | one change p50 ms | p99 ms | agent | maps |',
    '|--:|---|--:|--:|--:|--:|--:|--:|',
    ...facts.filter(fact => fact.peer !== 'plain').map(factRow),
    '',
  ];
}
