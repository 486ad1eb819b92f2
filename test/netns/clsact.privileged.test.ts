/** Programs attached by clsact, as kernels before 6.6 need it: two nodes talk, a restart adopts, tcx can take over, nothing is left. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AgentNode, sh } from '../lib/agent-node.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { leftovers } from '../lib/leftovers.ts';
import { privileged } from '../lib/privileged.ts';

const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { nodeName: node-1, containers: [{ name: client, image: netshoot }] }
---
apiVersion: v1
kind: Pod
metadata: { name: near, labels: { app: near } }
spec: { nodeName: node-1, containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: far, labels: { app: far } }
spec: { nodeName: node-2, containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: far }
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: { app: far }
  ports: [{ port: 80, targetPort: 8080 }]
`;

describe('two nodes by clsact', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'by-filter', agentOptions: ['tc-attach=clsact'] });
  const addresses = async (pod: string): Promise<readonly string[]> =>
    (await cluster.kube('get', 'pod', pod, '-o', 'jsonpath={.status.podIPs[*].ip}')).split(' ');
  const url = (address: string, port: number | string): string =>
    `http://${address.includes(':') ? `[${address}]` : address}:${port}`;

  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
  });
  after(() => {
    cluster.down();
  });

  test('status names the mode, and no tcx link is pinned for a device', async () => {
    const status = await cluster.ciliate('--node', 'node-1', 'status', '--verbose');
    assert.match(status.stdout, /Attach Mode:\s+TC\b/);
    const pins = readdirSync('/run/ciliate/by-filter/node-1/bpf/ciliate/links').filter(
      pin => !pin.startsWith('cgroup-'),
    );
    assert.deepEqual(pins, []);
  });

  for (const pod of ['near', 'far']) {
    test(`a pod reaches ${pod}, in both families`, async () => {
      const targets = await addresses(pod);
      assert.equal(targets.length, 2);
      for (const address of targets) {
        const answer = await cluster.exec('pod/default/client', 'curl', '-sS', '--max-time', '5', url(address, 8080));
        assert.equal(answer.code, 0, `${address}: ${answer.stderr}`);
      }
    });
  }

  test('outside reaches the NodePort of both nodes, in both families', async () => {
    const port = await cluster.kube('get', 'svc', 'far', '-o', 'jsonpath={.spec.ports[0].nodePort}');
    for (const address of ['172.30.0.11', '172.30.0.12', 'fd00:172:30::11', 'fd00:172:30::12']) {
      await eventually(`${address} answers`, async () => {
        const answer = await cluster.exec('outside', 'curl', '-sS', '--max-time', '3', url(address, port));
        return answer.code === 0 ? true : undefined;
      });
    }
  });

  test('down leaves nothing', () => {
    assert.equal(cluster.down().code, 0);
    assert.deepEqual(leftovers('by-filter'), []);
  });
});

describe('one node by clsact', privileged('root'), () => {
  const node = new AgentNode({ name: `ciliate-tc-${process.pid}` });
  const inside = (command: string): string => sh(`nsenter --net=${node.netns} ${command}`);
  const filters = (device: string): readonly string[] =>
    ['ingress', 'egress'].flatMap(direction =>
      [
        ...inside(`tc filter show dev ${device} ${direction}`).matchAll(
          /pref 1 bpf .*handle 0x1 (\w+) direct-action.* id (\d+)/g,
        ),
      ].map(match => `${match[1]} ${match[2]}`),
    );
  const devicePins = (): readonly string[] =>
    readdirSync(join(node.directory, 'bpf/ciliate/links')).filter(pin => !pin.startsWith('cgroup-'));
  const device = (): string => /lxc[0-9a-f]{12}/.exec(inside('ip -o link show type veth'))?.[0] ?? '';
  const everything = (): readonly string[] => ['ciliate_host', 'ciliate_vxlan', 'eth0'].flatMap(filters);

  before(async () => {
    await node.up();
  });
  after(() => node.down());

  test('from tcx to clsact and back: what is attached the other way is taken off', async () => {
    assert.ok(devicePins().length > 0);
    assert.deepEqual(everything(), []);
    await node.stopAgent('SIGTERM');
    await node.startAgent(['--tc-attach', 'clsact']);
    await eventually('clsact alone', async () => (devicePins().length === 0 ? true : undefined));
    assert.deepEqual(
      everything().map(filter => filter.split(' ')[0]),
      ['from_host', 'from_overlay', 'from_netdev', 'to_netdev'],
    );
    await node.stopAgent('SIGTERM');
    await node.startAgent(['--tc-attach', 'tcx']);
    // A pod's device keeps its filter until the link runs.
    const all = () => [...everything(), ...filters(device())];
    await eventually('tcx alone', async () => (all().length === 0 ? true : undefined));
    assert.ok(devicePins().includes(`${device()}-ingress`));
    await node.stopAgent('SIGTERM');
    await node.startAgent(['--tc-attach', 'clsact']);
    await eventually('clsact alone', async () => (devicePins().length === 0 ? true : undefined));
  });

  test('kill -9 and restart: filters are adopted; another build swaps them in place', async () => {
    const before = [...everything(), ...filters(device())];
    await node.stopAgent('SIGKILL');
    await node.startAgent(['--tc-attach', 'clsact']);
    assert.deepEqual([...everything(), ...filters(device())], before);
    await node.stopAgent('SIGKILL');
    await node.startAgent(['--tc-attach', 'clsact', '--mtu', '1400']);
    await eventually('every program is another one', async () => {
      const now = [...everything(), ...filters(device())];
      const names = (list: readonly string[]) => list.map(filter => filter.split(' ')[0]);
      assert.deepEqual(names(now), names(before));
      return now.some(filter => before.includes(filter)) ? undefined : true;
    });
  });

  test('a filter of somebody else at another priority stays', async () => {
    const program = join(node.directory, 'bpf/ciliate/programs/from_netdev');
    inside(`tc filter add dev eth0 ingress prio 7 protocol all bpf da object-pinned ${program}`);
    await node.stopAgent('SIGTERM');
    await node.startAgent(['--tc-attach', 'tcx', '--mtu', '1400']);
    await eventually('ours are gone', async () => (filters('eth0').length === 0 ? true : undefined));
    assert.match(inside('tc filter show dev eth0 ingress'), /pref 7 bpf/);
  });
});
