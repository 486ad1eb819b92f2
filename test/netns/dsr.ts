/** Direct server return with real packets: whom backends take for their client, and by which node answers leave. Both families. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually, type Outcome } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

/** argv: port. Tells each sender its address and how much it has sent. */
const tellsSender = `
const [, port] = process.argv, dgram = require('node:dgram');
for (const type of ['udp4', 'udp6']) {
  const socket = dgram.createSocket({ type, ipv6Only: type === 'udp6' });
  socket.on('message', (m, from) => socket.send(from.address + ' ' + m.length, from.port, from.address));
  socket.bind(Number(port));
}`;

/**
 * argv: address, port, bytes, times. Sends from one socket that knows its peer until it has so many answers; prints the last, or the error.
 * EMSGSIZE is how a socket hears of a smaller MTU on the way: the next datagram is cut to it.
 */
const asks = `
const [, address, port, bytes, times] = process.argv;
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
let answers = 0;
socket.on('message', m => { if (++answers >= Number(times)) { console.log(String(m)); process.exit(); } });
socket.on('error', error => { if (error.code === 'EMSGSIZE') return; console.log(error.code); process.exit(); });
const question = Buffer.alloc(Number(bytes), 'x');
socket.connect(Number(port), address, () => setInterval(() => socket.send(question, () => {}), 100));
setTimeout(() => { console.log('silence after ' + answers); process.exit(); }, 8000);`;

const pod = (name: string, spec: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${name} } }
spec: { nodeName: node-2, ${spec} }
---`;

const service = (name: string, protocol: string, port: number, target: number, app: string): string => `
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec:
  type: NodePort
  selector: { app: ${app} }
  ipFamilyPolicy: RequireDualStack
  ports: [{ port: 80, targetPort: ${target}, nodePort: ${port}, protocol: ${protocol} }]
---`;

const [tcpPort, udpPort, hostPort, closedPort] = [30_100, 30_101, 30_102, 30_103];
const command = (script: string, ...args: readonly string[]) =>
  JSON.stringify([process.execPath, '-e', script, ...args]);

const manifest = [
  pod('web', 'containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }] }]'),
  pod('datagrams', `containers: [{ name: c, image: datagrams, command: ${command(tellsSender, '5353')} }]`),
  pod(
    'on-host',
    'hostNetwork: true, containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 18080 }] }]',
  ),
  service('web', 'TCP', tcpPort, 8080, 'web'),
  service('datagrams', 'UDP', udpPort, 5353, 'datagrams'),
  service('on-host', 'TCP', hostPort, 18_080, 'on-host'),
  service('closed', 'UDP', closedPort, 9, 'datagrams'),
].join('\n');

const families = [
  { name: 'IPv4', outside: '172.30.0.100', first: '172.30.0.11' },
  { name: 'IPv6', outside: 'fd00:172:30::100', first: 'fd00:172:30::11' },
] as const;

export interface DsrMode {
  readonly name: string;
  readonly routing: 'native' | 'vxlan';
  readonly options: readonly string[];
  /** Whose answers leave by the node of their backend. */
  readonly direct: { readonly tcp: boolean; readonly udp: boolean };
  /** What `lb trace` says of how the backend's node is told. */
  readonly told: RegExp;
}

/** A policy for pods of the app: they get packets from these addresses alone. */
export const onlyFrom = (app: string, cidrs: readonly string[]): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: from-outside }
spec:
  podSelector: { matchLabels: { app: ${app} } }
  ingress: [{ from: [${cidrs.map(cidr => `{ ipBlock: { cidr: "${cidr}" } }`).join(', ')}] }]
`;

