/** Services through us against the rule sets of kube-proxy, at growing numbers of services, measured on the last ones. */
import type { Sample, Target } from '../lib/report.ts';
import { connections, type Mode } from '../lib/scenarios.ts';
import { type BenchOptions, type Chart, rateOf, rateText, type Section, sampleOf } from '../lib/section.ts';
import { median, quantile, spread } from '../lib/statistics.ts';
import { type Peer, type PeerFacts, type PeerName, peerNames, type Route, routes, startPeer } from './peers.ts';

/** `nft` needs minutes for more, and its verdict maps do not slow down. */
const nftablesLimit = 10_000;

interface Measured {
  readonly size: number;
  readonly peer: PeerName;
  readonly route: Route;
  readonly mode: Mode;
  readonly samples: readonly Sample[];
}

interface SizeFacts extends PeerFacts {
  readonly size: number;
  readonly peer: PeerName;
}

async function measureSize(size: number, modes: readonly Mode[], options: BenchOptions) {
  const { load, progress, quick } = options;
  const names = peerNames.filter(name => name !== 'nftables' || size <= nftablesLimit);
  const peers: Peer[] = [];
  try {
    for (const name of names) {
      progress(`${size} services: ${name}`);
      peers.push(await startPeer(name, load, size));
    }
    const measured = await measureTraffic(size, peers, modes, options);
    progress(`${size} services: changes`);
    const facts: SizeFacts[] = [];
    for (const peer of peers) facts.push({ size, peer: peer.name, ...(await peer.facts(quick ? 20 : 100)) });
    return { measured, facts };
  } finally {
    for (const peer of peers) await peer.down();
  }
}

async function measureTraffic(size: number, peers: readonly Peer[], modes: readonly Mode[], options: BenchOptions) {
  const { rounds, seconds, load, progress } = options;
  const length = Math.min(seconds, 0.5);
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of modes) {
      for (const route of routes) {
        for (const peer of peers) {
          const key = `${mode} ${route} ${peer.name}`;
          const argv = peer.client(route, load, mode, [String(length), String(connections[mode])]);
          const sample = await sampleOf(argv, length, `${size} services: ${key}`);
          samples.set(key, [...(samples.get(key) ?? []), sample]);
        }
      }
    }
    progress(`${size} services: round ${round + 1}/${rounds}`);
  }
  return modes.flatMap(mode =>
    routes.flatMap(route =>
      peers.map((peer): Measured => {
        return { size, peer: peer.name, route, mode, samples: samples.get(`${mode} ${route} ${peer.name}`) ?? [] };
      }),
    ),
  );
}

class Results {
  readonly #measured: readonly Measured[];

  constructor(measured: readonly Measured[]) {
    this.#measured = measured;
  }

  of(size: number, route: Route, mode: Mode, peer: PeerName): readonly number[] {
    const found = this.#measured.find(
      it => it.size === size && it.route === route && it.mode === mode && it.peer === peer,
    );
    return (found?.samples ?? []).map(sample => rateOf(mode, sample));
  }

  /** Median over rounds of ours / theirs. */
  ratio(size: number, route: Route, mode: Mode, against: PeerName): number {
    const theirs = this.of(size, route, mode, against);
    return median(this.of(size, route, mode, 'ciliate').map((rate, round) => rate / (theirs[round] ?? Number.NaN)));
  }
}

function target(name: string, measured: number, least: number): Target {
  return { target: `${name} ≥ ${least.toFixed(2)}`, measured: measured.toFixed(3), met: measured >= least };
}

function ratioTargets(results: Results, sizes: readonly number[]): readonly Target[] {
  const cluster = 'ClusterIP local';
  const flat = sizes.map(size =>
    target(`crr ClusterIP, ${size} services: × plain pod to pod`, results.ratio(size, cluster, 'crr', 'plain'), 0.97),
  );
  const against = sizes.flatMap(size => {
    const ratio = results.ratio(size, cluster, 'crr', 'iptables');
    if (size === 10) return [target('crr ClusterIP, 10 services: × iptables', ratio, 1)];
    return size === 10_000 ? [target('crr ClusterIP, 10,000 services: × iptables', ratio, 2)] : [];
  });
  const nodePorts = (['NodePort local', 'NodePort remote'] as const).flatMap(route => {
    const first = sizes[0] ?? 0;
    const last = sizes.at(-1) ?? first;
    const better = Math.min(
      results.ratio(first, route, 'crr', 'iptables'),
      results.ratio(first, route, 'crr', 'nftables'),
    );
    const slowdown = (size: number) => median(results.of(size, route, 'crr', 'ciliate'));
    return [
      target(`crr ${route}, ${first} services: × better of iptables and nftables`, better, 1.1),
      ...(last === first
        ? []
        : [target(`crr ${route}: ${last} services × ${first}`, slowdown(last) / slowdown(first), 0.97)]),
    ];
  });
  return [...flat, ...against, ...nodePorts];
}

