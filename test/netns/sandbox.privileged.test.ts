/** The sandbox itself: what it builds, what it survives, what it leaves. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually } from '../lib/cluster.ts';
import { leftovers } from '../lib/leftovers.ts';
import { privileged } from '../lib/privileged.ts';

const name = 'sbx';
const stateDir = `/run/ciliate/${name}`;

const pods = `
apiVersion: v1
kind: Pod
metadata: { name: talker }
spec:
  initContainers:
    - { name: first, image: busybox, command: [sh, -c, 'echo init done'] }
  containers:
    - name: main
      image: busybox
      command: [sh, -c, 'echo hello from $POD_IP; sleep 1000']
      env: [{ name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }]
---
apiVersion: v1
kind: Pod
metadata: { name: crasher }
spec:
  containers: [{ name: main, image: busybox, command: [sh, -c, 'echo last words; exit 3'] }]
---
apiVersion: v1
kind: Pod
metadata: { name: once }
spec:
  restartPolicy: Never
  containers: [{ name: main, image: busybox, command: ['true'] }]
---
apiVersion: v1
kind: Pod
metadata: { name: host }
spec:
  hostNetwork: true
  containers: [{ name: main, image: ciliate/echo, ports: [{ containerPort: 8099 }] }]
`;

interface Report {
  readonly pid: number;
  readonly processes: readonly { readonly name: string; readonly pid?: number; readonly restarts: number }[];
}

const report = (): Report => JSON.parse(readFileSync(`${stateDir}/processes.json`, 'utf8'));
const pidOf = (process: string): number => report().processes.find(entry => entry.name === process)?.pid ?? 0;

/** Links, addresses, routes and rules of the machine's own namespace must not change. */
const own = ['/proc/net/route', '/proc/net/if_inet6', '/proc/net/dev'];
function ownNetwork(): readonly string[] {
  return own.map(path => {
    const text = readFileSync(path, 'utf8');
    return path.endsWith('dev') ? text.replaceAll(/:.*/g, '') : text;
  });
}

describe('the sandbox', privileged('sandbox'), () => {
  const cluster = new Cluster({ name });
  const network = ownNetwork();
  const podField = (pod: string, path: string): Promise<string> =>
    cluster.kube('get', 'pod', pod, '-o', `jsonpath={${path}}`);
  const running = (pod: string): Promise<true> =>
    eventually(`${pod} runs`, async () => ((await podField(pod, '.status.phase')) === 'Running' ? true : undefined));

  before(async () => {
    cluster.up();
    await cluster.apply(pods);
  });
  after(() => {
    cluster.down();
  });

  test('a second up says that it is up, and what to do', () => {
    const again = cluster.ciliateSync(['sandbox', 'up', '--detach']);
    assert.equal(again.code, 1);
    assert.match(`${again.stdout}${again.stderr}`, /already up.*sandbox down/);
  });

  test('status names every process as running', async () => {
    const status = await cluster.ciliate('sandbox', 'status');
    assert.equal(status.code, 0, status.stdout);
    for (const process of ['apiserver', 'agent-1', 'agent-2', 'kubelet-1', 'kubelet-2', 'operator']) {
      assert.match(status.stdout, new RegExp(`${process}\\s+running`));
    }
  });

  test('init containers come first, env sees the pod address, logs have both', async () => {
    await running('talker');
    const address = await podField('talker', '.status.podIP');
    await eventually('log is written', async () =>
      (await cluster.kube('logs', 'talker')).includes(`hello from ${address}`) ? true : undefined,
    );
    assert.match(await cluster.kube('logs', 'talker', '-c', 'first'), /init done/);
  });

  test('exec passes input, output and exit code on', async () => {
    await running('talker');
    const through = await cluster.kubectl('exec', 'talker', '--', 'sh', '-c', 'hostname; exit 7');
    assert.equal(through.code, 7, through.stderr);
    assert.equal(through.stdout.trim(), 'talker');
    const direct = await cluster.exec('pod/default/talker', 'sh', '-c', 'exit 9');
    assert.equal(direct.code, 9, direct.stderr);
  });

  test('a container that ends is started again, later each time, and says so', async () => {
    await eventually('CrashLoopBackOff', async () => {
      const reason = await podField('crasher', '.status.containerStatuses[0].state.waiting.reason');
      const restarts = Number(await podField('crasher', '.status.containerStatuses[0].restartCount'));
      return reason === 'CrashLoopBackOff' && restarts >= 1 ? true : undefined;
    });
    assert.match(await cluster.kube('logs', 'crasher', '--previous'), /last words/);
    await eventually('Succeeded', async () =>
      (await podField('once', '.status.phase')) === 'Succeeded' ? true : undefined,
    );
  });

  test('a pod on the host network has the address of its node', async () => {
    await running('host');
    const address = await podField('host', '.status.podIP');
    assert.match(address, /^172\.30\.0\.1[12]$/);
    const answer = await cluster.exec('outside', 'curl', '-sS', '--max-time', '5', `http://${address}:8099`);
    assert.match(answer.stdout, /^pod: host$/m, answer.stderr);
  });

  test('outside reaches nodes in both families', async () => {
    for (const address of ['172.30.0.11', 'fd00:172:30::12']) {
      const ping = await cluster.exec('outside', 'ping', '-c1', '-W2', address);
      assert.equal(ping.code, 0, `${address}: ${ping.stdout}${ping.stderr}`);
    }
  });

  test('a kubelet that is killed is reported, comes back and keeps its pods', async () => {
    const before = await podField('talker', '.status.containerStatuses[0].containerID');
    process.kill(pidOf('kubelet-1'), 'SIGKILL');
    await eventually('kubelet-1 is back', async () => {
      const entry = report().processes.find(found => found.name === 'kubelet-1');
      return entry?.restarts === 1 && entry.pid !== undefined ? true : undefined;
    });
    const status = await cluster.ciliate('sandbox', 'status');
    assert.match(status.stdout, /kubelet-1[\s\S]*restarts 1, last ended .* with signal SIGKILL/);
    assert.equal(await podField('talker', '.status.containerStatuses[0].containerID'), before);
    const echo = await cluster.exec('pod/default/talker', 'true');
    assert.equal(echo.code, 0, echo.stderr);
  });

  test('a deleted pod leaves no namespace', async () => {
    const before = readdirSync('/run/netns').filter(entry => entry.startsWith(`ciliate-${name}-pod-`)).length;
    await cluster.kube('delete', 'pod', 'once', '--wait');
    const count = readdirSync('/run/netns').filter(entry => entry.startsWith(`ciliate-${name}-pod-`)).length;
    assert.equal(count, before - 1);
  });

  test('exec to what is not there says what is', async () => {
    const wrong = await cluster.exec('pod/default/nobody', 'true');
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /no pod default\/nobody runs here: there are .*talker/);
  });

  test('after a kill -9 of the supervisor, up sweeps and starts anew', () => {
    process.kill(report().pid, 'SIGKILL');
    cluster.up();
    assert.equal(report().processes.filter(entry => entry.pid === undefined).length, 0);
  });

  test('down leaves nothing, and the own network of the machine is as before', () => {
    const result = cluster.down();
    assert.equal(result.code, 0, `${result.stdout}${result.stderr}`);
    assert.deepEqual(leftovers(name), []);
    assert.equal(existsSync(stateDir), false);
    assert.deepEqual(ownNetwork(), network);
    const twice = cluster.down();
    assert.equal(twice.code, 0);
    assert.match(twice.stdout, /there was none/);
  });
});