export const client = (output: string): string => /client: (\S+)/.exec(output)?.[1] ?? output;
export const url = (address: string, port: number): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:${port}/`;

/** What a node has sent to an address while `visit` ran, as lines of tcpdump. */
export async function sentBy(
  cluster: Cluster,
  node: string,
  to: string,
  visit: () => Promise<void>,
): Promise<readonly string[]> {
  const filter = `dst host ${to} and (tcp or udp or proto 4 or ip6 proto 41)`;
  const dump = cluster.start(node, 'sh', '-c', `exec tcpdump -i eth0 -Q out -nn -l -U '${filter}' 2>&1`);
  let text = '';
  dump.stdout.on('data', chunk => {
    text += String(chunk);
  });
  try {
    await eventually('tcpdump listens', async () => (text.includes('listening on') ? true : undefined));
    await visit();
    // What was sent is on its way through a pipe.
    await new Promise(resolve => setTimeout(resolve, 500));
  } finally {
    dump.kill('SIGTERM');
  }
  return text.split('\n').filter(line => line.includes(' > '));
}

export function testDsr(mode: DsrMode): void {
  describe(`DSR, ${mode.name}`, privileged('sandbox'), () => {
    const cluster = new Cluster({ name: 'dsr', routing: mode.routing, agentOptions: mode.options });
    before(async () => {
      cluster.up();
      await cluster.apply(manifest);
      await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
    });
    after(() => {
      cluster.down();
    });

    const curl = (...args: readonly string[]): Promise<Outcome> =>
      cluster.exec('outside', 'curl', '-s', '-m', '10', ...args);
    const ask = (address: string, port: number, bytes: number, times: number): Promise<Outcome> =>
      cluster.exec('outside', process.execPath, '-e', asks, address, String(port), String(bytes), String(times));

    for (const { name, outside, first } of families) {
      const seen = (isDirect: boolean) => (isDirect ? outside : first);
      const answers = (address: string, port: number) =>
        eventually(`${address}:${port} answers`, async () =>
          (await curl(url(address, port))).code === 0 ? true : undefined,
        );

      test(`${name}, TCP: the backend sees the client, and no answer passes the first node`, async () => {
        await answers(first, tcpPort);
        const passed = await sentBy(cluster, 'node-1', outside, async () => {
          for (let i = 0; i < 10; i += 1) {
            const answer = await curl(url(first, tcpPort));
            assert.equal(client(answer.stdout), seen(mode.direct.tcp), answer.stderr);
          }
        });
        if (mode.direct.tcp) assert.deepEqual(passed, []);
        else assert.ok(passed.length > 20);
        const sent = await sentBy(cluster, 'node-2', outside, async () => {
          assert.equal((await curl(url(first, tcpPort))).code, 0);
        });
        assert.equal(sent.length > 3, mode.direct.tcp, 'the second node sends them');
      });

      test(`${name}, UDP: the same`, async () => {
        const passed = await sentBy(cluster, 'node-1', outside, async () => {
          const answer = await ask(first, udpPort, 10, 10);
          assert.equal(answer.stdout.trim(), `${seen(mode.direct.udp)} 10`);
        });
        if (mode.direct.udp) assert.deepEqual(passed, []);
        else assert.ok(passed.length >= 10);
      });

      test(`${name}: a pod in the network of its node is a backend as well`, async () => {
        await answers(first, hostPort);
        const passed = await sentBy(cluster, 'node-1', outside, async () => {
          assert.equal(client((await curl(url(first, hostPort))).stdout), seen(mode.direct.tcp));
        });
        assert.equal(passed.length === 0, mode.direct.tcp);
      });

      test(`${name}: much in both directions`, async () => {
        const send = `head -c 3000000 /dev/zero | curl -s -m 20 --data-binary @- '${url(first, tcpPort)}'`;
        for (let i = 0; i < 3; i += 1) {
          const answer = await cluster.exec('outside', 'sh', '-c', send);
          assert.match(answer.stdout, /request: POST \/ 3000000 bytes/, answer.stderr);
        }
      });

      test(`${name}: datagrams as big as the client's link, and bigger`, async () => {
        for (const bytes of [1400, 1452, 1472, 4000]) {
          const answer = await ask(first, udpPort, bytes, 3);
          assert.equal(answer.stdout.trim(), `${seen(mode.direct.udp)} ${bytes}`);
        }
      });

      test(`${name}: a port that the backend has closed refuses, in the name of the service`, async () => {
        assert.equal((await ask(first, closedPort, 10, 1)).stdout.trim(), 'ECONNREFUSED');
      });

      test(`${name}: a trace tells how, and leaves nothing`, async () => {
        const [from, to] = [outside, `${first.includes(':') ? `[${first}]` : first}:${tcpPort}`];
        const { code, stdout } = await cluster.ciliate('--node', 'node-1', 'lb', 'trace', '--from', from, '--to', to);
        assert.equal(code, 0, stdout);
        assert.match(stdout, mode.told);
        const left = await cluster.ciliate('--node', 'node-1', 'bpf', 'ct', 'list');
        assert.doesNotMatch(left.stdout, new RegExp(`${outside}\\]?:6553\\d `));
      });
    }

    test('the mode is shown, and what backends of a node may answer as', async () => {
      const status = await cluster.ciliate('--node', 'node-2', 'status', '--verbose');
      assert.match(status.stdout, /DSR Dispatch Mode:/);
      const listed = await cluster.ciliate('--node', 'node-2', 'bpf', 'lb', 'list', '--dsr');
      assert.equal(listed.stdout.includes(`0.0.0.0:${tcpPort}/TCP`), mode.direct.tcp, listed.stdout);
      assert.equal(listed.stdout.includes(`:${udpPort}/UDP`), mode.direct.udp, listed.stdout);
    });
  });
}
