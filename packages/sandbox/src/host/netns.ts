/** Named network namespaces: a file under /run/netns that the namespace is mounted on. */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { netnsPath } from '../layout.ts';
import { attempt, run } from './run.ts';

const directory = '/run/netns';

/**
 * Made by iproute2 itself: its first use binds /run/netns onto itself, and namespaces mounted there before that moment
 * could never be unmounted by their path again. Loopback is up.
 */
export async function addNetns(name: string): Promise<void> {
  await run('ip', ['netns', 'add', name]);
  await run('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
}

/**
 * A namespace that is not there is fine. Unlinking also detaches copies of the mount in other mount namespaces.
 * @throws Error EBUSY when something else holds the file
 */
export async function removeNetns(name: string): Promise<void> {
  const path = netnsPath(name);
  if (!existsSync(path)) return;
  for (let tries = 0; tries < 4 && isMounted(path); tries += 1) await attempt('umount', ['--lazy', path]);
  rmSync(path, { force: true });
}

/** When no namespace of anybody is left: /run/netns is as before the first `ip netns add` of this machine. */
export async function removeEmptyNetnsDirectory(): Promise<void> {
  try {
    if (!existsSync(directory) || readdirSync(directory).length > 0) return;
    if (isMounted(directory)) await attempt('umount', [directory]);
    if (readdirSync(directory).length === 0) rmdirSync(directory);
  } catch {
    // Somebody has just made one.
  }
}

function isMounted(path: string): boolean {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.some(line => line.split(' ')[4] === path);
}
