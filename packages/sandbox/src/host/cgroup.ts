/** cgroup2 (Documentation/admin-guide/cgroup-v2.rst): where it is, killing and removing a subtree. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from './run.ts';

/** Mount point of cgroup2 in the text of /proc/mounts; undefined when there is none. */
export function findCgroup2(mounts: string): string | undefined {
  const line = mounts
    .split('\n')
    .map(text => text.split(' '))
    .find(([, , type]) => type === 'cgroup2');
  return line?.[1];
}

/** The machine's cgroup2, or one mounted at `fallback` when there is none. */
export async function cgroup2Root(fallback: string): Promise<string> {
  const found = findCgroup2(readFileSync('/proc/mounts', 'utf8'));
  if (found !== undefined) return found;
  mkdirSync(fallback, { recursive: true });
  await run('mount', ['-t', 'cgroup2', 'none', fallback]);
  return fallback;
}

/** Ends every process in the subtree and removes it. A cgroup that does not exist is fine. */
export async function removeCgroup(path: string): Promise<void> {
  if (!existsSync(path)) return;
  killCgroup(path);
  for (let tries = 0; tries < 200 && isPopulated(path); tries += 1) {
    await delay(25);
    if (tries % 40 === 39) killCgroup(path);
  }
  for (let tries = 0; ; tries += 1) {
    try {
      removeTree(path);
      return;
    } catch (error) {
      if (tries >= 40) throw error;
      await delay(25);
    }
  }
}

/** SIGKILL to all of the subtree, by the kernel (5.14+): nothing that forks meanwhile gets away. */
export function killCgroup(path: string): void {
  try {
    writeFileSync(join(path, 'cgroup.kill'), '1');
  } catch {
    // Already gone.
  }
}

export function isPopulated(path: string): boolean {
  try {
    return readFileSync(join(path, 'cgroup.events'), 'utf8').includes('populated 1');
  } catch {
    return false;
  }
}

function removeTree(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(path, entry.name));
  }
  rmdirSync(path);
}
