/** The walk of issue 2, as a user types it, ending with a `down` that leaves nothing. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually } from '../lib/cluster.ts';
import { leftovers } from '../lib/leftovers.ts';
import { privileged } from '../lib/privileged.ts';

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: my-nginx }
spec:
  replicas: 2
  selector: { matchLabels: { run: my-nginx } }
  template:
    metadata: { labels: { run: my-nginx } }
    spec:
      containers: [{ name: my-nginx, image: nginx, ports: [{ containerPort: 80 }] }]
`;

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
    readonly spec: { readonly nodeName: string };
    readonly status: { readonly phase: string; readonly podIP: string };
  }[];
}

describe('the walk', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'walk' });
  const pods = async (): Promise<PodList['items']> => {
    const list: PodList = JSON.parse(await cluster.kube('get', 'pods', '-l', 'run=my-nginx', '-o', 'json'));
    return list.items;
  };
  before(() => cluster.up());
  after(() => {
    cluster.down();
  });

  test('both nodes are Ready, with every column of -o wide filled', async () => {
    const lines = (await cluster.kube('get', 'nodes', '-o', 'wide', '--no-headers')).split('\n');
    assert.equal(lines.length, 2);
    for (const line of lines) {
      assert.match(line, /^node-[12]\s+Ready\s+.*v1\.3\d/);
      assert.match(line, /172\.30\.0\.1[12]/);
      assert.doesNotMatch(line, /<unknown>/);
    }
  });

  test('a Deployment of two runs one pod on each node, with addresses of that node', async () => {
    await cluster.apply(deployment);
    await cluster.kube('rollout', 'status', 'deployment/my-nginx', '--timeout=90s');
    const running = await pods();
    assert.deepEqual(new Set(running.map(pod => pod.spec.nodeName)), new Set(['node-1', 'node-2']));
    for (const pod of running) {
      const cidr = await cluster.kube('get', 'node', pod.spec.nodeName, '-o', 'jsonpath={.spec.podCIDR}');
      assert.equal(pod.status.podIP.split('.').slice(0, 3).join('.'), cidr.split('.').slice(0, 3).join('.'));
    }
  });

  test('expose gives a NodePort that outside reaches on both nodes, and both backends are hit', async () => {
    await cluster.kube('expose', 'deployment', 'my-nginx', '--type=NodePort', '--port=80');
    assert.match(
      await cluster.kube('get', 'svc', 'my-nginx', '--no-headers'),
      /NodePort\s+10\.96\.\d+\.\d+\s+<none>\s+80:3\d{4}\/TCP/,
    );
    const nodePort = await cluster.kube('get', 'svc', 'my-nginx', '-o', 'jsonpath={.spec.ports[0].nodePort}');
    const bodies = new Set<string>();
    for (const node of ['172.30.0.11', '172.30.0.12']) {
      await eventually(`${node}:${nodePort} answers`, async () => {
        const first = await cluster.exec('outside', 'curl', '-sS', '--max-time', '5', `http://${node}:${nodePort}`);
        return first.code === 0 ? true : undefined;
      });
      for (let request = 0; request < 12; request += 1) {
        const answer = await cluster.exec('outside', 'curl', '-sS', '--max-time', '5', `http://${node}:${nodePort}`);
        assert.equal(answer.code, 0, answer.stderr);
        bodies.add(/my-nginx-[a-z0-9-]+/.exec(answer.stdout)?.[0] ?? '');
      }
    }
    assert.equal([...bodies].filter(name => name !== '').length, 2, `answers came from: ${[...bodies].join(', ')}`);
  });

  test('service list shows ClusterIP, NodePort on the node address and on 0.0.0.0, with backends', async () => {
    const list = await cluster.ciliate('--node', 'node-1', 'service', 'list');
    assert.equal(list.code, 0, list.stderr);
    assert.match(list.stdout, /^ID\s+Frontend\s+Service Type\s+Backend/m);
    assert.match(list.stdout, /172\.30\.0\.11:3\d{4}\/TCP\s+NodePort\s+1 => 10\.244\.\d+\.\d+:80/);
    assert.match(list.stdout, /0\.0\.0\.0:3\d{4}\/TCP\s+NodePort/);
    assert.match(list.stdout, /10\.96\.\d+\.\d+:80\/TCP\s+ClusterIP\s+1 => 10\.244/);
  });

  test('status --verbose has its sections and no failing controller', async () => {
    const report = await cluster.ciliate('--node', 'node-1', 'status', '--verbose');
    assert.equal(report.code, 0, report.stderr);
    for (const section of [
      'Kubernetes:',
      'KubeProxyReplacement',
      'IPAM',
      'Allocated addresses',
      'Masquerading',
      'BPF Maps',
      'Controllers:',
    ]) {
      assert.ok(report.stdout.includes(section), `no '${section}' in:\n${report.stdout}`);
    }
    const health = await eventually('every node and endpoint is reachable', async () => {
      const now = await cluster.ciliate('--node', 'node-1', 'status', '--verbose');
      return /Cluster health:\s+2\/2 reachable/.test(now.stdout) ? now.stdout : undefined;
    });
    assert.doesNotMatch(health, /unreachable/);
  });

  test('a pod reaches the service by its name', async () => {
    const [pod] = await pods();
    assert.ok(pod !== undefined);
    const answer = await cluster.exec(
      `pod/default/${pod.metadata.name}`,
      'curl',
      '-sS',
      '--max-time',
      '10',
      'my-nginx',
    );
    assert.equal(answer.code, 0, answer.stderr);
    assert.match(answer.stdout, /my-nginx-/);
  });

  test('scale to five, then delete', async () => {
    await cluster.kube('scale', 'deployment', 'my-nginx', '--replicas=5');
    await cluster.kube('rollout', 'status', 'deployment/my-nginx', '--timeout=90s');
    assert.equal((await pods()).length, 5);
    await cluster.kube('delete', 'deployment', 'my-nginx');
    await eventually('no pod is left', async () => ((await pods()).length === 0 ? true : undefined));
  });

  test('down leaves no process, namespace, link, mount, cgroup or file', () => {
    const result = cluster.down();
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(leftovers('walk'), []);
  });
});
