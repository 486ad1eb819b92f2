/** The agents of a sandbox as processes. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Cluster } from './cluster.ts';
import { eventually } from './cluster.ts';

/** The agent's process of a node, by its command line. */
export function agentPid(cluster: Cluster, node: string): number | undefined {
  const pids = readdirSync('/proc').filter(entry => /^\d+$/.test(entry));
  const found = pids.find(pid => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return (
        /node$/.test(words[0] ?? '') &&
        words.some(word => /\/agent\.(mjs|ts)$/.test(word)) &&
        words.some(word => word.includes(`/run/ciliate/${cluster.name}/${node}/`))
      );
    } catch {
      return false;
    }
  });
  return found === undefined ? undefined : Number(found);
}

/** kill -9; resolves when the supervisor has started another one and it is ready. */
export async function restartAgent(cluster: Cluster, node: string): Promise<void> {
  const before = agentPid(cluster, node);
  if (before === undefined) throw new Error(`no agent on ${node}`);
  process.kill(before, 'SIGKILL');
  await eventually(`${node} has a new agent that is ready`, async () => {
    const now = agentPid(cluster, node);
    if (now === undefined || now === before) return undefined;
    const status = await cluster.ciliate('--node', node, 'status', '--brief');
    return status.code === 0 ? true : undefined;
  });
}

/** Options of all agents from their next start on; that of `node` is killed for it. Resolves when it is ready again. */
export async function agentOptions(cluster: Cluster, node: string, options: readonly string[]): Promise<void> {
  const path = `/run/ciliate/${cluster.name}/state.json`;
  const state: object = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...state, agentOptions: options }));
  await restartAgent(cluster, node);
}
