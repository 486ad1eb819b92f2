/**
 * Direct server return asked for by services alone, where agents translate (`bpf-lb-mode snat`): what else a service says holds as without it.
 * Backends of `remote` are on the second node, those of `both` on each.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { client, onlyFrom, sentBy, url } from './dsr.ts';

const pod = (name: string, node: number, app: string, labels = ''): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { app: ${app}, ${labels} } }
spec: { nodeName: node-${node}, containers: [{ name: echo, image: ciliate/echo, ports: [{ containerPort: 8080 }] }] }
---`;

const service = (name: string, port: number, selector: string, more: string, annotated = true): string => `
apiVersion: v1
kind: Service
metadata: { name: ${name}${annotated ? ', annotations: { service.cilium.io/forwarding-mode: dsr }' : ''} }
spec:
  type: NodePort
  selector: { ${selector} }
  ipFamilyPolicy: RequireDualStack
  ports: [{ port: 80, targetPort: 8080, nodePort: ${port} }]
${more}
---`;

const ports = { sticky: 30_300, spread: 30_301, local: 30_302, translated: 30_303 };
const manifest = [
  pod('here', 1, 'near', "both: 'yes'"),
  ...[1, 2, 3].map(n => pod(`there-${n}`, 2, 'remote', n === 1 ? "both: 'yes'" : '')),
  service('sticky', ports.sticky, 'app: remote', '  sessionAffinity: ClientIP'),
  service('spread', ports.spread, "both: 'yes'", ''),
  service('local', ports.local, 'app: remote', '  externalTrafficPolicy: Local'),
  service('translated', ports.translated, 'app: remote', '', false),
].join('\n');

const families = [
  { name: 'IPv4', outside: '172.30.0.100', first: '172.30.0.11', second: '172.30.0.12' },
  { name: 'IPv6', outside: 'fd00:172:30::100', first: 'fd00:172:30::11', second: 'fd00:172:30::12' },
] as const;

const podOf = (output: string): string => /pod: (\S+)/.exec(output)?.[1] ?? output;

describe('DSR, services that ask for it', privileged('sandbox'), () => {
  const agentOptions = ['bpf-lb-mode=snat', 'bpf-lb-mode-annotation=true'];
  const cluster = new Cluster({ name: 'dsr-services', agentOptions });
  const curl = (address: string, port: number) => cluster.exec('outside', 'curl', '-s', '-m', '3', url(address, port));

  /** What so many connections get. */
  async function answers(address: string, port: number, count: number): Promise<readonly string[]> {
    await eventually(`${url(address, port)} answers`, async () =>
      (await curl(address, port)).code === 0 ? true : undefined,
    );
    const outputs: string[] = [];
    for (let i = 0; i < count; i += 1) outputs.push((await curl(address, port)).stdout);
    return outputs;
  }

  before(async () => {
    cluster.up();
    await cluster.apply(manifest);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
  });
  after(() => {
    cluster.down();
  });

  for (const { name, outside, first, second } of families) {
    test(`${name}: by annotation, and only so`, async () => {
      const passed = await sentBy(cluster, 'node-1', outside, async () => {
        for (const output of await answers(first, ports.sticky, 3)) assert.equal(client(output), outside);
      });
      assert.deepEqual(passed, []);
      for (const output of await answers(first, ports.translated, 3)) assert.equal(client(output), first);
    });

    test(`${name}: session affinity`, async () => {
      const outputs = await answers(first, ports.sticky, 10);
      assert.equal(new Set(outputs.map(podOf)).size, 1, outputs.join('\n'));
    });

    test(`${name}: a backend of the first node is one among others`, async () => {
      const outputs = await answers(first, ports.spread, 30);
      assert.deepEqual([...new Set(outputs.map(podOf))].sort(), ['here', 'there-1']);
      assert.deepEqual([...new Set(outputs.map(client))], [outside]);
    });

    test(`${name}: externalTrafficPolicy Local, at nodes with backends and without`, async () => {
      for (const output of await answers(second, ports.local, 3)) assert.equal(client(output), outside);
      assert.notEqual((await curl(first, ports.local)).code, 0);
    });
  }

  test('the policy of the backend sees the client, also by the overlay', async () => {
    await cluster.apply(
      onlyFrom(
        'remote',
        families.map(({ outside }) => `${outside}/${outside.includes(':') ? 128 : 32}`),
      ),
    );
    for (const { first, outside } of families) {
      // Who is translated comes from a node, which is not let in.
      await eventually('the policy is enforced', async () =>
        (await curl(first, ports.translated)).code === 28 ? true : undefined,
      );
      assert.equal(client((await curl(first, ports.sticky)).stdout), outside);
    }
    await cluster.kube('delete', 'networkpolicy', 'from-outside');
  });
});
