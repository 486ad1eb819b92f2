/** --lb-state-file: services that no API server has, balanced like others, and over a restart. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AgentNode } from '../lib/agent-node.ts';
import { eventually, run } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const root = join(import.meta.dirname, '../..');
const vip = '203.0.113.9';

const state = (address: string): string => `
services:
- metadata: { name: echo, namespace: outside }
  spec: { type: LoadBalancer, ports: [{ name: http, port: 80, protocol: TCP }] }
  status: { loadBalancer: { ingress: [{ ip: ${vip} }] } }
endpoints:
- metadata: { name: echo-1, namespace: outside, labels: { kubernetes.io/service-name: echo } }
  addressType: IPv4
  endpoints: [{ addresses: ["${address}"] }]
  ports: [{ name: http, port: 9000, protocol: TCP }]
`;

describe('services of a file', privileged('root'), () => {
  const name = `ciliate-file-${process.pid}`;
  const file = `/tmp/${name}/state.yaml`;
  const node = new AgentNode({ name, agentArguments: ['--lb-state-file', file, '--lb-state-file-interval', '50'] });
  let server: ChildProcess | undefined;
  before(async () => {
    await node.up();
    const echo = join(root, 'build/bin/ciliate-sandbox-echo');
    server = spawn('nsenter', [`--net=${node.netns}`, echo, '--ports', '9000/TCP'], { stdio: 'ignore' });
  });
  after(async () => {
    server?.kill('SIGKILL');
    await node.down();
  });
  const put = (text: string): void => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  const inCgroup = 'echo 0 > "$1/cgroup.procs" && exec nsenter --net="$2" curl -s -m 2 "$3"';
  const answers = async (): Promise<boolean> =>
    (await run('sh', ['-c', inCgroup, 'sh', node.cgroup, node.netns, `http://${vip}/`])).code === 0;
  const becomes = (wanted: boolean) =>
    eventually(`it ${wanted ? 'answers' : 'is silent'}`, async () => ((await answers()) === wanted ? true : undefined));

  test('it is served once the file is there, and over a restart of the agent', async () => {
    assert.equal(await answers(), false);
    put(state('172.31.0.11'));
    await becomes(true);
    await node.stopAgent('SIGTERM');
    assert.equal(await answers(), true);
    await node.startAgent();
    await becomes(true);
  });

  test('a file that cannot be read changes nothing, and status says so', async () => {
    put('services: [');
    await eventually('status says so', async () =>
      JSON.stringify(await node.get('/v1/healthz')).includes('state.yaml: line') ? true : undefined,
    );
    assert.equal(await answers(), true);
  });

  test('an empty file takes everything away', async () => {
    put('');
    await becomes(false);
  });
});
