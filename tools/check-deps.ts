/**
 * Import rules (STYLE rule 12): a package imports only the packages that tools/deps.json allows it, itself by
 * relative path, third-party packages that its own package.json names, and, if it is pure, no `node:` module.
 */
import { globSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, relative, resolve } from 'node:path';

const root = join(import.meta.dirname, '..');
const pure = new Set(['tables', 'abi', 'model', 'control', 'protocol']);
const allowed: Readonly<Record<string, readonly string[]>> = JSON.parse(
  readFileSync(join(root, 'tools/deps.json'), 'utf8'),
);

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
}

function importsOf(source: string): readonly string[] {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\//g, '');
  return [
    ...code.matchAll(
      /^\s*(?:import|export)\b[^'"`;]*?from\s+'([^']+)'|^\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'/gm,
    ),
  ]
    .map(match => match[1] ?? match[2] ?? match[3])
    .filter(name => name !== undefined);
}

function violation(pkg: string, file: string, name: string, manifest: Manifest): string | undefined {
  const isTest = /\.test(-lib)?\.ts$/.test(file);
  if (name.startsWith('.')) {
    const target = resolve(file, '..', name);
    return target.startsWith(join(root, 'packages', pkg)) ? undefined : 'relative import leaves the package';
  }
  const workspace = /^@ciliate\/([^/]+)/.exec(name)?.[1];
  if (workspace !== undefined) {
    return allowed[pkg]?.includes(workspace) ? undefined : `'${pkg}' may not import '${workspace}' (tools/deps.json)`;
  }
  if (name.startsWith('node:')) {
    return pure.has(pkg) && !isTest ? `'${pkg}' is pure: no node modules` : undefined;
  }
  if (builtinModules.includes(name)) return `write 'node:${name}'`;
  if (isTest) return undefined;
  const owner = name.startsWith('@') ? name.split('/').slice(0, 2).join('/') : name.split('/')[0];
  return owner !== undefined && manifest.dependencies?.[owner] !== undefined
    ? undefined
    : `'${name}' is not in packages/${pkg}/package.json`;
}

const problems: string[] = [];
let files = 0;
for (const pkg of Object.keys(allowed)) {
  const sources = globSync(join(root, 'packages', pkg, 'src/**/*.{ts,tsx}'));
  if (sources.length === 0) continue;
  const manifest: Manifest = JSON.parse(readFileSync(join(root, 'packages', pkg, 'package.json'), 'utf8'));
  for (const file of sources) {
    files += 1;
    for (const name of importsOf(readFileSync(file, 'utf8'))) {
      const problem = violation(pkg, file, name, manifest);
      if (problem !== undefined) problems.push(`${relative(root, file)}: ${problem}`);
    }
  }
}
for (const problem of problems) process.stdout.write(`${problem}\n`);
process.stdout.write(`check-deps: ${files} files, ${problems.length} violations\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
