/**
 * Bundles every entry that exists into build/<name>.mjs and writes launchers build/bin/* that start them with the pinned
 * node. Native modules stay outside of the bundle; koffi is found through node_modules.
 */
import { chmodSync, existsSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const node = join(root, 'node_modules/node/bin/node');

interface Entry {
  readonly bundle: string;
  readonly source: string;
  /** Name in build/bin; without one it is not a program of its own. */
  readonly launcher?: string;
  /** Bundled code that starts once a pod: no source map is read, no banner. */
  readonly small?: boolean;
  /** Options of node. Default: with source maps. */
  readonly node?: readonly string[];
}

const entries: readonly Entry[] = [
  {
    bundle: 'agent',
    source: 'packages/agent/src/bin/agent.ts',
    launcher: 'ciliate-agent',
    // Memory, on every node: parsed source maps are 20 MB (the bundle keeps its names), and V8's young generation grows to twice 64 MiB
    // when lists come, and stays so. Twice 4 costs no time that could be measured.
    node: ['--max-semi-space-size=4'],
  },
  { bundle: 'operator', source: 'packages/agent/src/bin/operator.ts', launcher: 'ciliate-operator' },
  { bundle: 'event-worker', source: 'packages/datapath/src/event-worker.ts' },
  { bundle: 'cni', source: 'packages/agent/src/bin/cni.ts', launcher: 'ciliate-cni', small: true },
  { bundle: 'cli', source: 'packages/cli/src/main.ts', launcher: 'ciliate' },
  { bundle: 'apiserver', source: 'packages/sandbox/src/bin/apiserver.ts', launcher: 'ciliate-sandbox-apiserver' },
  { bundle: 'kubelet', source: 'packages/sandbox/src/bin/kubelet.ts', launcher: 'ciliate-sandbox-kubelet' },
  { bundle: 'supervisor', source: 'packages/sandbox/src/bin/supervisor.ts', launcher: 'ciliate-sandbox-supervisor' },
  { bundle: 'relay', source: 'packages/sandbox/src/bin/relay.ts', launcher: 'ciliate-sandbox-relay', small: true },
  { bundle: 'dns', source: 'packages/sandbox/src/bin/dns.ts', launcher: 'ciliate-sandbox-dns' },
  { bundle: 'echo', source: 'packages/sandbox/src/bin/echo.ts', launcher: 'ciliate-sandbox-echo', small: true },
];

/** CommonJS packages inside an ESM bundle still call require and use __dirname. */
const banner = [
  "import { createRequire as ciliateCreateRequire } from 'node:module';",
  'const require = ciliateCreateRequire(import.meta.url);',
  'const __filename = import.meta.filename; const __dirname = import.meta.dirname;',
].join('\n');

/** Written beside and renamed, so that a running cluster never starts half a file. */
function replaceFile(path: string, text: string, mode: number): void {
  writeFileSync(`${path}.new`, text);
  chmodSync(`${path}.new`, mode);
  renameSync(`${path}.new`, path);
}

/** Single quotes for sh. */
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

async function bundle(entry: Entry): Promise<string> {
  const target = join(root, 'build', `${entry.bundle}.mjs`);
  await build({
    entryPoints: [join(root, entry.source)],
    outfile: target,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    external: ['koffi', 'better-sqlite3'],
    minify: entry.small === true,
    sourcemap: entry.small === true ? false : 'linked',
    banner: entry.small === true ? {} : { js: banner },
    logLevel: 'warning',
    legalComments: 'none',
  });
  if (entry.launcher === undefined) return `${entry.bundle}.mjs`;
  const options = entry.node ?? (entry.small === true ? [] : ['--enable-source-maps']);
  replaceFile(
    join(root, 'build/bin', entry.launcher),
    `#!/bin/sh\nexec ${[quote(node), ...options, quote(target)].join(' ')} "$@"\n`,
    0o755,
  );
  return `${entry.bundle}.mjs ${Math.round(statSync(target).size / 1024)} KiB`;
}

mkdirSync(join(root, 'build/bin'), { recursive: true });
const wanted = process.argv.slice(2);
const chosen = entries.filter(entry => wanted.length === 0 || wanted.includes(entry.bundle));
const present = chosen.filter(entry => existsSync(join(root, entry.source)));
const built = await Promise.all(present.map(bundle));
for (const line of built) process.stdout.write(`build: ${line}\n`);
