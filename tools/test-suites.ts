/** What belongs to which suite (STYLE §3). */
import { globSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

export interface Suite {
  readonly name: string;
  readonly patterns: readonly string[];
  /** Files at a time. Privileged ones share the machine's namespaces and devices: one. */
  readonly concurrency: number;
  /** Milliseconds for one file. */
  readonly limit: number;
  /** Tests of it may need root; each is shown as it ends. */
  readonly privileged: boolean;
}

const minute = 60_000;

export const suites: readonly Suite[] = [
  {
    name: 'unit',
    patterns: ['packages/*/src/**/*.test.ts', 'test/script/**/*.test.ts', 'tools/**/*.test.ts', 'bench/**/*.test.ts'],
    concurrency: 2,
    limit: 3 * minute,
    privileged: false,
  },
  {
    name: 'kernel',
    patterns: ['test/packet/**/*.test.ts', 'packages/*/src/**/*.privileged.test.ts'],
    concurrency: 1,
    limit: 10 * minute,
    privileged: true,
  },
  { name: 'netns', patterns: ['test/netns/**/*.test.ts'], concurrency: 1, limit: 40 * minute, privileged: true },
  {
    name: 'conformance',
    patterns: ['test/conformance/**/*.test.ts'],
    concurrency: 1,
    limit: 40 * minute,
    privileged: true,
  },
  { name: 'e2e', patterns: ['test/e2e/**/*.{test,spec}.ts'], concurrency: 1, limit: 20 * minute, privileged: true },
];

export function filesOf(suite: Suite): readonly string[] {
  const files = globSync(suite.patterns.map(pattern => join(root, pattern)));
  // Privileged tests beside code run with the kernel's, not with the quick ones.
  return files.filter(file => suite.privileged || !file.includes('.privileged.')).sort();
}

export interface Check {
  readonly name: string;
  readonly command: readonly string[];
}

/** What `all` checks before it tests; each counts as one test. */
export const checks: readonly Check[] = [
  { name: 'layouts generated from BTF are those in the repository', command: ['node', 'tools/gen-abi.ts', '--check'] },
  { name: 'every package type-checks', command: ['node', 'tools/typecheck.ts'] },
  { name: 'lint and format', command: ['node', 'tools/biome.ts', 'check', '--error-on-warnings', '.'] },
  { name: 'imports go one way', command: ['node', 'tools/check-deps.ts'] },
];
