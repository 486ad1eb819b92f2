/** Time of CNI ADD and DEL as a container runtime sees it: from the start of the plugin's process to its end. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { callAgent } from '../../packages/agent/src/cni/call.ts';
import { quantile } from './statistics.ts';

export interface CniTimes {
  readonly count: number;
  readonly addP50Ms: number;
  readonly addP99Ms: number;
  readonly delP50Ms: number;
  readonly delP99Ms: number;
  /** Within the agent, without the plugin's process. */
  readonly agentP50Ms: number;
  readonly agentP99Ms: number;
}

/** The agent's own word on how long an ADD took it. */
async function agentTimes(socketPath: string, count: number): Promise<readonly number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const netns = `ciliate-bench-agent-${i}`;
    const request = {
      network: 'ciliate',
      containerId: netns,
      netns: `/run/netns/${netns}`,
      ifname: 'eth0',
      args: { K8S_POD_NAMESPACE: 'default', K8S_POD_NAME: netns },
    };
    spawnSync('ip', ['netns', 'add', netns]);
    try {
      times.push((await callAgent(socketPath, { ...request, command: 'ADD' })).agentMicroseconds / 1000);
      await callAgent(socketPath, { ...request, command: 'DEL' });
    } finally {
      spawnSync('ip', ['netns', 'del', netns]);
    }
  }
  return times;
}

/** `directory` = the node's folder with cni/net.d. @throws when a call fails */
export async function measureCni(plugin: string, directory: string, count: number): Promise<CniTimes> {
  const configs = join(directory, 'cni/net.d');
  const [file] = readdirSync(configs).toSorted();
  const chain: { name: string; cniVersion: string; plugins: object[] } = JSON.parse(
    readFileSync(join(configs, file ?? ''), 'utf8'),
  );
  const input = JSON.stringify({ ...chain.plugins[0], name: chain.name, cniVersion: chain.cniVersion });
  const call = (command: string, netns: string): number => {
    const began = performance.now();
    const { status, stdout, stderr } = spawnSync(plugin, [], {
      input,
      encoding: 'utf8',
      env: {
        PATH: process.env.PATH ?? '',
        CNI_COMMAND: command,
        CNI_PATH: join(directory, 'cni/bin'),
        CNI_CONTAINERID: netns,
        CNI_NETNS: `/run/netns/${netns}`,
        CNI_IFNAME: 'eth0',
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${netns}`,
      },
    });
    const took = performance.now() - began;
    if (status !== 0) throw new Error(`CNI ${command}: exit ${status}: ${stdout}${stderr}`);
    return took;
  };
  const add: number[] = [];
  const del: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const netns = `ciliate-bench-cni-${i}`;
    spawnSync('ip', ['netns', 'add', netns]);
    try {
      add.push(call('ADD', netns));
      del.push(call('DEL', netns));
    } finally {
      spawnSync('ip', ['netns', 'del', netns]);
    }
  }
  const agent = await agentTimes(join(directory, 'ciliate.sock'), Math.min(count, 20));
  return {
    count,
    agentP50Ms: quantile(agent, 0.5),
    agentP99Ms: quantile(agent, 0.99),
    addP50Ms: quantile(add, 0.5),
    addP99Ms: quantile(add, 0.99),
    delP50Ms: quantile(del, 0.5),
    delP99Ms: quantile(del, 0.99),
  };
}
