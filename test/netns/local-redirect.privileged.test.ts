/**
 * Local redirect policies with real pods: clients get the pod of their own node, and with skipRedirectFromBackend that pod itself gets what is
 * behind: the service's own backends, or whoever has the address. By sockets and by packets that bypass them, both families.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sh } from '../lib/agent-node.ts';
import { restartAgent } from '../lib/agents.ts';
import { Cluster, eventually, run } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const root = join(import.meta.dirname, '../..');
/** As clouds have them; here somebody outside of the cluster does. */
const metadata = ['169.254.169.254', 'fd00:ec2::254'] as const;

const pod = (name: string, app: string, node: string, image = 'ciliate/echo'): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${app} } }
spec: { nodeName: ${node}, containers: [{ name: c, image: ${image}, ports: [{ containerPort: 8080 }] }] }
---`;

const redirect = (name: string, frontend: string, skip: boolean): string => `
apiVersion: cilium.io/v2
kind: CiliumLocalRedirectPolicy
metadata: { name: ${name} }
spec:
  skipRedirectFromBackend: ${skip}
  redirectFrontend: ${frontend}
  redirectBackend: { localEndpointSelector: { matchLabels: { app: cache } }, toPorts: [{ port: "8080", protocol: TCP }] }
---`;

const byAddress = (ip: string): string =>
  `{ addressMatcher: { ip: "${ip}", toPorts: [{ port: "80", protocol: TCP }] } }`;
const byService = '{ serviceMatcher: { serviceName: origin, namespace: default } }';
const policies = (skip: boolean): string =>
  redirect('by-service', byService, skip) +
  metadata.map((ip, i) => redirect(`by-address-${i}`, byAddress(ip), skip)).join('');

const manifest = [
  pod('cache', 'cache', 'node-1'),
  pod('origin', 'origin', 'node-2'),
  pod('client', 'client', 'node-1', 'netshoot'),
  pod('client-2', 'client', 'node-2', 'netshoot'),
  `
