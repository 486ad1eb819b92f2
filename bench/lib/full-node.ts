/** An agent restarted on a node with many pods. */
import { spawnSync } from 'node:child_process';
import { AgentPeer } from '../services/agent-node.ts';
import { Topology } from '../services/topology.ts';

export interface FullNode {
  readonly pods: number;
  readonly readyAfterMs: number;
  readonly rssBytes: number;
}

export async function measureFullNode(pods: number): Promise<FullNode> {
  const topology = new Topology('full');
  const agent = new AgentPeer(topology);
  const namespaces = Array.from({ length: pods }, (_, n) => `ciliate-bench-full-pod-${n}`);
  try {
    topology.up();
    await agent.up({});
    for (const name of namespaces) {
      spawnSync('ip', ['netns', 'add', name]);
      agent.addPod(name, `/run/netns/${name}`);
    }
    await agent.stopAgent();
    const readyAfterMs = await agent.startAgent();
    return { pods, readyAfterMs, rssBytes: agent.rssBytes() };
  } finally {
    await agent.down();
    for (const name of namespaces) spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
    topology.down();
  }
}
