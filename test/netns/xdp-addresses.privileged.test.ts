/** Every kind of address that outsiders dial, TCP and UDP, both families, with XDP on both nodes: who answers, who sees whom, who is kept out. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DropReason } from '@ciliate/abi';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { droppedByXdp, sentByXdp } from '../lib/xdp-counts.ts';

const families = [4, 6] as const;
const node = { 4: '172.30.0.11', 6: 'fd00:172:30::11' } as const;
const outside = { 4: '172.30.0.100', 6: 'fd00:172:30::100' } as const;
/** Addresses of services by the last number; outside routes them to node-1. */
const vip = { 4: (n: number) => `203.0.113.${n}`, 6: (n: number) => `fd00:203::${n}` } as const;

const pod = (name: string, on: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: echo, pod: ${name} } }
spec:
  nodeName: ${on}
  containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }, { containerPort: 9000, protocol: UDP }] }]
---`;

const service = (name: string, selector: string, spec: string): string => `
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec:
  ipFamilyPolicy: RequireDualStack
  selector: { ${selector} }
  ports: [{ name: web, port: 80, targetPort: 8080 }, { name: echo, port: 9000, protocol: UDP }]
  ${spec}
---`;
const external = (n: number): string => `externalIPs: [${vip[4](n)}, "${vip[6](n)}"]`;

/** argv: address, port. Sends a datagram to whom nobody serves: the error that comes back, or silence. */
const refused = `
const [, host, port] = process.argv, socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
socket.on('error', error => { console.log(error.code); process.exit(); });
socket.connect(Number(port), host, () => socket.send('x'));
setTimeout(() => { console.log('silence'); process.exit(); }, 2000);
`;

describe('XDP and the addresses of services', privileged('sandbox'), () => {
  const name = 'xdp-addresses';
  const cluster = new Cluster({ name, routing: 'native', agentOptions: ['bpf-lb-acceleration=native'] });
  const text = (ip: string): string => (ip.includes(':') ? `[${ip}]` : ip);
  const curl = (ip: string, port = 80) =>
    cluster.exec('outside', 'curl', '-gs', '-m', '2', `http://${text(ip)}:${port}/`);
  const ask = async (ip: string, port = 80): Promise<string> => (await curl(ip, port)).stdout;
  const probe = join(import.meta.dirname, '../lib/udp-probe.ts');
  const askUdp = async (ip: string, port = 9000): Promise<string> =>
    (await cluster.exec('outside', process.execPath, probe, ip, String(port))).stdout;
  const sentOn = (): number => sentByXdp(name);
  const dropped = (reason: number): number => droppedByXdp(name, reason);

  before(async () => {
    cluster.up();
    await cluster.apply(
      [
        pod('near', 'node-1'),
        pod('far', 'node-2'),
        pod('far-2', 'node-2'),
        service('external', 'pod: far', external(1)),
        service('balanced', 'pod: far', 'type: LoadBalancer'),
        service('ranged', 'pod: far', 'type: LoadBalancer\n  loadBalancerSourceRanges: [10.9.0.0/16, "fd00:9::/64"]'),
        service('local', 'app: echo', `type: NodePort\n  externalTrafficPolicy: Local\n  ${external(4)}`),
        service('sticky', 'app: echo', `sessionAffinity: ClientIP\n  ${external(5)}`),
        service('empty', 'pod: nobody', external(6)),
      ].join(''),
    );
    for (const [balanced, n] of [
      ['balanced', 2],
      ['ranged', 3],
    ] as const) {
      const status = { status: { loadBalancer: { ingress: [{ ip: vip[4](n) }, { ip: vip[6](n) }] } } };
      const patch = ['--subresource=status', '--type=merge', '-p', JSON.stringify(status)];
      await cluster.kube('patch', 'service', balanced, ...patch);
    }
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
    for (const family of families) {
      const prefix = family === 4 ? '203.0.113.0/24' : 'fd00:203::/64';
      const added = await cluster.exec('outside', 'ip', `-${family}`, 'route', 'replace', prefix, 'via', node[family]);
      assert.equal(added.code, 0, added.stderr);
      for (const n of [1, 2, 4, 5])
        await eventually(`${n} answers by IPv${family}`, async () =>
          (await ask(vip[family](n))) === '' ? undefined : true,
        );
    }
  });
  after(() => {
    cluster.down();
  });

  for (const family of families) {
    for (const [what, n] of [
      ['externalIPs', 1],
      ['the address of a load balancer', 2],
    ] as const) {
      test(`IPv${family}: ${what}, TCP and UDP, through XDP`, async () => {
        const before = sentOn();
        const answer = await ask(vip[family](n));
        assert.ok(answer.includes(`client: ${node[family]} `), answer);
        const between = sentOn();
        assert.ok(between - before >= 8, `${between - before} packets of a connection`);
        assert.equal(await askUdp(vip[family](n)), `${vip[family](n)} 9000 32\n`);
        assert.ok(sentOn() - between >= 2, 'a datagram and its answer');
      });
    }

    test(`IPv${family}: who is not in the source ranges is dropped by XDP`, async () => {
      const before = dropped(DropReason.DROP_NOT_IN_SOURCE_RANGE);
      assert.equal((await curl(vip[family](3))).code, 28, 'silence');
      const between = dropped(DropReason.DROP_NOT_IN_SOURCE_RANGE);
      assert.ok(between > before);
      assert.equal(await askUdp(vip[family](3)), '');
      assert.ok(dropped(DropReason.DROP_NOT_IN_SOURCE_RANGE) > between);
    });

    test(`IPv${family}: externalTrafficPolicy Local: the backend of the node, which sees the client`, async () => {
      for (let i = 0; i < 6; i += 1) {
        const answer = await ask(vip[family](4));
        assert.match(answer, /pod: near/);
        assert.ok(answer.includes(`client: ${outside[family]} `), answer);
      }
      assert.equal(await askUdp(vip[family](4)), `${vip[family](4)} 9000 32\n`);
    });

    test(`IPv${family}: sessionAffinity: a client keeps its backend`, async () => {
      const pods = new Set<string>();
      for (let i = 0; i < 10; i += 1) pods.add(/pod: (\S+)/.exec(await ask(vip[family](5)))?.[1] ?? 'none');
      assert.equal(pods.size, 1, [...pods].join(' '));
      assert.ok(!pods.has('none'));
    });

    test(`IPv${family}: nobody serves: refused, TCP and UDP`, async () => {
      assert.equal((await curl(vip[family](6))).code, 7);
      const result = await cluster.exec('outside', process.execPath, '-e', refused, vip[family](6), '9000');
      assert.equal(result.stdout.trim(), 'ECONNREFUSED');
    });

    test(`IPv${family}: a port that a load balancer’s address does not serve: silence, TCP and UDP`, async () => {
      assert.equal((await curl(vip[family](2), 81)).code, 28);
      const result = await cluster.exec('outside', process.execPath, '-e', refused, vip[family](2), '81');
      assert.equal(result.stdout.trim(), 'silence');
    });
  }

  test('who comes into the source ranges is let in', async () => {
    const allowed = { spec: { loadBalancerSourceRanges: ['172.30.0.0/16', 'fd00:172:30::/64'] } };
    await cluster.kube('patch', 'service', 'ranged', '--type=merge', '-p', JSON.stringify(allowed));
    for (const family of families) {
      await eventually('an answer', async () => ((await ask(vip[family](3))) === '' ? undefined : true));
      assert.equal(await askUdp(vip[family](3)), `${vip[family](3)} 9000 32\n`);
    }
  });
});