apiVersion: v1
kind: Service
metadata: { name: origin }
spec: { ipFamilyPolicy: RequireDualStack, selector: { app: origin }, ports: [{ port: 80, targetPort: 8080 }] }`,
].join('');

describe('local redirects', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'redirect' });
  let server: ChildProcess | undefined;
  let services: readonly string[] = [];
  before(async () => {
    cluster.up();
    server = buildMetadata();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
    services = (await cluster.kube('get', 'service', 'origin', '-o', 'jsonpath={.spec.clusterIPs[*]}')).split(' ');
    await cluster.apply(policies(true));
  });
  after(() => {
    server?.kill('SIGKILL');
    cluster.down();
  });

  function buildMetadata(): ChildProcess {
    const inside = (host: string, command: string) =>
      sh(`nsenter --net=/run/netns/ciliate-${cluster.name}-${host} ${command}`);
    for (const ip of metadata) {
      inside('outside', `ip addr add ${ip}/${ip.includes(':') ? '128 nodad' : '32'} dev eth0`);
      for (const node of ['node-1', 'node-2']) inside(node, `ip route add ${ip} dev eth0`);
    }
    const argv = [`--net=/run/netns/ciliate-${cluster.name}-outside`, join(root, 'build/bin/ciliate-sandbox-echo')];
    return spawn('nsenter', [...argv, '--ports', '80/TCP'], {
      stdio: 'ignore',
      env: { ...process.env, CILIATE_POD: 'metadata' },
    });
  }

  function netnsOf(name: string): string {
    const found = globSync(`/run/ciliate/${cluster.name}/node-*/pods/*/sandbox.json`)
      .map(file => JSON.parse(readFileSync(file, 'utf8')) as { readonly name: string; readonly netns: string })
      .find(one => one.name === name);
    assert.ok(found !== undefined, `no sandbox of ${name}`);
    return `/run/netns/${found.netns}`;
  }

  const curl = (ip: string) => ['curl', '-s', '-m', '2', `http://${ip.includes(':') ? `[${ip}]` : ip}/`];
  const whoAnswers = (output: string): string => /^pod: (?:default\/)?(\S+)/m.exec(output)?.[1] ?? 'nobody';
  /** By the pod's sockets, as its processes are in the node's cgroup. */
  const ask = async (from: string, ip: string) =>
    whoAnswers((await cluster.exec(`pod/default/${from}`, ...curl(ip))).stdout);
  /** By packets: the process is in the pod's network, and not in the node's cgroup. */
  const askByPacket = async (from: string, ip: string) =>
    whoAnswers((await run('nsenter', [`--net=${netnsOf(from)}`, ...curl(ip)])).stdout);

  async function expect(from: string, ip: string, who: string): Promise<void> {
    await eventually(
      `${from} gets ${who} at ${ip}`,
      async () => {
        const answers = [await ask(from, ip), await askByPacket(from, ip)];
        assert.deepEqual(answers, [who, who]);
        return true;
      },
      15_000,
    );
  }

  async function expectAll(cacheGets: { readonly service: string; readonly address: string }): Promise<void> {
    for (const ip of services) {
      await expect('client', ip, 'cache');
      await expect('client-2', ip, 'origin');
      await expect('cache', ip, cacheGets.service);
    }
    for (const ip of metadata) {
      await expect('client', ip, 'cache');
      await expect('client-2', ip, 'metadata');
      await expect('cache', ip, cacheGets.address);
    }
  }

  const skipList = async (): Promise<readonly string[]> => {
    const listed = await cluster.ciliate('--node', 'node-1', 'bpf', 'lb', 'list', '--skip');
    assert.equal(listed.code, 0, listed.stderr);
    return listed.stdout.trim().split('\n').slice(1);
  };

  test('clients are redirected on the node that has the pod; the pod itself is not', async () => {
    await expectAll({ service: 'origin', address: 'metadata' });
    // Each frontend by the pod's namespace and by its endpoint.
    assert.equal((await skipList()).length, 2 * (services.length + metadata.length));
  });

  test('lb trace tells a client from the pod of the redirect', async () => {
    const trace = async (from: string, ip: string) => {
      const to = `${ip.includes(':') ? `[${ip}]` : ip}:80`;
      return (await cluster.ciliate('--node', 'node-1', 'lb', 'trace', '--from', from, '--to', to)).stdout;
    };
    for (const ip of services) {
      assert.match(await trace('default/client', ip), /local-redirect[\s\S]*into pod default\/cache/);
      assert.match(
        await trace('default/cache', ip),
        /redirect, which does not apply to it[\s\S]*default\/origin on node-2/,
      );
    }
  });

  test('another redirect of the same service gets nothing, and is told', async () => {
    await cluster.apply(redirect('another', byService, true));
    const message =
      'default/another:local-redirect does not redirect default/origin: default/by-service:local-redirect does';
    await eventually('the event', async () => {
      const events = await cluster.kube('get', 'events', '-o', 'jsonpath={.items[*].message}');
      return events.includes(message) ? true : undefined;
    });
    const said = await cluster.kube('describe', 'ciliumlocalredirectpolicy', 'another');
    assert.match(said, /Warning\s+AddressInUse/);
    const list = await cluster.ciliate('--node', 'node-1', 'service', 'list');
    assert.equal(list.stdout.split(message).length, 2, 'once, for both families');
    await cluster.kube('delete', 'ciliumlocalredirectpolicy', 'another');
    await eventually('it is over', async () =>
      (await cluster.ciliate('--node', 'node-1', 'service', 'list')).stdout.includes(message) ? undefined : true,
    );
  });

  test('a restarted agent leaves it so', async () => {
    const before = await skipList();
    await restartAgent(cluster, 'node-1');
    assert.deepEqual(await skipList(), before);
    await expectAll({ service: 'origin', address: 'metadata' });
  });

  test('another pod in its place passes too, and nothing of the old one is left', async () => {
    const before = await skipList();
    await cluster.kube('delete', 'pod', 'cache', '--wait');
    for (const ip of services) await expect('client', ip, 'origin');
    for (const ip of metadata) await expect('client', ip, 'metadata');
    await eventually('nothing is left', async () => ((await skipList()).length === 0 ? true : undefined));
    await cluster.apply(pod('cache', 'cache', 'node-1'));
    await cluster.kube('wait', '--for=condition=Ready', 'pod', 'cache', '--timeout=60s');
    await expectAll({ service: 'origin', address: 'metadata' });
    const now = await skipList();
    assert.equal(now.length, before.length);
    assert.notDeepEqual(now, before, 'it has another namespace and another endpoint');
  });

  test('without skipRedirectFromBackend the pod gets itself', async () => {
    await cluster.apply(policies(false));
    await expectAll({ service: 'cache', address: 'cache' });
    assert.deepEqual(await skipList(), []);
  });
});
