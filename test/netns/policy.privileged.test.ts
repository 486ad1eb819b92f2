/** Network policy with real packets: who reaches whom, before and after a change, on one node and across, both families. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { restartAgent } from '../lib/agents.ts';
import { Cluster, eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const pod = (name: string, node: string, labels: string, image: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { ${labels} } }
spec: { nodeName: ${node}, containers: [{ name: c, image: ${image}, ports: [{ name: web, containerPort: 80 }] }] }
---`;

const pods = [
  pod('server', 'node-1', 'app: server', 'nginx'),
  pod('near', 'node-1', 'role: friend, side: near', 'netshoot'),
  pod('far', 'node-2', 'role: friend, side: far', 'netshoot'),
  pod('foe', 'node-2', 'role: foe', 'netshoot'),
].join('\n');

const isolated = (ingress: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: server }
spec: { podSelector: { matchLabels: { app: server } }, ingress: ${ingress} }
`;

describe('network policy', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'policy' });
  const addresses = new Map<string, readonly string[]>();
  before(async () => {
    cluster.up();
    await cluster.apply(pods);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
    for (const name of ['server', 'near', 'far', 'foe']) {
      const ips = await cluster.kube('get', 'pod', name, '-o', 'jsonpath={.status.podIPs[*].ip}');
      addresses.set(name, ips.split(' '));
    }
  });
  after(() => {
    cluster.down();
  });

  const url = (ip: string) => `http://${ip.includes(':') ? `[${ip}]` : ip}/`;
  /** Whether both address families get an answer; one alone is an error. */
  const reaches = async (from: string): Promise<boolean> => {
    const results = await Promise.all(
      (addresses.get('server') ?? []).map(ip =>
        cluster.exec(`pod/default/${from}`, 'curl', '-s', '-m', '2', '-o', '/dev/null', url(ip)),
      ),
    );
    const codes = new Set(results.map(({ code }) => code === 0));
    assert.equal(codes.size, 1, `${from}: one family passes and the other does not`);
    return codes.has(true);
  };
  const expectReach = (who: Readonly<Record<string, boolean>>, what: string) =>
    eventually(
      what,
      async () => {
        for (const [from, wanted] of Object.entries(who)) if ((await reaches(from)) !== wanted) return undefined;
        return true;
      },
      20_000,
    );

  test('without a policy everybody reaches the server', async () => {
    await expectReach({ near: true, far: true, foe: true }, 'open');
  });

  test('a NetworkPolicy lets its peers in, from this node and the other one, and nobody else', async () => {
    await cluster.apply(
      isolated('[{ from: [{ podSelector: { matchLabels: { role: friend } } }], ports: [{ port: web }] }]'),
    );
    await expectReach({ near: true, far: true, foe: false }, 'friends only');
  });

  test('new labels of a running pod count at once, both ways, and nobody touches its device', async () => {
    const devices = async () => (await cluster.exec('node-2', 'ip', '-o', 'link', 'show', 'type', 'veth')).stdout;
    const before = await devices();
    await cluster.kube('label', 'pod', 'foe', 'role=friend', '--overwrite');
    await expectReach({ foe: true }, 'the foe is a friend');
    await cluster.kube('label', 'pod', 'foe', 'role=foe', '--overwrite');
    await expectReach({ foe: false, far: true }, 'the friend is a foe');
    assert.equal(await devices(), before);
  });

  test('a killed agent leaves policy in force, and its successor takes it over', async () => {
    await restartAgent(cluster, 'node-1');
    await expectReach({ near: true, far: true, foe: false }, 'as before');
  });

  test('an ipBlock means pods too, and its except does not', async () => {
    const [v4 = '', v6 = ''] = addresses.get('foe') ?? [];
    const [far4 = '', far6 = ''] = addresses.get('far') ?? [];
    const blocks = [
      `{ ipBlock: { cidr: 10.244.0.0/16, except: [${far4}/32] } }`,
      `{ ipBlock: { cidr: "fd00:10:244::/56", except: ["${far6}/128"] } }`,
    ];
    await cluster.apply(isolated(`[{ from: [${blocks.join(', ')}] }]`));
    await expectReach({ near: true, far: false, foe: true }, 'all of the block but one');
    await cluster.apply(isolated(`[{ from: [{ ipBlock: { cidr: ${v4}/32 } }, { ipBlock: { cidr: "${v6}/128" } }] }]`));
    await expectReach({ near: false, far: false, foe: true }, 'one address');
  });

  test('a change of policy cuts a connection that is open', async () => {
    await cluster.apply(isolated('[{ from: [{ podSelector: {} }] }]'));
    await expectReach({ far: true }, 'open again');
    const [ip = ''] = addresses.get('server') ?? [];
    const script = `exec 3<>/dev/tcp/${ip}/80; echo open; sleep 6; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; timeout 3 head -c 4 <&3`;
    const held = cluster.exec('pod/default/far', 'bash', '-c', script);
    await new Promise(resolve => setTimeout(resolve, 1500));
    await cluster.apply(isolated('[]'));
    const result = await held;
    assert.match(result.stdout, /open/);
    assert.doesNotMatch(result.stdout, /HTTP/, 'the connection from before the change is judged again');
    await expectReach({ near: false, far: false, foe: false }, 'nobody');
  });

  test('a CiliumNetworkPolicy: a deny wins over an allow', async () => {
    await cluster.kube('delete', 'networkpolicy', 'server');
    await cluster.apply(`
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress: [{ fromEntities: [cluster], toPorts: [{ ports: [{ port: "80", protocol: TCP }] }] }]
  ingressDeny: [{ fromEndpoints: [{ matchLabels: { side: far } }] }]
`);
    await expectReach({ near: true, far: false, foe: true }, 'all but the denied one');
    await cluster.kube('delete', 'ciliumnetworkpolicy', 'server');
  });

  test('egress: a clusterwide policy keeps pods from what it does not name', async () => {
    await cluster.apply(`
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: { name: foes }
spec:
  endpointSelector: { matchLabels: { role: foe } }
  egress: [{ toEndpoints: [{ matchLabels: { role: friend } }] }]
`);
    await expectReach({ near: true, far: true, foe: false }, 'the foe may not leave');
    await cluster.kube('delete', 'ciliumclusterwidenetworkpolicy', 'foes');
    await expectReach({ foe: true }, 'and may again');
  });

  test('toEntities kube-apiserver: the API server by its service and by its address, and nothing else', async () => {
    const apiServer = await cluster.kube(
      'get',
      'endpointslice',
      'kubernetes',
      '-o',
      'jsonpath={.endpoints[0].addresses[0]}',
    );
    const asks = async (...target: readonly string[]): Promise<boolean> =>
      (await cluster.exec('pod/default/foe', 'curl', '-sk', '-m', '2', '-o', '/dev/null', ...target)).code === 0;
    await cluster.apply(`
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: api-only }
spec:
  endpointSelector: { matchLabels: { role: foe } }
  egress: [{ toEntities: [kube-apiserver] }]
`);
    await expectReach({ near: true, foe: false }, 'the foe may not leave');
    assert.equal(await asks('https://10.96.0.1:443/'), true, 'by the service');
    assert.equal(await asks(`https://${apiServer}:6443/`), true, 'by its address');
    assert.equal(await asks('http://172.30.0.11:4240/hello'), false, 'a node that is none');
    await cluster.kube('delete', 'ciliumnetworkpolicy', 'api-only');
    await expectReach({ foe: true }, 'and may again');
  });

  test('a pod cannot take another address, and cannot forge what comes by the overlay', async () => {
    await cluster.apply(isolated('[{ from: [{ podSelector: { matchLabels: { role: friend } } }] }]'));
    await expectReach({ near: true, foe: false }, 'friends only');
    const [near = ''] = addresses.get('near') ?? [];
    const [server = ''] = addresses.get('server') ?? [];
    await cluster.exec('pod/default/foe', 'ip', 'address', 'add', `${near}/32`, 'dev', 'eth0');
    const spoofed = await cluster.exec('pod/default/foe', 'curl', '-s', '-m', '2', '--interface', near, url(server));
    assert.notEqual(spoofed.code, 0, 'the source address is checked');
    await cluster.exec('pod/default/foe', 'ip', 'address', 'delete', `${near}/32`, 'dev', 'eth0');
    const forged = await cluster.exec(
      'pod/default/foe',
      'bash',
      '-c',
      'echo forged > /dev/udp/172.30.0.11/8472; sleep 0.3',
    );
    assert.equal(forged.code, 0, forged.stderr);
    const drops = await cluster.ciliate('--node', 'node-2', 'bpf', 'metrics', 'list');
    assert.match(drops.stdout, /overlay/i);
  });
});