function controlTargets(facts: readonly SizeFacts[]): readonly Target[] {
  return facts
    .filter(fact => fact.peer === 'ciliate')
    .flatMap(({ size, changesMs, rssBytes = 0 }) => {
      const p99 = quantile(changesMs, 0.99);
      if (size < 30_000) return [];
      return [
        {
          target: `one change in the kernel at ${size} services: p99 < 5 ms`,
          measured: `${p99.toFixed(1)} ms`,
          met: p99 < 5,
        },
        {
          target: `agent at ${size} services < 300 MB`,
          measured: `${(rssBytes / 1e6).toFixed(0)} MB`,
          met: rssBytes < 300e6,
        },
      ];
    });
}

function rowOf({ size, peer, route, mode, samples }: Measured): string {
  const rates = samples.map(sample => rateOf(mode, sample));
  const latency =
    mode === 'stream'
      ? '– | –'
      : `${median(samples.map(x => x.p50_us)).toFixed(1)} | ${median(samples.map(x => x.p99_us)).toFixed(1)}`;
  const cpu = mode === 'stream' ? '–' : median(samples.map(x => x.cpu_us_per_op)).toFixed(1);
  const errors = samples.reduce((sum, x) => sum + x.errors, 0);
  const percent = `${(spread(rates) * 100).toFixed(0)} %`;
  return `| ${mode} | ${size} | ${route} | ${peer} | ${rateText(mode, median(rates))} | ${percent} | ${latency} | ${cpu} | ${errors} |`;
}

function factRow({ size, peer, programMs, changesMs, rssBytes, mapBytes }: SizeFacts): string {
  const changes = `${quantile(changesMs, 0.5).toFixed(1)} | ${quantile(changesMs, 0.99).toFixed(1)}`;
  const megabytes = (bytes: number | undefined) => (bytes === undefined ? '–' : `${(bytes / 1e6).toFixed(0)} MB`);
  return `| ${size} | ${peer} | ${programMs.toFixed(0)} | ${changes} | ${megabytes(rssBytes)} | ${megabytes(mapBytes)} |`;
}

function textOf(measured: readonly Measured[], facts: readonly SizeFacts[]): readonly string[] {
  return [
    'Measured on the last services, each with four endpoints on one server; client, node and outside are namespaces, between nodes',
    'plain routing. plain: the pod is dialled without any service. iptables: kube-proxy’s rules through iptables-legacy, the faster',
    `back end; nftables: its verdict maps, up to ${nftablesLimit} services because nft itself needs minutes for more.`,
    '',
    '| mode | services | way | peer | median rate | spread | p50 µs | p99 µs | CPU µs/op | errors |',
    '|---|--:|---|---|--:|--:|--:|--:|--:|--:|',
    ...measured.map(rowOf),
    '',
    'Programmed from nothing: for us from the start of the agent’s process until it is ready, the lists of the API server included;',
    'else the time of iptables-restore and nft. One change: from the watch event until the kernel’s map has it; else the time of',
    'iptables-restore --noflush and nft for the changed service.',
    '',
    '| services | peer | programmed ms | one change p50 ms | p99 ms | agent | maps |',
    '|--:|---|--:|--:|--:|--:|--:|',
    ...facts.filter(fact => fact.peer !== 'plain').map(factRow),
    '',
  ];
}

function chartsOf(results: Results, sizes: readonly number[]): readonly Chart[] {
  return (['ClusterIP local', 'NodePort remote'] as const).map(route => ({
    title: `${route}: connect, request, close`,
    unit: 'per second, more is better',
    series: peerNames,
    groups: sizes.map(size => ({
      name: `${size} services`,
      values: peerNames.map(peer => {
        const rates = results.of(size, route, 'crr', peer);
        return rates.length === 0 ? undefined : median(rates);
      }),
    })),
  }));
}

export const servicesSection: Section = {
  name: 'services',
  title: 'Services against kube-proxy’s rules',
  measure: async options => {
    const measured: Measured[] = [];
    const facts: SizeFacts[] = [];
    for (const [i, size] of options.sizes.entries()) {
      // Keep-alive and bulk do not look services up again: the first size tells.
      const result = await measureSize(size, i === 0 ? ['rr', 'crr', 'stream'] : ['crr'], options);
      measured.push(...result.measured);
      facts.push(...result.facts);
    }
    const results = new Results(measured);
    return {
      text: textOf(measured, facts),
      targets: [...ratioTargets(results, options.sizes), ...controlTargets(facts)],
      data: { measured, facts },
      charts: chartsOf(results, options.sizes),
    };
  },
};
