/**
 * Type-checks every package with its own tsconfig (pure packages see no node types), then tests, tools and bench.
 * Pure packages have a second tsconfig.test.json, because their tests may use node:test.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const projects = readdirSync(join(root, 'packages'))
  .flatMap(name => ['tsconfig.json', 'tsconfig.test.json'].map(file => join('packages', name, file)))
  .filter(file => existsSync(join(root, file)));
projects.push('tsconfig.json');

let failed = 0;
for (const project of projects) {
  const run = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', project], { cwd: root, encoding: 'utf8' });
  if (run.status === 0) continue;
  failed += 1;
  process.stdout.write(`${project}:\n${run.stdout}${run.stderr}`);
}
process.stdout.write(
  failed === 0 ? `typecheck: ${projects.length} projects ok\n` : `typecheck: ${failed} projects failed\n`,
);
process.exitCode = failed === 0 ? 0 : 1;
