/** explain, test, diff and verify on a running cluster: what they say of it is what packets find. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Cluster, eventually, type Outcome } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const pods = `
apiVersion: v1
kind: Pod
metadata: { name: server, labels: { app: server } }
spec: { nodeName: node-1, containers: [{ name: c, image: nginx, ports: [{ name: web, containerPort: 80 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: friend, labels: { role: friend } }
spec: { nodeName: node-1, containers: [{ name: c, image: netshoot }] }
---
apiVersion: v1
kind: Pod
metadata: { name: foe, labels: { role: foe } }
spec: { nodeName: node-1, containers: [{ name: c, image: netshoot }] }
---
apiVersion: v1
kind: Pod
metadata: { name: far, labels: { role: far } }
spec: { nodeName: node-2, containers: [{ name: c, image: netshoot }] }
`;
const policyFor = (role: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: server, namespace: default }
spec:
  podSelector: { matchLabels: { app: server } }
  ingress: [{ from: [{ podSelector: { matchLabels: { role: ${role} } } }], ports: [{ port: web }] }]
`;
const expectations = `
tests:
  - default/friend can reach default/server on web; nothing else
  - default/foe cannot reach default/server on 80
`;

describe('policy tools on a cluster', privileged('sandbox'), () => {
  const cluster = new Cluster({ name: 'policy-tools' });
  const folder = mkdtempSync(join(tmpdir(), 'ciliate-policy-tools-'));
  const file = (name: string, text = ''): string => {
    const path = join(folder, name);
    if (text !== '') writeFileSync(path, text);
    return path;
  };
  const policy = (...args: readonly string[]): Promise<Outcome> =>
    cluster.ciliate('--node', 'node-1', 'policy', ...args);
  const explain = (from: string, port = '80'): Promise<Outcome> =>
    policy('explain', '--from', `default/${from}`, '--to', 'default/server', '--port', port);
  const reaches = async (from: string): Promise<boolean> => {
    const address = await cluster.kube('get', 'pod', 'server', '-o', 'jsonpath={.status.podIP}');
    const got = await cluster.exec(
      `pod/default/${from}`,
      'curl',
      '-s',
      '-m',
      '2',
      '-o',
      '/dev/null',
      `http://${address}`,
    );
    return got.code === 0;
  };

  /** Of node-1's agent, by name and labels. */
  const metrics = async (): Promise<ReadonlyMap<string, number>> => {
    const socket = `/run/ciliate/${cluster.name}/node-1/ciliate.sock`;
    const { stdout } = await cluster.exec('node-1', 'curl', '-s', '--unix-socket', socket, 'http://agent/metrics');
    const samples = stdout.split('\n').filter(line => line !== '' && !line.startsWith('#'));
    return new Map(samples.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
  };

  before(async () => {
    cluster.up();
    await cluster.apply(pods);
    await cluster.kube('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
    await cluster.apply(policyFor('friend'));
    await eventually('the policy is in force', async () => ((await reaches('foe')) ? undefined : true), 20_000);
  });
  after(() => {
    cluster.down();
    rmSync(folder, { recursive: true, force: true });
  });

  test('explain: rule, map and a packet agree on what is allowed', async () => {
    const { stdout } = await explain('friend');
    assert.match(stdout, /80\/TCP {2}allowed/);
    assert.match(stdout, /loaded map, ingress: allows: NetworkPolicy default\/server, spec\.ingress\[0\]/);
    assert.match(stdout, /a packet through from_container: passes/);
    assert.equal(await reaches('friend'), true);
  });

  test('explain: what is denied names who isolates, the nearest rule, and what would allow it; applied, it does', async () => {
    const { stdout } = await explain('foe');
    assert.match(stdout, /default deny \(ingress\) by NetworkPolicy default\/server/);
    assert.match(stdout, /does not fit: from role=friend: it has 'foe'/);
    assert.match(stdout, /a packet through from_container: dropped, Policy denied/);
    const yaml = /the smallest policy that would allow it:\n([\s\S]*?)\n {2}loaded map/.exec(stdout)?.[1];
    assert.ok(yaml !== undefined, stdout);
    await cluster.kube('apply', '-f', file('allow.yaml', yaml));
    await eventually('the foe is let in', async () => ((await reaches('foe')) ? true : undefined), 20_000);
    await cluster.kube('delete', '-f', file('allow.yaml'));
    await eventually('the foe is out again', async () => ((await reaches('foe')) ? undefined : true), 20_000);
  });

  test('explain: senders of another node, from outside, and the node itself: a packet where it would come in', async () => {
    const from = (who: string, to = 'server') =>
      policy('explain', '--from', who, '--to', `default/${to}`, '--port', '80');
    const cases: readonly (readonly [string, RegExp])[] = [
      ['default/far', /ingress: denies[\s\S]*a packet through from_netdev: dropped, Policy denied/],
      ['172.30.0.100', /ingress: denies[\s\S]*a packet through from_netdev: dropped, Policy denied/],
      ['fd00:172:30::100', /a packet through from_netdev: dropped, Policy denied/],
      ['node:node-2', /a packet through from_netdev: dropped, Policy denied/],
      ['host', /ingress: allows[\s\S]*a packet through from_host: passes/],
    ];
    for (const [who, wanted] of cases) {
      const { stdout } = await from(who);
      assert.match(stdout, wanted, who);
      assert.doesNotMatch(stdout, /DISAGREEMENT/);
    }
    const free = await from('172.30.0.100', 'foe');
    assert.match(free.stdout, /ingress is not judged\n.*a packet through from_netdev: passes/);
    const flows = await cluster.ciliate('--node', 'node-1', 'bpf', 'ct', 'list');
    assert.doesNotMatch(flows.stdout, /172\.30\.0\.100/, 'nothing of it stays');
  });

  test('test --live: expectations hold, and a wrong one fails with its line and JUnit says so', async () => {
    const right = await policy('test', '--live', file('right.yaml', expectations));
    assert.equal(right.code, 0, `${right.stdout}${right.stderr}`);
    const junit = file('results.xml');
    const wrong = file('wrong.yaml', 'tests:\n  - default/foe can reach default/server on 80\n');
    const failed = await policy('test', '--live', '--junit', junit, wrong);
    assert.equal(failed.code, 1);
    assert.match(failed.stdout, /wrong\.yaml:2/);
    assert.match(readFileSync(junit, 'utf8'), /<testsuites?[\s\S]*failures="1"/);
  });

  test('diff: says who would change sides and by which rule; applied, they do', async () => {
    const next = file('next.yaml', policyFor('foe'));
    const { stdout } = await policy('diff', '-f', next);
    assert.match(
      stdout,
      /default\/friend +default\/server +80\/TCP +denied +default deny \(ingress\) by NetworkPolicy/,
    );
    assert.match(
      stdout,
      /default\/foe +default\/server +80\/TCP +allowed +NetworkPolicy default\/server, spec\.ingress\[0\]/,
    );
    assert.equal(await reaches('foe'), false, 'diff changes nothing');
    await cluster.kube('apply', '-f', next);
    await eventually(
      'sides are changed',
      async () => ((await reaches('foe')) && !(await reaches('friend')) ? true : undefined),
      20_000,
    );
    await cluster.apply(policyFor('friend'));
    await eventually('and back', async () => ((await reaches('friend')) ? true : undefined), 20_000);
  });

  test('lists: endpoints by direction and labels, identities, policies, selectors, maps with their rules, metrics', async () => {
    const list = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await cluster.ciliate('--node', 'node-1', ...args);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const endpoints = await list('endpoint', 'list');
    assert.match(endpoints, /^\d+ +Enabled +Disabled +\d+ +k8s:app=server/m);
    assert.match(endpoints, /^\d+ +Disabled +Disabled +\d+ +k8s:io\.cilium.*\n(?: .*\n)* +k8s:role=friend/m);
    const identities = await list('identity', 'list');
    const identity = /^(\d+) +k8s:app=server/m.exec(identities)?.[1] ?? '';
    assert.match(await list('identity', 'get', identity), /"k8s:app=server"/);
    assert.match(identities, /^7 +reserved:kube-apiserver\n +reserved:remote-node/m);
    assert.match(await list('policy', 'get', 'default/server'), /"kind": "NetworkPolicy"[\s\S]*Revision: [1-9]/);
    assert.match(await list('policy', 'selectors'), new RegExp(`app=server.*default/server +\\d+ +${identity}`));
    const maps = await list('bpf', 'policy', 'list');
    assert.match(maps, new RegExp(`Identity: ${identity} .*Revision: [1-9]`));
    assert.match(
      maps,
      /^Allow +Ingress +k8s:.*80\/TCP +\d+ +\d+ +16 +\d+ NetworkPolicy default\/server, spec\.ingress\[0\]/m,
    );
    assert.match(maps, /^Deny +Ingress +ANY +ANY .*default deny \(ingress\) by NetworkPolicy default\/server/m);
    const values = await metrics();
    assert.equal(values.get('cilium_policy'), 1);
    assert.equal(values.get('cilium_policy_endpoint_enforcement_status{enforcement="ingress"}'), 1);
    for (const name of ['cilium_policy_max_revision', 'cilium_policy_change_total{outcome="success"}']) {
      assert.ok((values.get(name) ?? 0) > 0, name);
    }
    assert.ok([...values.keys()].some(name => /^cilium_drop_count_total\{reason="Policy denied"/.test(name)));
    assert.ok((values.get('cilium_identity{type="cluster_local"}') ?? 0) >= 4);
  });

  test('verify finds no difference; an entry that somebody else took from a map is found, and explain says it too', async () => {
    const clean = await policy('verify');
    assert.match(clean.stdout, /no difference/);
    assert.equal(clean.code, 0);
    takeAllowEntry(cluster);
    const { stdout, code } = await policy('verify');
    assert.equal(code, 1, stdout);
    const held = await policy('test', '--live', file('held.yaml', expectations));
    assert.match(held.stdout, /default\/friend can reach default\/server on web[\s\S]*the kernel does something else/);
    assert.match(stdout, /NetworkPolicy default\/server|missing/);
    assert.match((await explain('friend')).stdout, /DISAGREEMENT: the policies allow and from_container drops it/);
    await eventually(
      'it is alarmed without being asked: metric and status',
      async () => {
        const found = (await metrics()).get('ciliate_policy_verify_differences');
        const { stdout: status } = await cluster.ciliate('--node', 'node-1', 'status');
        return found === 1 && /the policy in the kernel differs in one entry/.test(status) ? true : undefined;
      },
      30_000,
    );
  });
});

interface PolicyMap {
  readonly group: number;
  readonly entries: readonly { readonly rule: string; readonly default: boolean }[];
}
type Bytes = readonly string[];
interface Entry {
  readonly key: Bytes;
  readonly value: Bytes;
}

/** Behind the agent's back: the entry that lets the friends in goes. */
function takeAllowEntry(cluster: Cluster): void {
  const bpftool = (...args: readonly string[]): string =>
    execFileSync('bpftool', ['-j', ...args], { encoding: 'utf8' });
  const listed = cluster.ciliateSync(['--node', 'node-1', 'bpf', 'policy', 'list', '-o', 'json']);
  const maps = JSON.parse(listed.stdout) as readonly PolicyMap[];
  const group = maps.find(({ entries }) =>
    entries.some(entry => entry.rule.startsWith('NetworkPolicy default/server')),
  );
  assert.ok(group !== undefined, listed.stdout);
  const outer = JSON.parse(
    bpftool('map', 'dump', 'pinned', `/run/ciliate/${cluster.name}/node-1/bpf/ciliate/maps/policy`),
  ) as readonly Entry[];
  const inner = outer.find(({ key }) => word(key) === group.group);
  assert.ok(inner !== undefined, 'the group has a map');
  const id = String(word(inner.value));
  const entries = JSON.parse(bpftool('map', 'dump', 'id', id)) as readonly Entry[];
  // struct policy_key: prefixlen 40 and a port's 16 bits.
  const named = entries.find(({ key }) => word(key) === 64);
  assert.ok(named !== undefined, JSON.stringify(entries));
  bpftool('map', 'delete', 'id', id, 'key', ...named.key);
}

/** The first four bytes, in the byte order of this machine. */
function word(bytes: Bytes): number {
  return Buffer.from(bytes.slice(0, 4).map(Number)).readUInt32LE();
}
