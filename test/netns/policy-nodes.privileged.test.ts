/** Nodes as peers: by their labels, and by address blocks where policy-cidr-match-mode says so. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { restartAgent } from '../lib/agents.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const setup = `
apiVersion: v1
kind: Pod
metadata: { name: server, labels: { app: server } }
spec: { nodeName: node-1, containers: [{ name: c, image: nginx, ports: [{ containerPort: 80 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client, labels: { app: client } }
spec: { nodeName: node-1, containers: [{ name: c, image: netshoot }] }
---
apiVersion: v1
kind: Service
metadata: { name: server }
spec: { type: NodePort, selector: { app: server }, ports: [{ port: 80, nodePort: 30080 }] }
`;

const policy = (app: string, rules: string): string => `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: ${app} }
spec: { endpointSelector: { matchLabels: { app: ${app} } }, ${rules} }
`;

describe('nodes as peers of policies', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'polnodes', nodes: 3, agentOptions: ['policy-cidr-match-mode=nodes'] });
  let server: readonly string[] = [];
  before(async () => {
    cluster.up();
    await cluster.apply(setup);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
    server = (await cluster.kube('get', 'pod', 'server', '-o', 'jsonpath={.status.podIPs[*].ip}')).split(' ');
  });
  after(() => {
    cluster.down();
  });

  const opens = async (from: string, ip: string, port: number): Promise<boolean> => {
    const script = `echo > /dev/tcp/${ip}/${port}`;
    return (await cluster.exec(from, 'timeout', '2', 'bash', '-c', script)).code === 0;
  };
  /** The server's answer in both families; one alone is an error. */
  const reaches = async (from: string): Promise<boolean> => {
    const results = await Promise.all(server.map(ip => opens(from, ip, 80)));
    assert.equal(new Set(results).size, 1, `${from}: one family passes and the other does not`);
    return results.includes(true);
  };
  const expect = (wanted: Readonly<Record<string, boolean>>, what: string) =>
    eventually(
      what,
      async () => {
        for (const [from, is] of Object.entries(wanted)) if ((await reaches(from)) !== is) return undefined;
        return true;
      },
      20_000,
    );

  test('fromNodes: other nodes by label; a node is relabelled, and an agent restarted', async () => {
    await cluster.kube('label', 'node', 'node-2', 'zone=b');
    await cluster.kube('label', 'node', 'node-3', 'zone=c');
    await cluster.apply(policy('server', 'ingress: [{ fromNodes: [{ matchLabels: { zone: b } }] }]'));
    await expect({ 'node-2': true, 'node-3': false, 'pod/default/client': false }, 'zone b alone');
    await restartAgent(cluster, 'node-1');
    await expect({ 'node-2': true, 'node-3': false, 'pod/default/client': false }, 'as before');
    await cluster.kube('label', 'node', 'node-3', 'zone=b', '--overwrite');
    await expect({ 'node-2': true, 'node-3': true }, 'both');
    await cluster.kube('label', 'node', 'node-2', 'zone=a', '--overwrite');
    await expect({ 'node-2': false, 'node-3': true }, 'the other one');
  });

  test('outsiders that a node has balanced come with its address, and are no nodes', async () => {
    assert.equal(await opens('outside', '172.30.0.13', 30_080), false, 'by the node that may itself');
    const explained = await cluster.ciliate(
      ...['--node', 'node-1', 'policy', 'explain', '--from', 'node:node-3', '--to', 'default/server', '--port', '80'],
    );
    assert.equal(explained.code, 0, explained.stdout + explained.stderr);
    const denied = await cluster.ciliate(
      ...['--node', 'node-1', 'policy', 'explain', '--from', 'node:node-2', '--to', 'default/server', '--port', '80'],
    );
    assert.match(denied.stdout, /zone=b: it has 'a'/);
    assert.match(denied.stdout, /fromNodes/);
    await cluster.kube('delete', 'ciliumnetworkpolicy', 'server');
    await eventually('open to outsiders again', async () =>
      (await opens('outside', '172.30.0.13', 30_080)) ? true : undefined,
    );
  });

  test('toNodes: a pod reaches the nodes of a label', async () => {
    await cluster.apply(policy('client', 'egress: [{ toNodes: [{ matchLabels: { zone: b } }] }]'));
    await eventually('node-3 and no other', async () => {
      const [second, third] = await Promise.all(
        ['172.30.0.12', '172.30.0.13'].map(ip => opens('pod/default/client', ip, 4240)),
      );
      return second === false && third === true ? true : undefined;
    });
    const verified = await cluster.ciliate('--node', 'node-1', 'policy', 'verify');
    assert.equal(verified.code, 0, verified.stdout);
  });

  test('toServices: an endpoint outside, by the service and by its address, and nobody else', async () => {
    // It ends by itself: a signal to the command that started it would not reach it.
    const listener = `for (const port of [8081, 8082]) require('node:net').createServer(s => s.end()).listen(port); setTimeout(() => process.exit(), 15e3)`;
    cluster.start('outside', process.execPath, '-e', listener);
    await cluster.apply(`
apiVersion: v1
kind: Service
metadata: { name: legacy }
spec: { clusterIP: 10.96.7.7, ports: [{ port: 80, targetPort: 8081 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: legacy-1, labels: { kubernetes.io/service-name: legacy } }
addressType: IPv4
ports: [{ port: 8081, protocol: TCP }]
endpoints: [{ addresses: [172.30.0.100] }]
`);
    const ports = 'toPorts: [{ ports: [{ port: "8081", protocol: TCP }] }]';
    await cluster.apply(
      policy('client', `egress: [{ toServices: [{ k8sService: { serviceName: legacy } }], ${ports} }]`),
    );
    await eventually('the service and its endpoint', async () => {
      const found = await Promise.all([
        opens('pod/default/client', '10.96.7.7', 80),
        opens('pod/default/client', '172.30.0.100', 8081),
        opens('pod/default/client', '172.30.0.100', 8082),
        opens('pod/default/client', server[0] ?? '', 80),
      ]);
      return found.join(' ') === 'true true false false' ? true : undefined;
    });
  });

  test('toCIDR holds nodes too, this one and others', async () => {
    await cluster.apply(policy('client', 'egress: [{ toCIDR: [172.30.0.11/32, 172.30.0.12/32] }]'));
    await eventually('node-1 and node-2', async () => {
      const found = await Promise.all(
        ['172.30.0.11', '172.30.0.12', '172.30.0.13'].map(ip => opens('pod/default/client', ip, 4240)),
      );
      return found.join(' ') === 'true true false' ? true : undefined;
    });
    await cluster.kube('delete', 'ciliumnetworkpolicy', 'client');
  });
});
