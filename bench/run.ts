/**
 * Every benchmark side by side: `node bench/run.ts [--rounds 5] [--seconds 2] [--quick]` (root).
 * Rounds are interleaved over the scenarios, so that what disturbs the machine disturbs all of them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Cluster, run } from '../test/lib/cluster.ts';
import { addressesOf, nodeDirectory, restartAgent, startCluster } from './lib/cluster.ts';
import { measureCni } from './lib/cni-add.ts';
import { Plain } from './lib/plain.ts';
import { type Facts, keyOf, linesOf, markdownOf, type Sample, targetsOf } from './lib/report.ts';
import { type Mode, modes, type Scenario, scenariosOf } from './lib/scenarios.ts';
import { measureTables } from './lib/tables.ts';

const root = join(import.meta.dirname, '..');
const load = join(root, 'build/bench/load');
const port = 9100;

const { values } = parseArgs({
  options: { rounds: { type: 'string' }, seconds: { type: 'string' }, quick: { type: 'boolean', default: false } },
});
const rounds = Number(values.rounds ?? (values.quick ? 1 : 5));
const seconds = Number(values.seconds ?? (values.quick ? 1 : 2));
if (!Number.isInteger(rounds) || rounds < 1 || !(seconds > 0))
  throw new Error('--rounds takes a whole number from 1, --seconds a number above 0');

function progress(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
}

async function sample(scenario: Scenario, mode: Mode): Promise<Sample> {
  const [command = '', ...args] = scenario.command(load, mode, seconds);
  const { code, stdout, stderr } = await run(command, args, { timeout: (seconds + 30) * 1000 });
  if (code !== 0) throw new Error(`${scenario.name} ${mode}: exit ${code}: ${stdout}${stderr}`);
  const result: Sample = JSON.parse(stdout);
  if (result.operations === 0) throw new Error(`${scenario.name} ${mode}: no operation succeeded: ${stdout}`);
  return result;
}

async function measureNetwork(scenarios: readonly Scenario[]): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of modes) {
      for (const scenario of scenarios) {
        const result = await sample(scenario, mode);
        const key = keyOf(scenario.name, mode);
        samples.set(key, [...(samples.get(key) ?? []), result]);
        const rate =
          mode === 'stream' ? `${((result.bytes_per_second * 8) / 1e9).toFixed(2)} Gbit/s` : `${result.rate} /s`;
        progress(`round ${round + 1}/${rounds} ${key}: ${rate}, ${result.errors} errors`);
      }
    }
  }
  return samples;
}

async function measureFacts(cluster: Cluster): Promise<Facts> {
  progress('tables');
  const tables = await measureTables(50_000);
  progress('CNI ADD and DEL');
  const plugin = join(root, 'build/bin/ciliate-cni');
  const cni = measureCni(plugin, nodeDirectory(cluster, 'node-1'), values.quick ? 10 : 50);
  progress('agent restart');
  const { readyAfterMs, rssBytes } = await restartAgent(cluster);
  return { tables, cni, readyAfterMs, rssBytes };
}

async function main(): Promise<void> {
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
    const samples = await measureNetwork(scenarios);
    const facts = await measureFacts(vxlan);
    const lines = linesOf(scenarios, samples);
    const targets = targetsOf(lines, facts);
    const head = `${new Date().toISOString()}, Linux ${release()}, ${cpus().length} CPUs, ${rounds} rounds of ${seconds} s.`;
    const text = markdownOf(head, lines, targets, facts);
    const results = join(import.meta.dirname, 'results');
    mkdirSync(results, { recursive: true });
    writeFileSync(join(results, 'latest.md'), text);
    const json = { head, targets, facts, lines, samples: Object.fromEntries(samples) };
    writeFileSync(join(results, 'latest.json'), `${JSON.stringify(json, undefined, 1)}\n`);
    process.stdout.write(`${text}\n`);
  } finally {
    plain.down();
    for (const cluster of clusters) {
      const { code, stderr } = cluster.down();
      if (code !== 0) progress(`sandbox ${cluster.name} did not go: ${stderr}`);
    }
  }
}

await main();