describe('host firewall', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'hostfw', agentOptions: ['enable-host-firewall=true'] });
  before(() => cluster.up());
  after(() => {
    cluster.down();
  });

  test('a policy for nodes lets in what it names, and the node goes on', async () => {
    await cluster.apply(`
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: { name: nodes }
spec:
  nodeSelector: {}
  ingress:
  - fromEntities: [cluster, world]
    toPorts: [{ ports: [{ port: "10250", protocol: TCP }] }]
  - fromEntities: [remote-node, health, host]
`);
    const opens = async (port: number) =>
      (await cluster.exec('outside', 'timeout', '2', 'bash', '-c', `echo > /dev/tcp/172.30.0.11/${port}`)).code;
    // Refused at once is an answer of the node: nobody listens there in the sandbox. Silence is policy.
    await eventually(
      'the health port is closed to outsiders, the kubelet is not',
      async () => ((await opens(10_250)) !== 124 && (await opens(4240)) === 124 ? true : undefined),
      20_000,
    );
    const list = await cluster.ciliate('--node', 'node-1', 'endpoint', 'list');
    assert.match(list.stdout, /^0 +Enabled +Disabled +1 +k8s:kubernetes\.io/m, 'the node is an endpoint');
    const own = await cluster.ciliate('--node', 'node-1', 'endpoint', 'get', 'host');
    assert.match(own.stdout, /"reserved:host"/);
    assert.match(own.stdout, /"policy-enabled": "ingress"/);
    const nodes = await cluster.kube('get', 'nodes', '--no-headers');
    assert.equal([...nodes.matchAll(/ Ready /g)].length, 2);
    await cluster.kube('delete', 'ciliumclusterwidenetworkpolicy', 'nodes');
  });

  test('a policy for the egress of one node keeps it from what it does not name, and the other one goes where it wants', async () => {
    // It ends by itself: a signal to the command that started it would not reach it.
    const listener = `require('node:net').createServer(s => s.end()).listen(8081); setTimeout(() => process.exit(), 25e3)`;
    cluster.start('outside', process.execPath, '-e', listener);
    const opens = async (from: string) =>
      (await cluster.exec(from, 'timeout', '2', 'bash', '-c', 'echo > /dev/tcp/172.30.0.100/8081')).code === 0;
    await eventually('the listener is there', async () => ((await opens('node-1')) ? true : undefined), 10_000);
    await cluster.apply(`
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: { name: nodes }
spec:
  nodeSelector: { matchLabels: { kubernetes.io/hostname: node-2 } }
  egress: [{ toEntities: [cluster, kube-apiserver] }]
`);
    await eventually(
      'node-2 alone is kept from the outside',
      async () => ((await opens('node-1')) && !(await opens('node-2')) ? true : undefined),
      10_000,
    );
    const nodes = await cluster.kube('get', 'nodes', '--no-headers');
    assert.equal([...nodes.matchAll(/ Ready /g)].length, 2);
    const verified = await cluster.ciliate('--node', 'node-2', 'policy', 'verify');
    assert.equal(verified.code, 0, verified.stdout);
  });
});
