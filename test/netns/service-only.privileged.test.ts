/**
 * --service-only: a cluster whose pods another CNI has wired (plain bridges, routes, masquerade, conntrack that drops what it does not know)
 * without kube-proxy; by tc alone and with XDP. The devices of node 1 are found, its bridge with them; node 2 has programs on its native device
 * alone, as where pods' devices have no addresses.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { MetricDirection, mapSpecs, VerdictSource } from '@ciliate/abi';
import { closeFd, KernelPerCpuMap, openPin, setDeviceFeature } from '@ciliate/kernel';
import { eventually, run } from '../lib/cluster.ts';
import { nodeAddresses, outsider, PlainCluster } from '../lib/plain-cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { dialSctp, SctpServer } from '../lib/sctp.ts';

const name = `ciliate-so-${process.pid}`;
const udpProbe = join(import.meta.dirname, '../lib/udp-probe.ts');
const pods = [
  { name: 'near', node: 0 },
  { name: 'far', node: 1 },
  { name: 'client', node: 0 },
  { name: 'client-2', node: 1 },
] as const;

interface ServiceSpec {
  readonly name: string;
  readonly number: number;
  readonly backends: readonly string[];
  readonly more?: object;
}

const specs: readonly ServiceSpec[] = [
  { name: 'near', number: 1, backends: ['near'] },
  { name: 'far', number: 2, backends: ['far'] },
  { name: 'both', number: 3, backends: ['near', 'far'] },
  {
    ...{ name: 'local', number: 4, backends: ['near'] },
    more: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 32_104 },
  },
  { name: 'none', number: 5, backends: [] },
];
const clusterIps = (number: number) => [`10.96.0.${number}`, `fd00:10:96::${number}`] as const;
const nodePort = (number: number) => 30_100 + number;
const familyNames = ['IPv4', 'IPv6'] as const;

function objectsOf(cluster: Pick<PlainCluster, 'addressesOf'>): Readonly<Record<string, readonly unknown[]>> {
  const ports = [
    { name: 'http', port: 80, protocol: 'TCP' },
    { name: 'echo', port: 80, protocol: 'UDP' },
    { name: 'sctp', port: 80, protocol: 'SCTP' },
  ];
  const services = specs.map(({ name: service, number, more }) => ({
    metadata: { namespace: 'default', name: service, uid: service },
    spec: {
      ...{ type: 'NodePort', clusterIP: clusterIps(number)[0], clusterIPs: clusterIps(number) },
      ports: ports.map(port => ({ ...port, targetPort: 8080, nodePort: nodePort(number) })),
      ...more,
    },
    status: { loadBalancer: { ingress: [{ ip: `203.0.113.${number}` }] } },
  }));
  const slices = specs.flatMap(({ name: service, backends }) =>
    familyNames.map((addressType, i) => ({
      metadata: {
        ...{ namespace: 'default', name: `${service}-${addressType.toLowerCase()}` },
        labels: { 'kubernetes.io/service-name': service },
      },
      addressType,
      ports: ports.map(port => ({ ...port, port: 8080 })),
      endpoints: backends.map(pod => ({
        addresses: [cluster.addressesOf(pod)[i]],
        nodeName: `${name}-${(pods.find(one => one.name === pod)?.node ?? 0) + 1}`,
        targetRef: { kind: 'Pod', namespace: 'default', name: pod },
      })),
    })),
  );
  const policy = {
    metadata: { namespace: 'default', name: 'nobody' },
    spec: { podSelector: {}, policyTypes: ['Ingress'] },
  };
  return {
    '/api/v1/services': services,
    '/apis/discovery.k8s.io/v1/endpointslices': slices,
    '/apis/networking.k8s.io/v1/networkpolicies': [policy],
  };
}

/** One request by one connection, the second half of it when a line comes in. */
const held = `
const [, host, port] = process.argv, http = require('node:http');
const request = http.request({ method: 'POST', host, port, headers: { 'content-length': 2 } }, answer => {
  answer.resume(); answer.on('end', () => console.log(String(answer.statusCode)));
});
request.on('error', error => console.log(error.code));
request.on('socket', socket => socket.on('connect', () => console.log('stands')));
request.write('1'); process.stdin.once('data', () => request.end('2'));
`;

interface Answer {
  readonly pod: string;
  readonly client: string;
}

