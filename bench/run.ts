/**
 * Every benchmark side by side, or the sections that are named (root):
 * `node bench/run.ts [SECTION…] [--sizes 10,1000] [--rounds 5] [--seconds 1.5] [--quick] [--out DIRECTORY]`
 * Prints a table, and writes latest.{md,json,svg} into bench/results; of a --quick run, which is for trying out, into build/bench/results.
 * Sections that were not asked for keep their results of before.
 */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { controlSection } from './control/section.ts';
import { networkSection } from './lib/network.ts';
import { type Target, targetsText } from './lib/report.ts';
import type { BenchOptions, Chart, Section, SectionResult } from './lib/section.ts';
import { svgOf } from './lib/svg.ts';
import { enforcementSection } from './policy/enforcement-section.ts';
import { policySection } from './policy/section.ts';
import { servicesSection } from './services/section.ts';
import { xdpSection } from './xdp/section.ts';

const root = join(import.meta.dirname, '..');
const sections: readonly Section[] = [
  networkSection,
  servicesSection,
  xdpSection,
  policySection,
  enforcementSection,
  controlSection,
];

/** The path of a load generator. @throws when make has not built it since it was changed */
function built(name: string): string {
  const program = join(root, 'build/bench', name);
  const source = join(root, 'bench/load', `${name}.c`);
  if (!existsSync(program) || statSync(program).mtimeMs < statSync(source).mtimeMs)
    throw new Error(`build/bench/${name} is older than its source: make build/bench/${name}`);
  return program;
}

/** A section as it is kept. */
interface Kept extends SectionResult {
  readonly head: string;
}

function optionsOf(values: { rounds?: string; seconds?: string; sizes?: string; quick: boolean }): BenchOptions {
  const { quick } = values;
  const rounds = Number(values.rounds ?? (quick ? 1 : 5));
  const seconds = Number(values.seconds ?? (quick ? 1 : 1.5));
  const sizes = (values.sizes ?? (quick ? '10,1000' : '10,1000,10000,30000')).split(',').map(Number);
  if (!Number.isInteger(rounds) || rounds < 1 || !(seconds > 0))
    throw new Error('--rounds takes a whole number from 1, --seconds a number above 0');
  if (sizes.some(size => !Number.isInteger(size) || size < 3 || size > 60_000))
    throw new Error('--sizes takes whole numbers from 3 to 60000, with commas between them');
  const progress = (text: string): void => {
    process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
  };
  const tools = { probe: built('probe'), flood: built('flood') };
  return { rounds, seconds, quick, sizes, progress, load: built('load'), tools, port: 9100 };
}

function chosen(names: readonly string[]): readonly Section[] {
  const unknown = names.find(name => !sections.some(section => section.name === name));
  if (unknown !== undefined)
    throw new Error(`no section '${unknown}': there are ${sections.map(section => section.name).join(', ')}`);
  return sections.filter(section => names.length === 0 || names.includes(section.name));
}

/** Sections of former runs; what another version has written is not read. */
function readKept(results: string): Map<string, Kept> {
  const path = join(results, 'latest.json');
  if (!existsSync(path)) return new Map();
  const { sections: kept = {} }: { sections?: Readonly<Record<string, Kept>> } = JSON.parse(readFileSync(path, 'utf8'));
  return new Map(Object.entries(kept));
}

function write(results: string, kept: ReadonlyMap<string, Kept>): string {
  const present = sections.flatMap(section => {
    const result = kept.get(section.name);
    return result === undefined ? [] : [{ section, result }];
  });
  const targets: readonly Target[] = present.flatMap(({ result }) => result.targets);
  const charts: readonly Chart[] = present.flatMap(({ result }) => result.charts);
  const text = [
    '# Benchmark',
    '',
    'Two cores carry client, server and both nodes: ratios within one run mean more than absolute numbers.',
    '',
    '![charts](latest.svg)',
    '',
    '## Targets',
    '',
    ...targetsText(targets),
    ...present.flatMap(({ section, result }) => [`## ${section.title}`, '', result.head, '', ...result.text]),
  ].join('\n');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, 'latest.md'), text);
  writeFileSync(join(results, 'latest.svg'), svgOf(charts));
  writeFileSync(
    join(results, 'latest.json'),
    `${JSON.stringify({ sections: Object.fromEntries(kept) }, undefined, 1)}\n`,
  );
  return text;
}

async function main(): Promise<boolean> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      sizes: { type: 'string' },
      quick: { type: 'boolean', default: false },
      out: { type: 'string' },
    },
  });
  const options = optionsOf(values);
  const results = values.out ?? join(root, values.quick ? 'build/bench/results' : 'bench/results');
  const kept = readKept(results);
  let failed = false;
  for (const section of chosen(positionals)) {
    const head = `${new Date().toISOString()}, Linux ${release()}, ${cpus().length} CPUs, ${options.rounds} rounds.`;
    try {
      kept.set(section.name, { head, ...(await section.measure(options)) });
      write(results, kept);
    } catch (error) {
      // The others are worth having all the same.
      failed = true;
      options.progress(`section ${section.name} failed: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }
  process.stdout.write(`${write(results, kept)}\n`);
  return !failed;
}

process.exitCode = (await main()) ? 0 : 1;
