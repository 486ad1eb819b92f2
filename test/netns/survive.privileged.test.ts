/** kill -9 and upgrade of an agent under load: no connection breaks, nothing is lost, the restarted agent adopts what is there. */
import assert from 'node:assert/strict';
import { appendFileSync, cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pinnedLinkInfo } from '@ciliate/kernel';
import { agentPid } from '../lib/agents.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: client, labels: { app: client } }
spec: { nodeName: node-1, containers: [{ name: client, image: netshoot }] }
---
apiVersion: v1
kind: Pod
metadata: { name: server, labels: { app: server } }
spec:
  nodeName: node-2
  containers:
  - { name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }] }
  - { name: iperf, image: iperf3, command: [iperf3, -s, -p, "5201"] }
---
apiVersion: v1
kind: Service
metadata: { name: server }
spec: { type: NodePort, selector: { app: server }, ports: [{ port: 80, targetPort: 8080 }] }
`;

/** Requests one after the other until `stop`; what failed is told. */
function loadLoop(
  cluster: Cluster,
  from: string,
  url: string,
): { stop(): Promise<{ readonly done: number; readonly failed: readonly string[] }> } {
  let running = true;
  let done = 0;
  const failed: string[] = [];
  const loop = (async () => {
    while (running) {
      const answer = await cluster.exec(from, 'curl', '-sS', '--max-time', '5', url);
      done += 1;
      if (answer.code !== 0) failed.push(answer.stderr.trim());
    }
  })();
  return {
    async stop() {
      running = false;
      await loop;
      return { done, failed };
    },
  };
}

async function ready(cluster: Cluster, node: string): Promise<void> {
  await eventually(`the agent of ${node} is ready`, async () =>
    (await cluster.ciliate('--node', node, 'status', '--brief')).code === 0 ? true : undefined,
  );
}

describe('surviving', privileged('sandbox'), () => {
  const objects = mkdtempSync(join(tmpdir(), 'ciliate-survive-'));
  const cluster = new Cluster({ name: 'survive', agentOptions: [`object-dir=${objects}`] });
  let nodePort = '';
  let server = '';

  before(async () => {
    cpSync(join(import.meta.dirname, '../../build/bpf'), objects, { recursive: true });
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
    nodePort = await cluster.kube('get', 'svc', 'server', '-o', 'jsonpath={.spec.ports[0].nodePort}');
    server = await cluster.kube('get', 'pod', 'server', '-o', 'jsonpath={.status.podIP}');
    await eventually('the service answers', async () =>
      (await cluster.exec('pod/default/client', 'curl', '-sS', '--max-time', '3', 'http://server')).code === 0
        ? true
        : undefined,
    );
  });
  after(() => {
    cluster.down();
    rmSync(objects, { recursive: true, force: true });
  });

  /** Bulk, pings and HTTP through ClusterIP and NodePort go on while both agents are killed; nothing of it may fail. */
  async function killUnderLoad(): Promise<void> {
    const bulk = cluster.exec(
      'pod/default/client',
      'iperf3',
      '-c',
      server,
      '-p',
      '5201',
      '-t',
      '12',
      '-b',
      '50M',
      '-J',
    );
    const pings = cluster.exec('pod/default/client', 'ping', '-n', '-q', '-i', '0.05', '-c', '200', server);
    const loops = [
      loadLoop(cluster, 'pod/default/client', 'http://server'),
      loadLoop(cluster, 'outside', `http://172.30.0.11:${nodePort}`),
    ];
    const killed: number[] = [];
    for (const node of ['node-1', 'node-2']) {
      await new Promise(resolve => setTimeout(resolve, 2000));
      const pid = agentPid(cluster, node);
      assert.ok(pid !== undefined, `no agent process on ${node}`);
      process.kill(pid, 'SIGKILL');
      killed.push(pid);
    }
    const results = await Promise.all([bulk, pings]);
    for (const loop of loops) {
      const { done, failed } = await loop.stop();
      assert.ok(done > 0);
      assert.deepEqual(failed, []);
    }
    assert.equal(results[0].code, 0, results[0].stdout + results[0].stderr);
    assert.match(results[1].stdout, /200 packets transmitted, 200 received/);
    await ready(cluster, 'node-1');
    await ready(cluster, 'node-2');
    for (const node of ['node-1', 'node-2'])
      assert.ok(!killed.includes(agentPid(cluster, node) ?? 0), `${node} has a new agent`);
  }

  /** Ids of the programs that a node's links run. */
  const programIds = (node: string): readonly number[] => {
    const directory = `/run/ciliate/survive/${node}/bpf/ciliate/links`;
    return readdirSync(directory).map(name => pinnedLinkInfo(join(directory, name))?.programId ?? 0);
  };

  test('kill -9 of both agents under load breaks no connection and loses no packet', async () => {
    const before = programIds('node-1');
    await killUnderLoad();
    assert.deepEqual(programIds('node-1'), before, 'the programs are adopted');
  });

  test('an upgrade under load swaps every program, breaks no connection and loses no packet', async () => {
    const before = new Map(['node-1', 'node-2'].map(node => [node, programIds(node)]));
    // Objects of another build: other bytes, which nobody loads.
    for (const file of readdirSync(objects).filter(name => name.endsWith('.bpf.o')))
      appendFileSync(join(objects, file), 'another build');
    await killUnderLoad();
    for (const [node, ids] of before) {
      const now = programIds(node);
      assert.equal(now.length, ids.length);
      assert.ok(ids.length > 0 && !now.some(id => ids.includes(id)), `${node}: ${ids.join()} became ${now.join()}`);
    }
  });

  test('an endpoint that was there before the kill is still listed, and a new pod gets connected', async () => {
    const list = await cluster.ciliate('--node', 'node-1', 'endpoint', 'list');
    const address = await cluster.kube('get', 'pod', 'client', '-o', 'jsonpath={.status.podIP}');
    assert.ok(list.stdout.includes(address), list.stdout);
    await cluster.apply(manifest.split('---')[0]?.replace('name: client', 'name: late') ?? '');
    await cluster.kube('wait', '--for=condition=Ready', 'pod/late', '--timeout=60s');
    const answer = await cluster.exec('pod/default/late', 'curl', '-sS', '--max-time', '5', 'http://server');
    assert.equal(answer.code, 0, answer.stderr);
  });
});
