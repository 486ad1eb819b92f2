/**
 * Connections under direct server return go on: when their backend leaves the service, when agents are killed, when another node takes the
 * flow over. And what they meet on the way: policy, errors about answers, a service's own word. Three nodes; backends are on the second.
 */
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { restartAgent } from '../lib/agents.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { client, onlyFrom, sentBy, url } from './dsr.ts';

/** argv: address, port. Asks by one connection again and again; prints pod and own port of each answer, or the error. */
const goesOn = `
const [, host, port] = process.argv, http = require('node:http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ask = () => http.get({ host, port, agent, timeout: 5000 }, answer => {
  const { localPort } = answer.socket; let text = ''; answer.on('data', part => { text += part; });
  answer.on('end', () => { console.log(/pod: (\\S+)/.exec(text)?.[1], localPort); setTimeout(ask, 100); });
}).on('error', error => console.log('error', error.code)).on('timeout', () => console.log('error timeout'));
ask();`;

/**
 * argv: port. 'late': answers half a second later from a socket that has this client for its peer, and so hears of errors. 'count': how many.
 */
const answersLate = `
const [, port] = process.argv, dgram = require('node:dgram');
let refused = 0;
for (const type of ['udp4', 'udp6']) {
  const options = { type, ipv6Only: type === 'udp6', reuseAddr: true };
  const socket = dgram.createSocket(options);
  socket.on('message', (m, from) => {
    if (String(m) === 'count') return socket.send(String(refused), from.port, from.address);
    const own = dgram.createSocket(options);
    own.on('error', error => { if (error.code === 'ECONNREFUSED') refused += 1; own.close(); });
    setTimeout(() => own.bind(Number(port), () => own.connect(from.port, from.address, () => own.send('here'))), 500);
  });
  socket.bind(Number(port));
}`;

/** argv: address, port, text. Sends once; with 'count' prints the answer, else is gone before it comes. */
const says = `
const [, address, port, text] = process.argv;
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
socket.on('message', m => { console.log(String(m)); process.exit(); });
socket.send(text, Number(port), address, () => { if (text !== 'count') process.exit(); });
setTimeout(() => process.exit(), 3000);`;

