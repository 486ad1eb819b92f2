/** XDP beside direct server return: with --bpf-lb-mode hybrid connections are tc's, which keeps the client's address, and datagrams are XDP's. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { sentByXdp } from '../lib/xdp-counts.ts';

const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: far, labels: { app: echo } }
spec:
  nodeName: node-2
  containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }, { containerPort: 9000, protocol: UDP }] }]
---
apiVersion: v1
kind: Service
metadata: { name: far }
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: { app: echo }
  ports: [{ name: web, port: 80, targetPort: 8080, nodePort: 30080 }, { name: echo, port: 9000, protocol: UDP, nodePort: 30090 }]
`;
const families = [
  { name: 'IPv4', node: '172.30.0.11', outside: '172.30.0.100' },
  { name: 'IPv6', node: 'fd00:172:30::11', outside: 'fd00:172:30::100' },
] as const;

describe('XDP beside direct server return', privileged('sandbox'), () => {
  const name = 'xdp-dsr';
  const agentOptions = ['bpf-lb-acceleration=native', 'bpf-lb-mode=hybrid'];
  const cluster = new Cluster({ name, routing: 'native', agentOptions });
  const ask = async (ip: string): Promise<string> =>
    (await cluster.exec('outside', 'curl', '-gs', '-m', '3', `http://${ip.includes(':') ? `[${ip}]` : ip}:30080/`))
      .stdout;
  const probe = join(import.meta.dirname, '../lib/udp-probe.ts');
  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
    for (const { node } of families)
      await eventually(`${node} answers`, async () => ((await ask(node)) === '' ? undefined : true));
  });
  after(() => {
    cluster.down();
  });

  for (const family of families) {
    test(`${family.name}: a connection: the backend sees the client, XDP leaves it to tc`, async () => {
      const before = sentByXdp(name);
      const answer = await ask(family.node);
      assert.ok(answer.includes(`client: ${family.outside} `), answer);
      assert.equal(sentByXdp(name), before);
    });

    test(`${family.name}: datagrams: there and back through XDP`, async () => {
      const before = sentByXdp(name);
      const { stdout } = await cluster.exec('outside', process.execPath, probe, family.node, '30090');
      assert.equal(stdout, `${family.node} 30090 32\n`);
      assert.ok(sentByXdp(name) - before >= 2);
    });
  }
});
