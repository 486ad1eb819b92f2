/**
 * Backends of an unusual kind: the pod itself, through its own service (hairpin), and a server that Ciliate does not manage, on a plain
 * bridge of node-2 and reachable through normal routing alone.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sh } from '../lib/agent-node.ts';
import { Cluster, eventually, type Outcome, run } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const root = join(import.meta.dirname, '../..');
const foreign = { IPv4: '10.99.0.2', IPv6: 'fd00:99::2' } as const;
const families = ['IPv4', 'IPv6'] as const;
type Family = (typeof families)[number];

const slice = (family: Family): string => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: foreign-${family.toLowerCase()}, labels: { kubernetes.io/service-name: foreign } }
addressType: ${family}
ports: [{ name: http, port: 9000, protocol: TCP }]
endpoints: [{ addresses: ["${foreign[family]}"], conditions: { ready: true } }]
---`;

const manifest = `
apiVersion: v1
kind: Service
metadata: { name: foreign }
spec: { type: NodePort, ipFamilyPolicy: RequireDualStack, ports: [{ name: http, port: 80, targetPort: 9000 }] }
---${families.map(slice).join('')}
apiVersion: v1
kind: Pod
metadata: { name: near }
spec: { nodeName: node-2, containers: [{ name: client, image: netshoot }] }
---
apiVersion: v1
kind: Pod
metadata: { name: self, labels: { app: self } }
spec: { nodeName: node-1, containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: self }
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: { app: self }
  ports: [{ port: 80, targetPort: 8080 }]
`;

interface ServiceObject {
  readonly spec: { readonly clusterIPs: readonly string[]; readonly ports: readonly { readonly nodePort: number }[] };
}

const nodeAddresses = {
  IPv4: ['172.30.0.11', '172.30.0.12'],
  IPv6: ['fd00:172:30::11', 'fd00:172:30::12'],
} as const;
const hairpin = { IPv4: '169.254.42.1', IPv6: 'fe80::a9fe:2a01' } as const;

describe('backends', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'backends', agentOptions: ['devices=eth0,br0'] });
  const netns = 'ciliate-backends-foreign';
  const inNode = (node: string, command: string): string =>
    sh(`nsenter --net=/run/netns/ciliate-backends-${node} ${command}`);
  const inForeign = (command: string): string => sh(`nsenter --net=/run/netns/${netns} ${command}`);
  const url = (host: string, port: number): string => `http://${host.includes(':') ? `[${host}]` : host}:${port}/`;
  const curl = ['curl', '-sS', '--max-time', '5'] as const;
  let server: ChildProcess | undefined;

  /** A bridge on node-2, made by hand, with one server behind it; node-1 and outside know the way through node-2. */
  function buildForeign(): void {
    sh(`ip netns add ${netns}`);
    inNode('node-2', 'ip link add br0 type bridge');
    inNode('node-2', `ip link add foreign type veth peer name eth0 netns ${netns}`);
    inNode('node-2', 'ip link set foreign master br0 up');
    inNode('node-2', 'ip addr add 10.99.0.1/24 dev br0');
    inNode('node-2', 'ip addr add fd00:99::1/64 dev br0 nodad');
    inNode('node-2', 'ip link set br0 up');
    inForeign('ip link set lo up');
    inForeign(`ip addr add ${foreign.IPv4}/24 dev eth0`);
    inForeign(`ip addr add ${foreign.IPv6}/64 dev eth0 nodad`);
    inForeign('ip link set eth0 up');
    inForeign('ip route add default via 10.99.0.1');
    inForeign('ip -6 route add default via fd00:99::1');
    inNode('node-1', `ip route add 10.99.0.0/24 via ${nodeAddresses.IPv4[1]}`);
    inNode('node-1', `ip -6 route add fd00:99::/64 via ${nodeAddresses.IPv6[1]}`);
    const echo = [join(root, 'build/bin/ciliate-sandbox-echo'), '--ports', '9000/TCP'];
    server = spawn('nsenter', [`--net=/run/netns/${netns}`, ...echo], {
      stdio: 'ignore',
      env: { ...process.env, CILIATE_POD: 'foreign' },
    });
  }

  async function service(
    name: string,
  ): Promise<(family: Family) => { readonly ip: string; readonly nodePort: number }> {
    const object: ServiceObject = JSON.parse(await cluster.kube('get', 'service', name, '-o', 'json'));
    const { clusterIPs, ports } = object.spec;
    return family => ({
      ip: clusterIPs.find(ip => ip.includes(':') === (family === 'IPv6')) ?? '',
      nodePort: ports[0]?.nodePort ?? 0,
    });
  }

  const answers = (what: string, ask: () => Promise<Outcome>, says: RegExp): Promise<string> =>
    eventually(
      what,
      async () => {
        const answer = await ask();
        if (answer.code !== 0) throw new Error(answer.stderr);
        assert.match(answer.stdout, says);
        return answer.stdout;
      },
      15_000,
    );

  before(async () => {
    cluster.up();
    buildForeign();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
  });
  after(() => {
    server?.kill('SIGKILL');
    spawnSync('ip', ['netns', 'del', netns]);
    cluster.down();
  });

  for (const family of families) {
    describe(family, () => {
      for (const from of ['pod/default/self', 'pod/default/near', 'node-1', 'node-2']) {
        test(`a backend that is not managed: ${from} → its ClusterIP`, async () => {
          const { ip } = (await service('foreign'))(family);
          await answers('the ClusterIP', () => cluster.exec(from, ...curl, url(ip, 80)), /^pod: foreign$/m);
        });
      }

      for (const [index, node] of ['node-1', 'node-2'].entries()) {
        test(`a backend that is not managed: outside → NodePort of ${node}`, async () => {
          const { nodePort } = (await service('foreign'))(family);
          const address = nodeAddresses[family][index] ?? '';
          const ask = () => cluster.exec('outside', ...curl, url(address, nodePort));
          await answers('the NodePort', ask, /^pod: foreign$/m);
        });
      }

      test('a pod reaches itself through its ClusterIP, balanced at the socket', async () => {
        const { ip } = (await service('self'))(family);
        const text = await answers(
          'itself',
          () => cluster.exec('pod/default/self', ...curl, url(ip, 80)),
          /^pod: (default\/)?self$/m,
        );
        assert.match(text, /^client: /m);
      });

      test('a pod reaches itself through its ClusterIP without the socket: its packets come back from the hairpin address', async () => {
        const { ip } = (await service('self'))(family);
        // From the test's own cgroup, where no socket program runs: the packet itself is translated.
        const enter = [`--net=${podNetns('self')}`];
        const text = await answers(
          'itself',
          () => run('nsenter', [...enter, ...curl, url(ip, 80)]),
          /^pod: (default\/)?self$/m,
        );
        assert.match(text, new RegExp(`^client: ${hairpin[family].replaceAll('.', '\\.')}(%eth0)? `, 'm'));
      });

      test('a pod reaches itself through the NodePort of its node', async () => {
        const { nodePort } = (await service('self'))(family);
        const address = nodeAddresses[family][0] ?? '';
        const ask = () => cluster.exec('pod/default/self', ...curl, url(address, nodePort));
        await answers('itself', ask, /^pod: (default\/)?self$/m);
      });
    });
  }

  function podNetns(name: string): string {
    const files = globSync('/run/ciliate/backends/node-*/pods/*/sandbox.json');
    const found = files
      .map(file => JSON.parse(readFileSync(file, 'utf8')) as { readonly name: string; readonly netns: string })
      .find(pod => pod.name === name);
    assert.ok(found !== undefined, `no sandbox of ${name}`);
    return found.netns.startsWith('/') ? found.netns : `/run/netns/${found.netns}`;
  }
});
