/** The Service API with real packets: who answers, and whom the backend takes for its client; both families. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { restartAgent } from '../lib/agents.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const backend = (name: string, node: string, more = ''): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: web } }
spec:
  nodeName: ${node}
  containers: [{ name: echo, image: ciliate/echo, ports: [{ name: http, containerPort: 8080${more} }] }]
---`;

const manifest = [
  backend('web-1', 'node-1', ', hostPort: 18080'),
  backend('web-2', 'node-2'),
  `
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { nodeName: node-1, containers: [{ name: c, image: netshoot }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client-2 }
spec: { nodeName: node-2, containers: [{ name: c, image: netshoot }] }
`,
].join('\n');

const service = (name: string, spec: string): string => `
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec:
  selector: { app: web }
  ipFamilyPolicy: RequireDualStack
  ports: [{ name: http, port: 80, targetPort: http }]
  ${spec}
`;

const nodes = { 'node-1': ['172.30.0.11', 'fd00:172:30::11'], 'node-2': ['172.30.0.12', 'fd00:172:30::12'] } as const;
const outsider = ['172.30.0.100', 'fd00:172:30::100'] as const;

/** What the echo server says about a request. */
interface Answer {
  readonly pod: string;
  readonly client: string;
}

/** argv: address, port, local port. Asks, and asks again by the same connection three seconds later. */
const heldFromPort = `
const [, host, port, localPort] = process.argv, http = require('node:http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ask = () => http.get({ host, port, localPort: Number(localPort), agent, timeout: 5000 }, answer => {
  answer.resume(); answer.on('end', () => console.log(String(answer.statusCode)));
}).on('error', error => console.log(error.code)).on('timeout', () => { console.log('silence'); process.exit(); });
ask(); setTimeout(ask, 3000); setTimeout(() => process.exit(), 9000);
`;

