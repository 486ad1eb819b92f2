/** How to start our own programs: bundles when we are one ourselves, else the TypeScript sources. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

export type ProgramName =
  | 'apiserver'
  | 'kubelet'
  | 'dns'
  | 'echo'
  | 'relay'
  | 'supervisor'
  | 'agent'
  | 'operator'
  | 'cni';

const bundled = import.meta.filename.endsWith('.mjs');

/** The checkout: the nearest directory above that holds node_modules. */
export const root = findRoot(import.meta.dirname);

function findRoot(from: string): string {
  for (let at = from; at !== '/'; at = dirname(at)) {
    if (existsSync(join(at, 'node_modules/node/bin/node')) || existsSync(join(at, 'build/bpf'))) return at;
  }
  return dirname(from);
}

/** The command line that starts the program. */
export function program(name: ProgramName): readonly string[] {
  const file = bundled ? join(root, 'build', `${name}.mjs`) : sourceOf(name);
  // As its launcher (tools/build.ts) has it.
  const options = name === 'agent' ? ['--max-semi-space-size=4'] : [];
  return [process.execPath, '--disable-warning=ExperimentalWarning', ...options, file];
}

export const programExists = (name: ProgramName): boolean => existsSync(program(name).at(-1) ?? '');

function sourceOf(name: ProgramName): string {
  const override = process.env[`CILIATE_PROGRAM_${name.toUpperCase()}`];
  if (override !== undefined) return override;
  const owner = name === 'agent' || name === 'operator' || name === 'cni' ? 'agent' : 'sandbox';
  return join(root, 'packages', owner, 'src/bin', `${name}.ts`);
}

/** Single quotes for sh. */
export const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
