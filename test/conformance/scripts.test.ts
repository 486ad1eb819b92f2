/** Scripts of our own in the language of the data's, *.txtar in scripts/: behaviour that the data does not have, held to by the same driver. */
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { parseArchive } from '../script/txtar.ts';
import { runLoadBalancerScript } from './loadbalancer/script.ts';

describe('load balancer scripts of our own', () => {
  for (const file of globSync(join(import.meta.dirname, 'scripts', '*.txtar')).sort()) {
    const { script, files } = parseArchive(readFileSync(file, 'utf8'));
    test(basename(file, '.txtar'), () => runLoadBalancerScript({ script, files: Object.fromEntries(files) }));
  }
});