describe('services', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'services' });
  const podIps = new Map<string, readonly string[]>();
  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
    for (const name of ['web-1', 'web-2', 'client']) {
      podIps.set(name, (await cluster.kube('get', 'pod', name, '-o', 'jsonpath={.status.podIPs[*].ip}')).split(' '));
    }
  });
  after(() => {
    cluster.down();
  });

  const at = (ip: string, port: number) => `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;
  /** Undefined: no answer. */
  const ask = async (from: string, ip: string, port = 80): Promise<Answer | undefined> => {
    const result = await cluster.exec(from, 'curl', '-s', '-m', '2', at(ip, port));
    if (result.code !== 0) return undefined;
    const pod = /(web-\d)/.exec(result.stdout)?.[1] ?? '';
    const client = /"?client"?[:=]\s*"?([0-9a-f.:]+?)"?[\s,}]/i.exec(result.stdout)?.[1] ?? '';
    return { pod, client: client.replace(/^::ffff:/, '') };
  };
  const several = async (from: string, ip: string, port = 80, times = 12): Promise<readonly (Answer | undefined)[]> => {
    const answers: (Answer | undefined)[] = [];
    for (let i = 0; i < times; i += 1) answers.push(await ask(from, ip, port));
    return answers;
  };
  const podsOf = (answers: readonly (Answer | undefined)[]) => new Set(answers.map(one => one?.pod ?? 'none'));
  const field = (name: string, path: string) => cluster.kube('get', 'service', name, '-o', `jsonpath={${path}}`);
  const created = async (name: string, spec: string): Promise<readonly string[]> => {
    await cluster.apply(service(name, spec));
    const ips = (await field(name, '.spec.clusterIPs[*]')).split(' ');
    await eventually(`${name} answers`, async () => {
      const answers = await Promise.all(ips.map(ip => ask('pod/default/client', ip)));
      return answers.every(one => one !== undefined) ? true : undefined;
    });
    return ips;
  };
  const nodePort = async (name: string) => Number(await field(name, '.spec.ports[0].nodePort'));

  test('sessionAffinity: a client keeps its backend, in a pod and outside, and over a restart of the agent', async () => {
    const ips = await created('sticky', 'type: NodePort\n  sessionAffinity: ClientIP');
    const port = await nodePort('sticky');
    for (const [i, ip] of ips.entries()) {
      assert.equal(podsOf(await several('pod/default/client', ip)).size, 1, `${ip} from a pod`);
      const outside = podsOf(await several('outside', nodes['node-1'][i] ?? '', port));
      assert.equal(outside.size, 1, `family ${i} from outside`);
    }
    const all = (times: number) =>
      Promise.all([
        ...ips.map(async ip => podsOf(await several('pod/default/client', ip, 80, times))),
        ...nodes['node-1'].map(async ip => podsOf(await several('outside', ip, port, times))),
      ]);
    const before = await all(2);
    await restartAgent(cluster, 'node-1');
    assert.deepEqual(await all(12), before);
  });

  test('externalTrafficPolicy Local: only local backends, and they see the client', async () => {
    await created('local', 'type: NodePort\n  externalTrafficPolicy: Local');
    const port = await nodePort('local');
    for (const [node, pod] of [
      ['node-1', 'web-1'],
      ['node-2', 'web-2'],
    ] as const) {
      for (const [i, ip] of nodes[node].entries()) {
        const answers = await several('outside', ip, port, 8);
        assert.deepEqual([...podsOf(answers)], [pod], ip);
        for (const one of answers) assert.equal(one?.client, outsider[i]);
      }
    }
    for (const ip of nodes['node-1']) {
      const inside = podsOf(await several('pod/default/client', ip, port, 24));
      assert.deepEqual([...inside].sort(), ['web-1', 'web-2'], `pods get all backends: ${ip}`);
    }
  });

  test('externalTrafficPolicy Cluster: every node answers with every backend, in the name of the node', async () => {
    await created('cluster', 'type: NodePort');
    const port = await nodePort('cluster');
    for (const [i, ip] of nodes['node-1'].entries()) {
      const answers = await several('outside', ip, port, 24);
      assert.deepEqual([...podsOf(answers)].sort(), ['web-1', 'web-2']);
      for (const one of answers) assert.equal(one?.client, one?.pod === 'web-1' ? outsider[i] : ip, one?.pod);
    }
  });

  test('internalTrafficPolicy Local: pods get the backends of their own node', async () => {
    const ips = await created('inner', 'internalTrafficPolicy: Local');
    for (const ip of ips) {
      assert.deepEqual([...podsOf(await several('pod/default/client', ip))], ['web-1']);
      assert.deepEqual([...podsOf(await several('pod/default/client-2', ip))], ['web-2']);
    }
  });

  test('externalIPs and load balancer addresses answer outsiders; source ranges keep others out', async () => {
    const route = async (prefix: string) => {
      for (const [i, one] of [
        prefix.replace('/x', '/32'),
        `fd00:203::${prefix.split('.')[3]?.split('/')[0]}/128`,
      ].entries()) {
        const family = i === 0 ? '-4' : '-6';
        const added = await cluster.exec(
          'outside',
          'ip',
          family,
          'route',
          'replace',
          one,
          'via',
          nodes['node-1'][i] ?? '',
        );
        assert.equal(added.code, 0, added.stderr);
      }
    };
    await route('203.0.113.7/x');
    await created('external', 'externalIPs: [203.0.113.7, "fd00:203::7"]');
    for (const ip of ['203.0.113.7', 'fd00:203::7']) {
      assert.notEqual((await ask('outside', ip))?.pod ?? 'none', 'none', ip);
      assert.equal(await ask('outside', ip, 81), undefined, 'a port that is not served');
    }
    await route('203.0.113.8/x');
    const spec = 'type: LoadBalancer\n  loadBalancerSourceRanges: [10.9.0.0/16]';
    await created('balanced', spec);
    const status = { status: { loadBalancer: { ingress: [{ ip: '203.0.113.8' }, { ip: 'fd00:203::8' }] } } };
    await cluster.kube(
      'patch',
      'service',
      'balanced',
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify(status),
    );
    await new Promise(resolve => setTimeout(resolve, 1000));
    assert.equal(await ask('outside', '203.0.113.8'), undefined, 'not in the range');
    const allowed = { spec: { loadBalancerSourceRanges: ['172.30.0.0/16', 'fd00:172:30::/64'] } };
    await cluster.kube('patch', 'service', 'balanced', '--type=merge', '-p', JSON.stringify(allowed));
    for (const ip of ['203.0.113.8', 'fd00:203::8']) {
      await eventually(
        `${ip} answers`,
        async () => ((await ask('outside', ip)) === undefined ? undefined : true),
        10_000,
      );
    }
  });

  test('two services want one external address and port: the older has it, and who looks sees who goes without', async () => {
    const ip = '203.0.113.60';
    await created('first', `externalIPs: [${ip}]`);
    await created('second', `externalIPs: [${ip}]`);
    const message = `default/second does not get ${ip}:80/TCP (ExternalIPs): default/first has it`;
    const list = async () => (await cluster.ciliate('--node', 'node-2', 'service', 'list')).stdout;
    assert.ok((await list()).includes(message));
    await eventually('the event', async () =>
      (await cluster.kube('describe', 'service', 'second')).includes(message) ? true : undefined,
    );
    await cluster.kube('delete', 'service', 'first');
    await eventually('the second has it', async () => {
      const text = await list();
      return text.includes(`${ip}:80/TCP`) && !text.includes(message) ? true : undefined;
    });
  });

  test('hostPort: the node that runs the pod answers on its own addresses', async () => {
    for (const ip of nodes['node-1']) assert.equal((await ask('outside', ip, 18_080))?.pod, 'web-1', ip);
    for (const ip of nodes['node-2']) assert.equal(await ask('outside', ip, 18_080), undefined);
    for (const ip of ['127.0.0.1', '::1']) {
      assert.equal((await ask('node-1', ip, 18_080))?.pod, 'web-1', `the node by ${ip}`);
      assert.equal(await ask('pod/default/client', ip, 18_080), undefined, "a pod's loopback is its own");
    }
  });

  test('healthCheckNodePort tells how many endpoints the node has', async () => {
    await created('checked', 'type: LoadBalancer\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 32123');
    await cluster.apply(
      service('late', 'type: LoadBalancer\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 32123'),
    );
    const message = 'the health of default/late cannot be served on port 32123 (default/checked has it)';
    await eventually('the event', async () =>
      (await cluster.kube('describe', 'service', 'late')).includes(message) ? true : undefined,
    );
    for (const ip of nodes['node-1']) {
      const health = await eventually('the health port answers', async () => {
        const result = await cluster.exec('outside', 'curl', '-s', '-i', '-m', '2', at(ip, 32_123));
        return result.code === 0 ? result.stdout : undefined;
      });
      assert.match(health, /^HTTP\/1.1 200/);
      assert.match(health, /X-Load-Balancing-Endpoint-Weight: 1/i);
      assert.match(health, /"localEndpoints":1/);
    }
  });

  test('a proxy of the node gets what is sent to the service, and sees who sent it', async () => {
    const echo = join(import.meta.dirname, '../../build/bin/ciliate-sandbox-echo');
    const proxy = cluster.start('node-1', 'env', 'CILIATE_POD=web-0', echo, '--ports', '15001/TCP');
    try {
      const ips = await created('proxied', 'type: NodePort');
      const port = await nodePort('proxied');
      await cluster.kube('annotate', 'service', 'proxied', 'ciliate.io/proxy-port=15001');
      for (const [i, ip] of ips.entries()) {
        await eventually('the proxy has it', async () =>
          [...podsOf(await several('pod/default/client', ip))].join() === 'web-0' ? true : undefined,
        );
        const inside = await ask('pod/default/client', ip);
        assert.ok(podIps.get('client')?.includes(inside?.client ?? ''), `${ip} from ${inside?.client}`);
        const outside = await ask('outside', nodes['node-1'][i] ?? '', port);
        assert.deepEqual(outside, { pod: 'web-0', client: outsider[i] });
        assert.equal(await ask('pod/default/client-2', ip), undefined, 'no proxy listens on node-2');
      }
    } finally {
      proxy.kill('SIGTERM');
    }
  });

  test('a service without backends refuses at once, from a pod and from outside', async () => {
    await cluster.apply(service('empty', 'type: NodePort').replace('app: web', 'app: nobody'));
    const ips = (await field('empty', '.spec.clusterIPs[*]')).split(' ');
    const port = await nodePort('empty');
    for (const [i, ip] of ips.entries()) {
      const node = nodes['node-1'].find(one => one.includes(':') === ip.includes(':')) ?? '';
      await eventually(
        `it refuses, family ${i}`,
        async () => {
          const inside = await cluster.exec('pod/default/client', 'curl', '-s', '-m', '2', at(ip, 80));
          const outside = await cluster.exec('outside', 'curl', '-s', '-m', '2', at(node, port));
          // 7: connection refused
          return inside.code === 7 && outside.code === 7 ? true : undefined;
        },
        10_000,
      );
    }
  });

  test('lb trace: what the programs would do with a packet, from a pod and from outside, and nothing of it stays', async () => {
    const spec = 'type: NodePort\n  sessionAffinity: ClientIP';
    const ips = await created('traced', spec);
    const port = await nodePort('traced');
    const trace = async (from: string, to: string): Promise<{ readonly code: number; readonly text: string }> => {
      const { code, stdout, stderr } = await cluster.ciliate(
        '--node',
        'node-1',
        'lb',
        'trace',
        '--from',
        from,
        '--to',
        to,
      );
      return { code, text: stdout + stderr };
    };
    const table = (map: string) => cluster.ciliate('--node', 'node-1', 'bpf', map, 'list', '-o', 'json');
    for (const ip of ips) {
      const { code, text } = await trace('default/client', ip.includes(':') ? `[${ip}]:80` : `${ip}:80`);
      assert.equal(code, 0, text);
      assert.match(text, /service default\/traced[\s\S]*the client is not remembered[\s\S]*2 of 2 take new flows/);
      assert.match(text, /from_container has run[\s\S]*sees the client's address[\s\S]*pod default\/web-[12]/);
    }
    for (const [i, from] of outsider.entries()) {
      const node = nodes['node-1'][i] ?? '';
      // The port that a trace would take: it must keep away from a flow that is there.
      const held = cluster.start('outside', process.execPath, '-e', heldFromPort, node, String(port), '65535');
      const said: string[] = [];
      createInterface({ input: held.stdout }).on('line', line => said.push(line));
      await eventually('the connection stands', async () => (said.includes('200') ? true : undefined));
      const { code, text } = await trace(from, node.includes(':') ? `[${node}]:${port}/TCP` : `${node}:${port}/TCP`);
      assert.equal(code, 0, text);
      assert.match(text, /from_netdev has run/);
      if (text.includes('by the overlay')) assert.match(text, /instead of the client \(SNAT\)/);
      const left = `${(await table('ct')).stdout}${(await table('nat')).stdout}`;
      assert.ok(!left.includes(`${from.includes(':') ? `[${from}]` : from}:65534`), 'no entry of the flow is left');
      await eventually('the connection has gone on', async () => (said.length === 2 ? true : undefined), 20_000);
      assert.deepEqual(said, ['200', '200']);
    }
    for (const flag of ['--frontends', '--backends', '--revnat', '--source-ranges', '--affinity', '--maglev']) {
      const listed = await cluster.ciliate('--node', 'node-1', 'bpf', 'lb', 'list', flag);
      assert.equal(listed.code, 0, `${flag}: ${listed.stderr}`);
      assert.ok(listed.stdout.split('\n').length > (flag === '--maglev' || flag === '--source-ranges' ? 1 : 2), flag);
    }
    const both = await cluster.ciliate('--node', 'node-1', 'bpf', 'lb', 'list', '--frontends', '--backends');
    assert.equal(both.code, 1);
    assert.match(both.stderr, /--frontends and --backends: one at a time/);
    const local = await nodePort('local');
    const { stdout: masters } = await cluster.ciliate('--node', 'node-1', 'bpf', 'lb', 'list', '--frontends');
    assert.match(masters, new RegExp(`^172.30.0.11:${local}/TCP +1 slots .*two-scopes`, 'm'));
    assert.match(masters, new RegExp(`^172.30.0.11:${local}/TCP/i +2 slots`, 'm'));
    const unserved = await trace('default/client', `${ips.find(ip => !ip.includes(':'))}:81`);
    assert.equal(unserved.code, 1);
    assert.match(unserved.text, /belongs to services alone[\s\S]*dropped/);
    for (const [from, to, problem] of [
      ['default/nobody', '10.96.0.1:443', /no pod default\/nobody on this node: ask the agent of its node/],
      ['default/client', 'web:80', /'web:80' is no address and port: write/],
      ['172.30.0.12', '10.96.0.1:443', /is a node/],
    ] as const) {
      const { code, text } = await trace(from, to);
      assert.equal(code, 1);
      assert.match(text, problem);
    }
  });

  test('a pod reaches itself through its own service', async () => {
    const ips = await created('self', 'internalTrafficPolicy: Local');
    for (const ip of ips) {
      const answer = await cluster.exec('pod/default/web-1', 'curl', '-s', '-m', '2', at(ip, 80));
      assert.match(answer.stdout, /web-1/, ip);
    }
  });
});