const pod = (name: string, labels: string, container: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { ${labels} } }
spec: { nodeName: node-2, containers: [{ name: c, ${container} }] }
---`;

const web = 'image: ciliate/echo, ports: [{ containerPort: 8080 }]';
const late = `image: late, command: ${JSON.stringify([process.execPath, '-e', answersLate, '5353'])}`;

const manifest = `${pod('web-1', 'app: web', web)}${pod('web-2', 'app: web', web)}${pod('late', 'app: late', late)}
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ipFamilyPolicy: RequireDualStack
  externalIPs: [203.0.113.20, "fd00:203::20"]
  ports: [{ port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: Service
metadata: { name: translated, annotations: { service.cilium.io/forwarding-mode: snat } }
spec:
  type: NodePort
  selector: { app: web }
  ipFamilyPolicy: RequireDualStack
  ports: [{ port: 80, targetPort: 8080, nodePort: 30200 }]
---
apiVersion: v1
kind: Service
metadata: { name: late }
spec:
  type: NodePort
  selector: { app: late }
  ipFamilyPolicy: RequireDualStack
  ports: [{ port: 53, targetPort: 5353, nodePort: 30201, protocol: UDP }]
`;

const families = [
  { name: 'IPv4', flag: '-4', vip: '203.0.113.20', outside: '172.30.0.100', node: (n: number) => `172.30.0.1${n}` },
  {
    name: 'IPv6',
    flag: '-6',
    vip: 'fd00:203::20',
    outside: 'fd00:172:30::100',
    node: (n: number) => `fd00:172:30::1${n}`,
  },
] as const;

const byEither = (['opt', 'ipip'] as const).map(dispatch => `bpf-lb-dsr-dispatch=${dispatch}`);

for (const dispatch of byEither)
  describe(`DSR, what flows live through, ${dispatch}`, privileged('sandbox'), () => {
    const options = ['bpf-lb-mode=dsr', 'bpf-lb-mode-annotation=true', 'bpf-lb-algorithm=maglev', dispatch];
    const cluster = new Cluster({ name: 'dsr-life', routing: 'native', nodes: 3, agentOptions: options });
    const route = async (n: number): Promise<void> => {
      for (const { flag, vip, node } of families) {
        const added = await cluster.exec('outside', 'ip', flag, 'route', 'replace', vip, 'via', node(n));
        assert.equal(added.code, 0, added.stderr);
      }
    };
    const curl = (address: string, port: number) =>
      cluster.exec('outside', 'curl', '-s', '-m', '3', url(address, port));
    const answers = (address: string, port: number) =>
      eventually(`${address} answers`, async () => ((await curl(address, port)).code === 0 ? true : undefined), 15_000);

    /** A connection, what it has got so far, and its end. */
    const connect = (address: string) => {
      const child = cluster.start('outside', process.execPath, '-e', goesOn, address, '80');
      const lines: string[] = [];
      createInterface({ input: child.stdout }).on('line', line => lines.push(line));
      const more = async (count: number): Promise<void> => {
        const wanted = lines.length + count;
        await eventually('it goes on', async () =>
          lines.length >= wanted || lines.some(line => line.startsWith('error')) ? true : undefined,
        );
      };
      return { lines, more, stop: () => child.kill('SIGTERM') };
    };

    before(async () => {
      cluster.up();
      await cluster.apply(manifest);
      await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
      await route(1);
      for (const { vip, node } of families) {
        await answers(vip, 80);
        await answers(node(1), 30_200);
      }
    });
    after(() => {
      cluster.down();
    });

    test('another node takes the flow over, agents are killed, the backend leaves: one connection, one backend', async () => {
      const held = families.map(({ vip }) => connect(vip));
      for (const one of held) await one.more(3);
      await route(3);
      for (const one of held) await one.more(5);
      await Promise.all(['node-2', 'node-3'].map(node => restartAgent(cluster, node)));
      for (const one of held) await one.more(5);
      await cluster.kube('label', 'pod', 'web-1', 'web-2', 'app=nobody', '--overwrite');
      await eventually('nobody serves', async () => ((await curl(families[0].vip, 80)).code === 7 ? true : undefined));
      for (const one of held) await one.more(10);
      await route(1);
      for (const one of held) await one.more(5);
      for (const one of held) {
        one.stop();
        assert.equal(new Set(one.lines).size, 1, one.lines.join('\n'));
        assert.match(one.lines[0] ?? '', /^web-\d \d+$/);
      }
      await cluster.kube('label', 'pod', 'web-1', 'web-2', 'app=web', '--overwrite');
      for (const { vip } of families) await answers(vip, 80);
    });

    for (const { name, vip, outside, node } of families) {
      test(`${name}: no answer passes the first node; the service's own word counts more`, async () => {
        const passed = await sentBy(cluster, 'node-1', outside, async () => {
          for (let i = 0; i < 5; i += 1) assert.equal(client((await curl(vip, 80)).stdout), outside);
        });
        assert.deepEqual(passed, []);
        assert.equal(client((await curl(node(1), 30_200)).stdout), node(1));
      });

      test(`${name}: a client that is gone refuses, and the backend hears of it`, async () => {
        const say = (text: string) => cluster.exec('outside', process.execPath, '-e', says, node(1), '30201', text);
        const before = Number((await say('count')).stdout);
        await say('late');
        await eventually('the backend has heard', async () =>
          Number((await say('count')).stdout) > before ? true : undefined,
        );
      });
    }

    test('the policy of the backend sees the client', async () => {
      await cluster.apply(
        onlyFrom(
          'web',
          families.map(({ outside }) => `${outside}/${outside.includes(':') ? 128 : 32}`),
        ),
      );
      // Everybody else is kept out: the node that would be the client without DSR.
      await eventually('the policy is enforced', async () =>
        (await curl(families[0].node(1), 30_200)).code === 28 ? true : undefined,
      );
      for (const { vip, outside } of families) assert.equal(client((await curl(vip, 80)).stdout), outside);
      await cluster.apply(onlyFrom('web', ['198.51.100.0/24']));
      for (const { vip } of families) {
        await eventually('it is kept out', async () => ((await curl(vip, 80)).code === 28 ? true : undefined));
      }
      await cluster.kube('delete', 'networkpolicy', 'from-outside');
      for (const { vip } of families) await answers(vip, 80);
    });

    test('service get says how a service is forwarded', async () => {
      const get = async (name: string) => (await cluster.ciliate('--node', 'node-1', 'service', 'get', name)).stdout;
      assert.match(await get('web'), /forwarding: dsr/);
      assert.match(await get('translated'), /forwarding: snat/);
    });
  });
