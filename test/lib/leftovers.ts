/** What a sandbox of the given name has left on this machine; empty after a good `down`. */
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';

function processes(stateDir: string): readonly string[] {
  return readdirSync('/proc')
    .filter(pid => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .flatMap(pid => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return command.includes(`${stateDir}/`) ? [`process ${pid}: ${command.trim()}`] : [];
      } catch {
        return [];
      }
    });
}

export function leftovers(name: string): readonly string[] {
  const stateDir = `/run/ciliate/${name}`;
  const prefix = name === 'sandbox' ? 'ciliate-' : `ciliate-${name}-`;
  const namespaces = existsSync('/run/netns')
    ? readdirSync('/run/netns').filter(entry => entry.startsWith(prefix))
    : [];
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter(line => line.includes(`${stateDir}/`) || line.includes(`/${prefix}`));
  const cgroups = globSync(`/sys/fs/cgroup{,/unified}/ciliate-${name}`);
  return [
    ...processes(stateDir),
    ...namespaces.map(entry => `namespace ${entry}`),
    ...mounts.map(line => `mount ${line}`),
    ...cgroups.map(path => `cgroup ${path}`),
    ...(existsSync(stateDir) ? [`files in ${stateDir}`] : []),
  ];
}
