/** The control plane against real kernel maps, without a node: services and policies, each size in a process of its own. */
import { join } from 'node:path';
import { run } from '../../test/lib/cluster.ts';
import type { Target } from '../lib/report.ts';
import type { BenchOptions, LineChart, Section } from '../lib/section.ts';
import { growth, median } from '../lib/statistics.ts';
import { localPods, type PolicyResult } from './policies.ts';
import type { ServiceResult } from './services.ts';

const child = join(import.meta.dirname, 'child.ts');

async function inChild<Result>(what: string, first: number, second: number): Promise<Result> {
  const words = ['--expose-gc', child, what, String(first), String(second)];
  const { code, stdout, stderr } = await run(process.execPath, words, { timeout: 180_000 });
  if (code !== 0) throw new Error(`${what} ${first} ${second}: exit ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

type Grid = readonly (readonly [identities: number, policies: number])[];

/** Along the identities under the most policies, then along the policies under the most identities. */
function gridOf(quick: boolean): Grid {
  const identities = quick ? [200, 1000] : [200, 1000, 2000, 5000, 10_000];
  const policies = quick ? [10, 100] : [10, 100, 300, 1000];
  const [mostIdentities = 0, mostPolicies = 0] = [identities.at(-1), policies.at(-1)];
  return [
    ...identities.map(count => [count, mostPolicies] as const),
    ...policies.slice(0, -1).map(count => [mostIdentities, count] as const),
  ];
}

/** Each cell three times; times are medians, the memory is that of one. */
async function measurePolicies({ quick, progress }: BenchOptions): Promise<readonly PolicyResult[]> {
  const results: PolicyResult[] = [];
  for (const [identities, policies] of gridOf(quick)) {
    progress(`control plane: ${identities} identities × ${policies} policies`);
    const runs: PolicyResult[] = [];
    for (let n = 0; n < (quick ? 1 : 3); n += 1) runs.push(await inChild('policies', identities, policies));
    const [first] = runs;
    if (first === undefined) continue;
    const middle = (of: 'compileMs' | 'identityMs' | 'policyMs' | 'verifyMs') => median(runs.map(one => one[of]));
    results.push({
      ...first,
      compileMs: middle('compileMs'),
      identityMs: middle('identityMs'),
      policyMs: middle('policyMs'),
      verifyMs: middle('verifyMs'),
    });
  }
  return results;
}

async function measureServices({ sizes, quick, progress }: BenchOptions): Promise<readonly ServiceResult[]> {
  const results: ServiceResult[] = [];
  for (const size of sizes) {
    progress(`control plane: ${size} services`);
    results.push(await inChild('services', size, quick ? 50 : 300));
  }
  return results;
}

const ms = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

/** Cells under the most of `fixed`, along the other. */
function along(results: readonly PolicyResult[], axis: 'identities' | 'policies'): readonly PolicyResult[] {
  const fixed = axis === 'identities' ? 'policies' : 'identities';
  const most = Math.max(...results.map(one => one[fixed]));
  return results.filter(one => one[fixed] === most).toSorted((a, b) => a[axis] - b[axis]);
}

/** 'identities^0.9': 1 is in proportion. */
function growthText(results: readonly PolicyResult[], axis: 'identities' | 'policies'): string {
  const cells = along(results, axis);
  const of = (value: (one: PolicyResult) => number): string =>
    growth(cells.map(one => [one[axis], value(one)] as const)).toFixed(2);
  const base = Math.min(...results.map(one => one.memory.live));
  const size = `time ~ ${axis}^${of(one => one.compileMs)}, map entries ~ ${axis}^${of(one => one.entries)}`;
  const most = cells.at(-1);
  const least = cells[0];
  if (most === undefined || least === undefined) return size;
  const bytes = (most.memory.live - least.memory.live) / (most[axis] - least[axis]);
  return `${size}; live memory + ${(bytes / 1000).toFixed(1)} KB each (${megabytes(base)} at least)`;
}

function textOf(services: readonly ServiceResult[], policies: readonly PolicyResult[]): readonly string[] {
  const serviceRow = (one: ServiceResult): string => {
    const cells = [one.services, ms(one.programMs), ms(one.changeP50), ms(one.changeP99)];
    return `| ${[...cells, megabytes(one.memory.rss), megabytes(one.memory.live)].join(' | ')} |`;
  };
  const policyRow = (one: PolicyResult): string => {
    const times = [one.compileMs, one.identityMs, one.policyMs, one.verifyMs].map(ms);
    const cells = [one.identities, one.policies, one.entries, ...times];
    return `| ${[...cells, megabytes(one.memory.rss), megabytes(one.memory.live)].join(' | ')} |`;
  };
  return [
    'Tables, controllers and reconcilers over real kernel maps; no API server, no node, no traffic. Each row is a process of its own: RSS is its',
    'memory as it ended, garbage included, "live" what its objects took after a collection. 4 endpoints a service.',
    '',
    '| services | from nothing | one EndpointSlice, p50 | p99 | RSS | live |',
    '| --: | --: | --: | --: | --: | --: |',
    ...services.map(serviceRow),
    '',
    `${localPods} pods on the node; all policies and identities of the cluster. A change ends when the kernel holds the new policy maps.`,
    '',
    '| identities | policies | map entries | all from nothing | one more identity | one more policy | all verified | RSS | live |',
    '| --: | --: | --: | --: | --: | --: | --: | --: | --: |',
    ...policies.map(policyRow),
    '',
    `Growth under the most policies: ${growthText(policies, 'identities')}.`,
    `Growth under the most identities: ${growthText(policies, 'policies')}.`,
    '',
  ];
}

function chartsOf(services: readonly ServiceResult[], policies: readonly PolicyResult[]): readonly LineChart[] {
  const line = (name: string, axis: 'identities' | 'policies', value: (one: PolicyResult) => number) => ({
    name,
    points: along(policies, axis).map(one => [one[axis], value(one)] as const),
  });
  return [
    {
      title: 'Policies compiled from nothing',
      x: 'identities, or policies',
      y: 'ms',
      lines: [
        line('identities, most policies', 'identities', one => one.compileMs),
        line('policies, most identities', 'policies', one => one.compileMs),
      ],
    },
    {
      title: 'Memory of compiled policies, live',
      x: 'identities, or policies',
      y: 'MB',
      lines: [
        line('identities, most policies', 'identities', one => one.memory.live / 1e6),
        line('policies, most identities', 'policies', one => one.memory.live / 1e6),
      ],
    },
    {
      title: 'Services, without API server',
      x: 'services',
      y: 'ms, or MB',
      lines: [
        { name: 'programmed, ms', points: services.map(one => [one.services, one.programMs] as const) },
        { name: 'RSS, MB', points: services.map(one => [one.services, one.memory.rss / 1e6] as const) },
        { name: 'live, MB', points: services.map(one => [one.services, one.memory.live / 1e6] as const) },
      ],
    },
  ];
}

function targetsOf(services: readonly ServiceResult[]): readonly Target[] {
  return services
    .filter(one => one.services === 10_000)
    .map(one => ({
      target: '10000 services × 4 endpoints, tables to kernel < 1000 ms',
      measured: ms(one.programMs),
      met: one.programMs < 1000,
    }));
}

export const controlSection: Section = {
  name: 'control',
  title: 'Control plane',
  measure: async options => {
    const services = await measureServices(options);
    const policies = await measurePolicies(options);
    return {
      text: textOf(services, policies),
      targets: targetsOf(services),
      data: { services, policies },
      charts: chartsOf(services, policies),
    };
  },
};
