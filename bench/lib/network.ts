/** Pods, services and NodePorts of a sandbox against plain kernel routing; CNI, start and memory of the agent. */
import { join } from 'node:path';
import type { Cluster } from '../../test/lib/cluster.ts';
import { addressesOf, nodeDirectory, restartAgent, startCluster } from './cluster.ts';
import { measureCni } from './cni-add.ts';
import { measureFullNode } from './full-node.ts';
import { Plain } from './plain.ts';
import { type Facts, keyOf, type Line, linesOf, networkText, type Sample, targetsOf } from './report.ts';
import { measureRound } from './rounds.ts';
import { modes, type Scenario, scenariosOf } from './scenarios.ts';
import type { BenchOptions, Chart, Section } from './section.ts';
import { measureTables } from './tables.ts';

const root = join(import.meta.dirname, '../..');

async function measureTraffic(scenarios: readonly Scenario[], options: BenchOptions): Promise<Map<string, Sample[]>> {
  const { rounds, seconds, load, progress } = options;
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of modes) {
      const contestants = scenarios.map(({ name, command }) => ({
        name,
        command: (length: number) => command(load, mode, length),
      }));
      for (const [name, sample] of await measureRound(contestants, { seconds, pieces: 2 }, mode)) {
        const key = keyOf(name, mode);
        samples.set(key, [...(samples.get(key) ?? []), sample]);
      }
      progress(`round ${round + 1}/${rounds} ${mode}`);
    }
  }
  return samples;
}

async function measureFacts(cluster: Cluster, { quick, progress }: BenchOptions): Promise<Facts> {
  progress('tables');
  const tables = await measureTables(50_000);
  progress('CNI ADD and DEL');
  const plugin = join(root, 'build/bin/ciliate-cni');
  const cni = await measureCni(plugin, nodeDirectory(cluster, 'node-1'), quick ? 10 : 50);
  progress('agent restart');
  const { readyAfterMs, rssBytes } = await restartAgent(cluster);
  progress('agent with many pods');
  const full = await measureFullNode(quick ? 50 : 200);
  return { tables, cni, readyAfterMs, rssBytes, full };
}

function chartOf(lines: readonly Line[]): Chart {
  const names = [...new Set(lines.map(line => line.scenario))].filter(name => !name.startsWith('plain'));
  const ratio = (name: string, mode: string) =>
    lines.find(line => line.scenario === name && line.mode === mode)?.ratio.median;
  return {
    title: 'Rate against plain kernel routing in the same namespaces',
    unit: '×',
    series: modes,
    groups: names.map(name => ({ name, values: modes.map(mode => ratio(name, mode)) })),
  };
}

export const networkSection: Section = {
  name: 'network',
  title: 'Pods and services against plain kernel routing',
  measure: async options => {
    const { load, port, progress } = options;
    const plain = new Plain();
    const clusters: Cluster[] = [];
    try {
      progress('plain namespaces and two sandboxes');
      plain.up(load, port);
      const vxlan = await startCluster('vxlan', load, port);
      clusters.push(vxlan);
      const native = await startCluster('native', load, port);
      clusters.push(native);
      const addresses = { vxlan: await addressesOf(vxlan), native: await addressesOf(native) };
      const scenarios = scenariosOf({ plain, port, ...addresses });
      const samples = await measureTraffic(scenarios, options);
      const facts = await measureFacts(vxlan, options);
      const lines = linesOf(scenarios, samples);
      const data = { facts, lines, samples: Object.fromEntries(samples) };
      return { text: networkText(lines, facts), targets: targetsOf(lines, facts), data, charts: [chartOf(lines)] };
    } finally {
      plain.down();
      for (const cluster of clusters) {
        const { code, stderr } = cluster.down();
        if (code !== 0) progress(`sandbox ${cluster.name} did not go: ${stderr}`);
      }
    }
  },
};
