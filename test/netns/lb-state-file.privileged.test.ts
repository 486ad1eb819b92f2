/** --lb-state-file: services that no API server has, balanced like others, and over a restart; their backends probed. */
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

/** Nobody listens on port 9001 at first. */
const state = (port: 9000 | 9001, annotations = ''): string => `
services:
- metadata: { name: echo, namespace: outside, annotations: { ${annotations} } }
  spec: { type: LoadBalancer, ports: [{ name: http, port: 80, protocol: TCP }] }
  status: { loadBalancer: { ingress: [{ ip: ${vip} }] } }
endpoints:
- metadata: { name: echo-1, namespace: outside, labels: { kubernetes.io/service-name: echo } }
  addressType: IPv4
  endpoints: [{ addresses: [172.31.0.11] }]
  ports: [{ name: http, port: ${port}, protocol: TCP }]
`;
const second = (of: string): string => {
  const [, slice] = state(9001).split('endpoints:\n');
  return `${of}${slice?.replace('echo-1', 'echo-2') ?? ''}`;
};

describe('services of a file', privileged('root'), () => {
  const name = `ciliate-file-${process.pid}`;
  const file = `/tmp/${name}/state.yaml`;
  const node = new AgentNode({ name, agentArguments: ['--lb-state-file', file, '--lb-state-file-interval', '50'] });
  const servers = new Map<number, ChildProcess>();
  const listen = (port: number): void => {
    const echo = join(root, 'build/bin/ciliate-sandbox-echo');
    servers.set(port, spawn('nsenter', [`--net=${node.netns}`, echo, '--ports', `${port}/TCP`], { stdio: 'ignore' }));
  };
  before(async () => {
    await node.up();
    listen(9000);
  });
  after(async () => {
    for (const server of servers.values()) server.kill('SIGKILL');
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
    put(state(9000));
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

  const allAnswer = async (): Promise<true | undefined> => {
    for (let i = 0; i < 12; i++) if (!(await answers())) return undefined;
    return true;
  };

  test('a backend that does not answer to health checks gets nothing, and when it is the only one that does, everything', async () => {
    put(second(state(9000)));
    await becomes(false);
    put(second(state(9000, 'ciliate.io/health-check: tcp, ciliate.io/health-check-interval: "1"')));
    await eventually('only the one that answers is asked', allAnswer);
    listen(9001);
    servers.get(9000)?.kill('SIGKILL');
    await eventually('the other one is', allAnswer);
  });

  test('an empty file takes everything away', async () => {
    put('');
    await becomes(false);
  });
});
