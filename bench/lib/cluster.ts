/** The pods and services that the network scenarios use, in a sandbox of the wanted routing. */
import { join } from 'node:path';
import { Cluster, eventually } from '../../test/lib/cluster.ts';

function pod(name: string, node: string, container: string): string {
  return `apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${name} } }
spec: { nodeName: ${node}, containers: [{ name: main, ${container} }] }
---
`;
}

function service(backend: string, port: number): string {
  return `apiVersion: v1
kind: Service
metadata: { name: ${backend} }
spec: { type: NodePort, selector: { app: ${backend} }, ports: [{ port: ${port} }] }
---
`;
}

export interface Addresses {
  readonly sameNode: string;
  readonly otherNode: string;
  readonly clusterIp: string;
  readonly node: string;
  readonly localNodePort: number;
  readonly remoteNodePort: number;
}

/** Starts the sandbox with a client and two servers (server-1 beside the client). */
export async function startCluster(routing: 'vxlan' | 'native', load: string, port: number): Promise<Cluster> {
  const cluster = new Cluster({ name: `bench-${routing}`, routing });
  cluster.up();
  try {
    const serve = `image: busybox, command: [${load}, server, "${port}"]`;
    await cluster.apply(
      pod('client', 'node-1', 'image: netshoot') +
        pod('server-1', 'node-1', serve) +
        pod('server-2', 'node-2', serve) +
        service('server-1', port) +
        service('server-2', port),
    );
    await cluster.kube('wait', '--for=condition=Ready', '--timeout=60s', 'pod/client', 'pod/server-1', 'pod/server-2');
    return cluster;
  } catch (error) {
    cluster.down();
    throw error;
  }
}

export async function addressesOf(cluster: Cluster): Promise<Addresses> {
  const read = (kind: string, name: string, path: string) =>
    cluster.kube('get', kind, name, '-o', `jsonpath={${path}}`);
  return {
    sameNode: await read('pod', 'server-1', '.status.podIP'),
    otherNode: await read('pod', 'server-2', '.status.podIP'),
    clusterIp: await read('service', 'server-1', '.spec.clusterIP'),
    node: '172.30.0.11',
    localNodePort: Number(await read('service', 'server-1', '.spec.ports[0].nodePort')),
    remoteNodePort: Number(await read('service', 'server-2', '.spec.ports[0].nodePort')),
  };
}

export interface AgentFacts {
  readonly pid: number;
  readonly ready: boolean;
  readonly readyAfterMs: number;
  readonly rssBytes: number;
}

export async function agentFacts(cluster: Cluster): Promise<AgentFacts | undefined> {
  const { code, stdout } = await cluster.ciliate('--node', 'node-1', 'status', '-o', 'json');
  if (code !== 0) return undefined;
  const { ciliate }: { ciliate: AgentFacts } = JSON.parse(stdout);
  return ciliate;
}

/** Kills node-1's agent (kill -9) and gives the facts of the one the supervisor starts after it. */
export async function restartAgent(cluster: Cluster): Promise<AgentFacts> {
  const before = await agentFacts(cluster);
  if (before === undefined) throw new Error(`no agent on node-1 of ${cluster.name}`);
  process.kill(before.pid, 'SIGKILL');
  return eventually('a new agent is ready', async () => {
    const facts = await agentFacts(cluster);
    return facts !== undefined && facts.pid !== before.pid && facts.ready ? facts : undefined;
  });
}

export function nodeDirectory(cluster: Cluster, node: string): string {
  return join('/run/ciliate', cluster.name, node);
}