const suite = (acceleration: 'disabled' | 'best-effort') => (): void => {
  const agentArguments = ['--service-only', '--enable-health-checking', '--bpf-lb-acceleration', acceleration];
  const common = { name, pods, agentArguments };
  const addresses = new PlainCluster({ ...common, objects: {}, devices: ['', 'eth0'] });
  const cluster = new PlainCluster({ ...common, objects: objectsOf(addresses), devices: ['', 'eth0'] });
  const netfilter = async (i: number) =>
    (await cluster.onNode(i, 'sh', '-c', 'iptables-save; ip6tables-save; nft list ruleset')).stdout
      .replaceAll(/\[\d+:\d+\]|packets \d+ bytes \d+|^#.*$/gm, '')
      .trim();
  before(async () => {
    await cluster.up();
    if (acceleration === 'disabled') return;
    for (const port of ['node-1', 'node-2', 'out']) setDeviceFeature(port, 'rx-gro', true, `/run/netns/${name}-lan`);
    for (const node of cluster.nodes)
      await eventually('XDP runs', async () => {
        const { stdout } = await run('nsenter', [`--net=${node.netns}`, 'ip', '-d', 'link', 'show', 'eth0']);
        return stdout.includes('xdp_netdev') ? true : undefined;
      });
  });
  after(() => cluster.down());

  const at = (ip: string, port: number) => `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;
  const curl = (ip: string, port: number) => ['curl', '-s', '-m', '2', at(ip, port)];
  type Ask = (...argv: readonly string[]) => ReturnType<PlainCluster['inPod']>;
  const inPod =
    (pod: string): Ask =>
    (...argv) =>
      cluster.inPod(pod, ...argv);
  const byPackets =
    (pod: string): Ask =>
    (...argv) =>
      cluster.inNetwork(cluster.netnsOf(pod), ...argv);
  const outside: Ask = (...argv) => cluster.inNetwork(cluster.outside, ...argv);

  async function answer(ask: Ask, ip: string, port: number): Promise<Answer | undefined> {
    const { stdout, code } = await ask(...curl(ip, port));
    if (code !== 0) return undefined;
    const pod = /^pod: (\S+)/m.exec(stdout)?.[1] ?? '';
    return { pod, client: /^client: (\S+)/m.exec(stdout)?.[1] ?? '' };
  }
  const gets = (what: string, ask: Ask, ip: string, port: number, wanted: Answer) =>
    eventually(
      what,
      async () => {
        assert.deepEqual(await answer(ask, ip, port), wanted);
        return true;
      },
      10_000,
    );

  for (const [f, family] of familyNames.entries()) {
    const vip = (number: number) => clusterIps(number)[f] ?? '';
    const node = (i: 0 | 1) => nodeAddresses[i][f] ?? '';
    const own = (pod: string) => cluster.addressesOf(pod)[f] ?? '';

    test(`${family}: ClusterIP from pods and nodes, by the socket: the backend sees who asks`, async () => {
      for (const [service, number] of [
        ['near', 1],
        ['far', 2],
      ] as const) {
        for (const client of ['client', 'client-2']) {
          await gets(client, inPod(client), vip(number), 80, { pod: service, client: own(client) });
        }
        const fromNode = await answer((...argv) => cluster.onNode(0, ...argv), vip(number), 80);
        assert.equal(fromNode?.pod, service);
      }
      const answers = await Promise.all(Array.from({ length: 24 }, () => answer(inPod('client'), vip(3), 80)));
      assert.deepEqual([...new Set(answers.map(one => one?.pod))].sort(), ['far', 'near']);
      assert.equal((await cluster.inPod('client', ...curl(vip(5), 80))).code, 7, 'no backend: refused at once');
    });

    test(`${family}: ClusterIP by packets that bypass the socket`, async () => {
      await gets('another node', byPackets('client'), vip(2), 80, { pod: 'far', client: own('client') });
      // Behind the same bridge: else the answer would go straight to the client.
      const bridge = f === 0 ? '10.77.1.1' : 'fd00:77:1::1';
      await gets('the same bridge', byPackets('client'), vip(1), 80, { pod: 'near', client: bridge });
      await gets('itself', byPackets('near'), vip(1), 80, { pod: 'near', client: bridge });
      // No program on its device: the other CNI has masqueraded it before we see it.
      await gets('no program on the bridge', byPackets('client-2'), vip(1), 80, { pod: 'near', client: node(1) });
      assert.equal((await byPackets('client')(...curl(vip(1), 81))).code, 28, 'a port that is not served');
    });

    test(`${family}: NodePort from outside, to a backend here and there`, async () => {
      await gets('here', outside, node(0), nodePort(1), { pod: 'near', client: outsider[f] ?? '' });
      await gets('there', outside, node(0), nodePort(2), { pod: 'far', client: node(0) });
      await gets('here, without programs on the bridge', outside, node(1), nodePort(2), {
        pod: 'far',
        client: outsider[f] ?? '',
      });
      await gets('there, by the other node', outside, node(1), nodePort(1), { pod: 'near', client: node(1) });
    });

    test(`${family}: NodePort from pods and nodes`, async () => {
      await gets('its own node', inPod('client'), node(0), nodePort(2), { pod: 'far', client: own('client') });
      await gets('another node', inPod('client'), node(1), nodePort(1), { pod: 'near', client: own('client') });
      assert.equal((await answer((...argv) => cluster.onNode(1, ...argv), node(1), nodePort(1)))?.pod, 'near');
    });

    test(`${family}: externalTrafficPolicy Local: the client's address, and only where the backend is`, async () => {
      await gets('here', outside, node(0), nodePort(4), { pod: 'near', client: outsider[f] ?? '' });
      assert.equal(await answer(outside, node(1), nodePort(4)), undefined);
      await gets('pods get it everywhere', inPod('client-2'), node(1), nodePort(4), {
        pod: 'near',
        client: own('client-2'),
      });
    });

    test(`${family}: UDP`, async () => {
      const probe = (ip: string, port: number) => [
        ...[process.execPath, '--disable-warning=ExperimentalWarning', udpProbe, ip, String(port)],
      ];
      for (const [ask, ip, port] of [
        [inPod('client'), vip(2), 80],
        [byPackets('client'), vip(2), 80],
        [byPackets('client'), vip(1), 80],
        [outside, node(0), nodePort(1)],
        [outside, node(0), nodePort(2)],
      ] as const) {
        const { code, stdout, stderr } = await ask(...probe(ip, port));
        assert.equal(code, 0, `${ip} ${port}: ${stderr}`);
        assert.match(stdout, new RegExp(`^${ip} ${port} `));
      }
    });

    test(`${family}: SCTP`, async () => {
      const servers = ['near', 'far'].map(pod => new SctpServer(cluster.netnsOf(pod), f === 1, 8080));
      try {
        for (const [netns, ip, port] of [
          [cluster.netnsOf('client'), vip(1), 80],
          [cluster.netnsOf('client'), vip(2), 80],
          [cluster.nodes[0]?.netns ?? '', vip(1), 80],
          [cluster.nodes[0]?.netns ?? '', vip(2), 80],
          [cluster.outside, node(0), nodePort(1)],
          [cluster.outside, node(0), nodePort(2)],
        ] as const) {
          await eventually(
            `${netns} reaches ${ip}`,
            async () => {
              const sport = 20_000 + Math.floor(Math.random() * 9000);
              const got = await dialSctp(netns, ip, port, sport, 1000);
              assert.deepEqual(got, { from: ip, sport: port, dport: sport, chunk: 2, checksumIsRight: true });
              return true;
            },
            8000,
          );
        }
      } finally {
        for (const server of servers) server.close();
      }
    });

    test(`${family}: connections go on over a restart of the agent, and new ones are made meanwhile`, async () => {
      const connections = [
        ['nsenter', `--net=${cluster.outside}`, node(0), nodePort(1)],
        ['nsenter', `--net=${cluster.outside}`, node(0), nodePort(2)],
        ['nsenter', `--net=${cluster.netnsOf('client')}`, vip(1), 80],
        ['nsenter', `--net=${cluster.netnsOf('client')}`, vip(2), 80],
      ] as const;
      const started = connections.map(([command, net, ip, port]) => {
        const child = spawn(command, [net, process.execPath, '-e', held, ip, String(port)], {
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        const said: string[] = [];
        createInterface({ input: child.stdout }).on('line', line => said.push(line));
        return { child, said, what: `${ip} ${port}` };
      });
      try {
        await eventually(
          'all stand',
          async () => (started.every(({ said }) => said.join() === 'stands') ? true : undefined),
          10_000,
        );
        const [first] = cluster.nodes;
        await first?.stopAgent('SIGKILL');
        assert.equal((await answer(outside, node(0), nodePort(2)))?.pod, 'far', 'without an agent');
        await first?.startAgent();
        for (const { child } of started) child.stdin.write('\n');
        const isOver = async () => (started.every(({ said }) => said.length === 2) ? true : undefined);
        await eventually('all have gone on', isOver, 10_000).catch(() => undefined);
        assert.deepEqual(
          started.map(({ said }) => said.join()),
          started.map(() => 'stands,200'),
        );
        await gets('after it', outside, node(0), nodePort(2), { pod: 'far', client: node(0) });
      } finally {
        for (const { child } of started) child.kill('SIGKILL');
      }
    });
  }

  test('a backend that leaves the service keeps its connection; lb trace knows pods of another CNI', async () => {
    const [first] = cluster.nodes;
    assert.ok(first !== undefined);
    const child = spawn(
      'nsenter',
      [`--net=${cluster.outside}`, process.execPath, '-e', held, nodeAddresses[0][0], String(nodePort(2))],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const said: string[] = [];
    createInterface({ input: child.stdout }).on('line', line => said.push(line));
    const objects = objectsOf(cluster);
    try {
      await eventually('it stands', async () => (said.length === 1 ? true : undefined), 10_000);
      first.setObjects({ '/apis/discovery.k8s.io/v1/endpointslices': [] });
      await eventually('new ones are refused', async () =>
        (await outside(...curl(nodeAddresses[0][0], nodePort(2)))).code === 7 ? true : undefined,
      );
      child.stdin.write('\n');
      await eventually('it has gone on', async () => (said.join() === 'stands,200' ? true : undefined), 10_000);
    } finally {
      child.kill('SIGKILL');
      first.setObjects({
        '/apis/discovery.k8s.io/v1/endpointslices': objects['/apis/discovery.k8s.io/v1/endpointslices'] ?? [],
      });
    }
    await gets('again', outside, nodeAddresses[0][0], nodePort(2), { pod: 'far', client: nodeAddresses[0][0] });
    const trace = (from: string, to: string) =>
      first.get(`/v1/ciliate/lb/trace?from=${encodeURIComponent(from)}&to=${encodeURIComponent(to)}`);
    assert.match(JSON.stringify(await trace('default/client', '10.96.0.2:80')), /wired by another CNI.*forwarded/);
    assert.match(
      JSON.stringify(await trace(outsider[0], `${nodeAddresses[0][0]}:${nodePort(1)}`)),
      /from_foreign has run.*10\.77\.1\.10/,
    );
  });

  test('health: of a service, and what kube-proxy says', async () => {
    const ask = (i: 0 | 1, port: number) => outside('curl', '-s', '-i', '-m', '2', at(nodeAddresses[i][0], port));
    assert.match((await ask(0, 32_104)).stdout, /^HTTP\/1.1 200[\s\S]*"localEndpoints":1/);
    assert.match((await ask(1, 32_104)).stdout, /^HTTP\/1.1 503[\s\S]*"localEndpoints":0/);
    const healthz = await outside('curl', '-s', '-i', '-m', '2', `${at(nodeAddresses[0][0], 10_256)}healthz`);
    assert.match(healthz.stdout, /^HTTP\/1.1 200/);
  });

  test('nothing else of the node is touched', async () => {
    for (const i of [0, 1] as const) {
      const links = (await cluster.onNode(i, 'ip', '-o', 'link')).stdout;
      assert.doesNotMatch(links, /ciliate_/);
      assert.doesNotMatch((await cluster.onNode(i, 'ip', 'route')).stdout, /ciliate_/);
      const rules = await netfilter(i);
      assert.doesNotMatch(rules, /10\.96\.|301\d\d/);
      assert.equal((await cluster.onNode(i, 'cat', '/proc/sys/net/ipv4/conf/all/rp_filter')).stdout.trim(), '1');
    }
  });

  test('pods are refused with the reason, and policies say that they are not enforced', async () => {
    const [first] = cluster.nodes;
    assert.ok(first !== undefined);
    const added = first.plugin({ command: 'ADD', netns: cluster.netnsOf('client') });
    assert.notEqual(added.code, 0);
    assert.match(JSON.stringify(added.output), /serves services alone \(--service-only\)/);
    const policies = JSON.stringify(await first.get('/v1/policy'));
    assert.match(policies, /nobody.*refused.*serves services alone/);
    const status = JSON.stringify(await first.get('/v1/healthz'));
    assert.match(status, /"serviceOnly":true/);
  });

  if (acceleration === 'disabled') return;
  test('XDP has done its part, on native devices alone', () => {
    for (const [i, node] of cluster.nodes.entries()) {
      const fd = openPin(join(node.directory, 'bpf/ciliate/maps/forwarded'));
      const index = VerdictSource.XDP_NETDEV * 4 + MetricDirection.METRIC_INGRESS;
      const values = new KernelPerCpuMap(fd, mapSpecs.forwarded).lookup(index) ?? [];
      closeFd(fd);
      assert.ok(
        values.some(({ packets }) => packets > 0n),
        `node ${i + 1}`,
      );
    }
  });
};

describe('services alone, pods of another CNI', privileged('root'), suite('disabled'));
describe('services alone, with XDP', privileged('root'), suite('best-effort'));
