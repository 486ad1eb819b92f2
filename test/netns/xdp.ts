/** Services through XDP with real packets, in both families: what comes and goes, switched on and off under load, agents that end. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pinnedLinkInfo, setDeviceFeature } from '@ciliate/kernel';
import { agentOptions, restartAgent } from '../lib/agents.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { HttpLoad } from '../lib/http-load.ts';
import { privileged } from '../lib/privileged.ts';
import { sentByXdp } from '../lib/xdp-counts.ts';

const pod = (name: string, node: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { on: ${node} } }
spec:
  nodeName: ${node}
  containers:
  - { name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }, { containerPort: 9000, protocol: UDP }] }
  - { name: iperf, image: iperf3, command: [iperf3, -s, -p, "5201"] }
---
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: { on: ${node} }
  ports:
  - { name: web, port: 80, targetPort: 8080 }
  - { name: echo, port: 9000, protocol: UDP }
  - { name: bulk, port: 5201 }
---`;
const client = `
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { nodeName: node-1, containers: [{ name: c, image: netshoot }] }
`;

/** Of the node that the client outside dials; the pods of 'far' are on the other one. */
const node = { 4: '172.30.0.11', 6: 'fd00:172:30::11' } as const;
const outside = { 4: '172.30.0.100', 6: 'fd00:172:30::100' } as const;
const families = [4, 6] as const;
const url = (ip: string, port: number | string): string => `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;

export function xdpSuite(routing: 'native' | 'vxlan'): void {
  describe(`XDP, ${routing}`, privileged('sandbox'), () => {
    const name = `xdp-${routing}`;
    const cluster = new Cluster({ name, routing, agentOptions: ['bpf-lb-acceleration=native'] });
    const pins = (of: string): string => `/run/ciliate/${name}/${of}/bpf/ciliate`;
    const ports = new Map<string, string>();
    const port = (service: string, what: string): string => ports.get(`${service} ${what}`) ?? '';
    before(async () => {
      cluster.up();
      await cluster.apply([pod('near', 'node-1'), pod('far', 'node-2'), client].join(''));
      await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
      for (const service of ['near', 'far']) {
        const list = await cluster.kube(
          'get',
          'svc',
          service,
          '-o',
          'jsonpath={range .spec.ports[*]}{.name}={.nodePort} {end}',
        );
        for (const [what = '', number = ''] of list.split(' ').map(pair => pair.split('=')))
          ports.set(`${service} ${what}`, number);
        for (const family of families)
          await eventually(`${service} answers by IPv${family}`, async () =>
            (await ask(node[family], service)).length > 0 ? true : undefined,
          );
      }
    });
    after(() => {
      cluster.down();
    });

    /** What the echo server says; '' without an answer. */
    const ask = async (ip: string, service: string, from = 'outside'): Promise<string> =>
      (await cluster.exec(from, 'curl', '-gs', '-m', '3', url(ip, port(service, 'web')))).stdout;
    /** Packets that xdp_netdev has sent on. */
    const sentOn = (of = 'node-1'): number => sentByXdp(name, of);
    /** The same, once the ends of former connections are through. */
    const settled = () =>
      eventually('nothing is under way', async () => {
        const before = sentOn();
        await new Promise(resolve => setTimeout(resolve, 200));
        return sentOn() === before ? before : undefined;
      });
    const deviceText = (of = 'node-1'): string =>
      execFileSync('ip', ['-n', `ciliate-${name}-${of}`, '-d', 'link', 'show', 'eth0'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });

    test('status names the devices', async () => {
      const { stdout } = await cluster.ciliate('--node', 'node-1', 'status', '--verbose');
      assert.match(stdout, /XDP Acceleration:\s+Native +eth0: native/);
      assert.match(deviceText(), /xdp_netdev/);
    });

    for (const family of families) {
      test(`IPv${family}: a backend elsewhere sees the node, and all its packets go through XDP`, async () => {
        const before = sentOn();
        const answer = await ask(node[family], 'far');
        assert.match(answer, /node: node-2/);
        assert.ok(answer.includes(`client: ${node[family]} `), answer);
        const packets = sentOn() - before;
        assert.ok(packets >= 8, `${packets} packets: SYN, ACK, request and FIN, and their answers`);
      });

      test(`IPv${family}: a backend of the node sees the client, and XDP leaves it alone`, async () => {
        const before = await settled();
        const answer = await ask(node[family], 'near');
        assert.ok(answer.includes(`client: ${outside[family]} `), answer);
        assert.equal(sentOn(), before);
      });

      test(`IPv${family}: datagrams, small ones through XDP, fragments through tc`, async () => {
        const probe = join(import.meta.dirname, '../lib/udp-probe.ts');
        for (const [size, isWhole] of [
          [32, true],
          [1200, true],
          [8000, false],
          [60_000, false],
        ] as const) {
          const before = await settled();
          const result = await cluster.exec(
            'outside',
            process.execPath,
            probe,
            node[family],
            port('far', 'echo'),
            String(size),
          );
          assert.equal(result.stdout.trim(), `${node[family]} ${port('far', 'echo')} ${size}`, result.stderr);
          assert.equal(sentOn() > before, isWhole, `${size} bytes`);
        }
      });

      for (const [direction, more] of [
        ['to the backend', []],
        ['from the backend', ['--reverse']],
      ] as const) {
        for (const service of ['far', 'near']) {
          test(`IPv${family}: bulk ${direction}, ${service}`, async () => {
            const args = [
              '--client',
              node[family],
              '--port',
              port(service, 'bulk'),
              '--bytes',
              '40M',
              '--json',
              ...more,
            ];
            const result = await cluster.execLong('outside', 60_000, 'iperf3', ...args);
            assert.equal(result.code, 0, result.stdout.slice(0, 500));
            const { end } = JSON.parse(result.stdout) as { end: { sum_received: { bytes: number } } };
            // What is under way when the client has sent its last byte is not counted.
            assert.ok(end.sum_received.bytes > 20_000_000, `${end.sum_received.bytes} bytes`);
          });
        }
      }

      test(`IPv${family}: pods reach pods, nodes and services as ever`, async () => {
        const ips = (await cluster.kube('get', 'pod', 'far', '-o', 'jsonpath={.status.podIPs[*].ip}')).split(' ');
        const clusterIPs = (await cluster.kube('get', 'svc', 'far', '-o', 'jsonpath={.spec.clusterIPs[*]}')).split(' ');
        const of = (list: readonly string[]): string => list.find(ip => ip.includes(':') === (family === 6)) ?? '';
        for (const target of [url(of(ips), 8080), url(of(clusterIPs), 80), url(node[family], port('far', 'web'))]) {
          const answer = await cluster.exec('pod/default/client', 'curl', '-gsS', '-m', '5', target);
          assert.match(answer.stdout, /node: node-2/, `${target}: ${answer.stderr}`);
        }
      });
    }

    test('lb trace says which program handles it', async () => {
      const trace = (service: string) =>
        cluster.ciliate(
          '--node',
          'node-1',
          'lb',
          'trace',
          '--from',
          outside[4],
          '--to',
          `${node[4]}:${port(service, 'web')}`,
        );
      assert.match((await trace('far')).stdout, /program +xdp_netdev has run: sends it to 10\.244\.2\.\d+:8080/);
      assert.match(
        (await trace('near')).stdout,
        /xdp_netdev has run: leaves it to from_netdev[\s\S]*from_netdev has run: sends it to 10\.244\.1\./,
      );
    });

    /** Connections to both services in both families, new and held, while `work` goes on: none fails or breaks. */
    const underLoad = async (least: number, work: () => Promise<void>): Promise<void> => {
      const urls = families.flatMap(family => ['near', 'far'].map(one => url(node[family], port(one, 'web'))));
      const load = new HttpLoad(cluster, 'outside', urls);
      let report: Awaited<ReturnType<HttpLoad['stop']>> | undefined;
      try {
        await work();
      } finally {
        report = await load.stop();
      }
      assert.deepEqual([report.failed, report.sockets], [[], load.held]);
      assert.ok(report.done > least, `${report.done} requests`);
    };

    test('an agent that is killed under load: the next one adopts the program, no request fails', async () => {
      const link = join(pins('node-1'), 'links/eth0-xdp');
      const before = pinnedLinkInfo(link);
      await underLoad(50, () => restartAgent(cluster, 'node-1'));
      assert.deepEqual(pinnedLinkInfo(link), before);
    });

    test('an agent that is killed while datagrams come: none is lost', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'ciliate-stream-'));
      const stop = join(folder, 'stop');
      const script = join(import.meta.dirname, '../lib/udp-stream.ts');
      const streams = families.map(family =>
        cluster.execLong('outside', 60_000, process.execPath, script, node[family], port('far', 'echo'), stop),
      );
      try {
        await new Promise(resolve => setTimeout(resolve, 500));
        await restartAgent(cluster, 'node-1');
      } finally {
        writeFileSync(stop, '');
      }
      for (const { stdout, stderr } of await Promise.all(streams)) {
        const { sent, answered } = JSON.parse(stdout || '{}') as { sent: number; answered: number };
        assert.ok(sent > 50, stderr);
        assert.equal(answered, sent);
      }
      rmSync(folder, { recursive: true });
    });

    test('switched off and on, and to another build, under load: no request fails, no connection breaks', async () => {
      await underLoad(300, async () => {
        for (const mode of ['disabled', 'native']) {
          await agentOptions(cluster, 'node-1', [`bpf-lb-acceleration=${mode}`]);
          await eventually(`XDP is ${mode}`, async () =>
            /xdp_netdev/.test(deviceText()) === (mode !== 'disabled') ? true : undefined,
          );
          const before = sentOn();
          await new Promise(resolve => setTimeout(resolve, 1500));
          assert.equal(sentOn() > before, mode !== 'disabled', mode);
        }
        await agentOptions(cluster, 'node-1', ['bpf-lb-acceleration=best-effort', 'mtu=1400']);
      });
    });

    test('best effort: where the other end takes no frames any more, tc alone, and XDP again when it does', async () => {
      const gro = (on: boolean): void => setDeviceFeature('node-1', 'rx-gro', on, `/run/netns/ciliate-${name}-lan`);
      const stateIs = (wanted: RegExp) => async () => {
        const { stdout } = await cluster.ciliate('--node', 'node-1', 'status', '--verbose');
        return wanted.test(stdout) ? true : undefined;
      };
      gro(false);
      await eventually(
        'tc alone',
        stateIs(/Best-Effort +eth0: none \(the other end of the veth eth0 does not take frames/),
      );
      assert.match(await ask(node[4], 'far'), /node-2/);
      gro(true);
      await eventually('XDP again', stateIs(/Best-Effort +eth0: native/));
      assert.match(await ask(node[4], 'far'), /node-2/);
    });
  });
}
