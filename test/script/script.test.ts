/**
 * Each *.txtar beside this file, as it is and with one map write in ten failing.
 * node test/script/script.test.ts --update rewrites the expectations.
 */
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { runScript } from './script.ts';
import { formatArchive, parseArchive } from './txtar.ts';

const update = process.argv.includes('--update');
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);

for (const file of globSync(join(import.meta.dirname, '*.txtar')).sort()) {
  const archive = parseArchive(readFileSync(file, 'utf8'));
  test(`${basename(file, '.txtar')}`, async () => {
    const files = await runScript(archive, { faults: 0, seed, update });
    if (update) writeFileSync(file, formatArchive({ script: archive.script, files }));
  });
  if (update) continue;
  test(`${basename(file, '.txtar')} with faults (SEED=${seed})`, async () => {
    await runScript(archive, { faults: 0.1, seed, update });
  });
}
