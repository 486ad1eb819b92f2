/** Services through us against the rule sets of kube-proxy, at growing numbers of services, measured on the last ones. */
import { atLeast, type Ratio, ratioOf } from '../lib/ratio.ts';
import type { Target } from '../lib/report.ts';
import { measureRound } from '../lib/rounds.ts';
import { connections, modes as everyMode, type Mode } from '../lib/scenarios.ts';
import type { BenchOptions, Chart, Section } from '../lib/section.ts';
import { median, quantile } from '../lib/statistics.ts';
import { startCiliate } from './ciliate-peer.ts';
import { type ContestantName, contestantNames, type Peer, peerNames, type Route, routes } from './peers.ts';
import { Results } from './results.ts';
import { startIptables, startNftables, startPlain } from './rule-peers.ts';
import { type Measured, type SizeFacts, textOf } from './text.ts';

async function startPeers(size: number, { load, progress }: BenchOptions): Promise<readonly Peer[]> {
  const peers: Peer[] = [];
  const starts = {
    plain: () => startPlain(load),
    iptables: () => startIptables(load, size),
    nftables: () => startNftables(load, size),
    ciliate: () => startCiliate(load, size),
  };
  try {
    for (const name of peerNames) {
      progress(`${size} services: ${name}`);
      peers.push(await starts[name]());
    }
    return peers;
  } catch (error) {
    for (const peer of peers) await peer.down();
    throw error;
  }
}

async function measureSize(size: number, modes: readonly Mode[], options: BenchOptions) {
  const { progress, quick } = options;
  const peers = await startPeers(size, options);
  try {
    const measured = await measureTraffic(size, peers, modes, options);
    progress(`${size} services: changes`);
    const facts: SizeFacts[] = [];
    for (const peer of peers) facts.push({ size, peer: peer.name, ...(await peer.facts(quick ? 20 : 200)) });
    return { measured, facts };
  } finally {
    for (const peer of peers) await peer.down();
  }
}

async function measureTraffic(size: number, peers: readonly Peer[], modes: readonly Mode[], options: BenchOptions) {
  const { rounds, load, progress, quick } = options;
  const length = quick ? { seconds: 0.2, pieces: 2 } : { seconds: 0.6, pieces: 6 };
  const measured = new Map<string, Measured>();
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of modes) {
      for (const route of routes) {
        const contestants = peers.flatMap(peer => peer.contestants(route, load, mode, [String(connections[mode])]));
        const what = `${size} services: ${mode} ${route}`;
        for (const [name, sample] of await measureRound(contestants, length, what)) {
          const key = `${mode} ${route} ${name}`;
          const before = measured.get(key)?.samples ?? [];
          measured.set(key, { size, contestant: name as ContestantName, route, mode, samples: [...before, sample] });
        }
      }
    }
    progress(`${size} services: round ${round + 1}/${rounds}`);
  }
  return [...measured.values()];
}

function clusterTargets(results: Results, size: number): readonly Target[] {
  const ratio = (against: ContestantName) => results.ratio(size, 'ClusterIP local', 'crr', against);
  const what = `crr ClusterIP, ${size} services`;
  return [
    atLeast(`${what}: × pod to pod by plain routing`, ratio('plain'), 0.97),
    atLeast(`${what}: × pod to pod through us`, ratio('ciliate pod'), 0.97),
    ...(size === 10 ? [atLeast(`${what}: × iptables`, ratio('iptables'), 1)] : []),
    ...(size === 10_000 ? [atLeast(`${what}: × iptables`, ratio('iptables'), 2)] : []),
  ];
}

/**
 * How the rate changes from the first size to the last. They are not measured at the same time: each is taken against plain routing of its own
 * round first, so that a machine that has become slower is not taken for us.
 */
function flatness(results: Results, route: Route, first: number, last: number): Ratio {
  const own = (size: number) =>
    results.rates(size, route, 'crr', 'ciliate').map((rate, round) => {
      return rate / (results.rates(size, route, 'crr', 'plain')[round] ?? Number.NaN);
    });
  return ratioOf(own(last), own(first));
}

function nodePortTargets(results: Results, sizes: readonly number[]): readonly Target[] {
  const first = sizes[0] ?? 0;
  const last = sizes.at(-1) ?? first;
  return (['NodePort local', 'NodePort remote'] as const).flatMap(route => {
    const [better] = (['iptables', 'nftables'] as const)
      .map(peer => results.ratio(first, route, 'crr', peer))
      .toSorted((a, b) => a.median - b.median);
    return [
      ...(better === undefined
        ? []
        : [atLeast(`crr ${route}, ${first} services: × better of iptables and nftables`, better, 1.1)]),
      ...(last === first
        ? []
        : [atLeast(`crr ${route}: ${last} services × ${first}`, flatness(results, route, first, last), 0.97)]),
    ];
  });
}

function controlTargets(facts: readonly SizeFacts[]): readonly Target[] {
  const below = (target: string, value: number, limit: number, unit: string): Target => ({
    target: `${target} < ${limit} ${unit}`,
    measured: `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`,
    met: value < limit,
  });
  return facts
    .filter(fact => fact.peer === 'ciliate')
    .flatMap(({ size, programMs, changesMs, rssBytes = 0 }) => [
      ...(size === 10_000
        ? [below(`${size} services × 4 programmed, from watch events on`, programMs, 1000, 'ms')]
        : []),
      ...(size < 30_000
        ? []
        : [
            below(`one change in the kernel at ${size} services: p99`, quantile(changesMs, 0.99), 5, 'ms'),
            below(`agent at ${size} services`, rssBytes / 1e6, 300, 'MB'),
          ]),
    ]);
}

function chartsOf(results: Results, sizes: readonly number[]): readonly Chart[] {
  return (['ClusterIP local', 'NodePort remote'] as const).map(route => ({
    title: `${route}: connect, request, close`,
    unit: 'per second, more is better',
    series: contestantNames,
    groups: sizes.map(size => ({
      name: `${size} services`,
      values: contestantNames.map(name => {
        const rates = results.rates(size, route, 'crr', name);
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
      const result = await measureSize(size, options.quick && i > 0 ? ['crr'] : everyMode, options);
      measured.push(...result.measured);
      facts.push(...result.facts);
    }
    const results = new Results(measured);
    return {
      text: textOf(measured, facts, results),
      targets: [
        ...options.sizes.flatMap(size => clusterTargets(results, size)),
        ...nodePortTargets(results, options.sizes),
        ...controlTargets(facts),
      ],
      data: { measured, facts },
      charts: chartsOf(results, options.sizes),
    };
  },
};
