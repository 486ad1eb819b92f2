/** Named network namespaces: a file under /run/netns that the namespace is mounted on, as `ip netns` makes them. */
import { closeSync, existsSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { netnsPath } from '../layout.ts';
import { attempt, run } from './run.ts';

/** Without `ip netns add`, which would make /run/netns itself a mount of the machine. Loopback is up. */
export async function addNetns(name: string): Promise<void> {
  const path = netnsPath(name);
  mkdirSync('/run/netns', { recursive: true });
  closeSync(openSync(path, 'wx', 0o444));
  await run('unshare', [`--net=${path}`, 'ip', 'link', 'set', 'lo', 'up']);
}

/** A namespace that is not there is fine. Unlinking also detaches copies of the mount in other mount namespaces. */
export async function removeNetns(name: string): Promise<void> {
  const path = netnsPath(name);
  if (!existsSync(path)) return;
  await attempt('umount', ['--lazy', path]);
  rmSync(path, { force: true });
}
