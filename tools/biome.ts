/**
 * Runs Biome's own binary for this machine. The umbrella package names a binary for every platform, and a registry that mirrors
 * only some of them makes a lockfile that `npm ci` refuses; so package.json names the two that we run on.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const binary = join(import.meta.dirname, `../node_modules/@biomejs/cli-linux-${process.arch}/biome`);
const run = spawnSync(binary, process.argv.slice(2), { stdio: 'inherit' });
if (run.error !== undefined) process.stderr.write(`${binary}: ${run.error.message}: run 'make setup'\n`);
process.exitCode = run.status ?? 1;
