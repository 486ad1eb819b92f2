/** 1,000 pods on one node, added and removed through the real plugin as a kubelet does: nothing is left of them. */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createNetworkNamespace, removeNetworkNamespace } from '@ciliate/kernel';
import { AgentNode, type PluginResult, sh } from '../lib/agent-node.ts';
import { eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const pods = Array.from({ length: 1000 }, (_, index) => `p${index}`);
/** A kubelet starts so many sandboxes at once. */
const concurrency = 10;

interface Status {
  readonly ciliate: { readonly readyAfterMs: number; readonly rssBytes: number };
}

function filesBelow(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter(name => statSync(join(directory, name), { throwIfNoEntry: false })?.isDirectory() === false)
    .toSorted();
}

async function forAll<T>(items: readonly string[], work: (item: string) => Promise<T>): Promise<readonly T[]> {
  const queue = [...items];
  const results: T[] = [];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) results.push(await work(item));
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return results;
}

describe('1,000 pods on one node', privileged('root'), () => {
  const node = new AgentNode({
    name: `ciliate-many-${process.pid}`,
    podCIDRs: ['10.244.0.0/21', 'fd00:10:244::/64'],
  });
  const netnsOf = (pod: string): string => `/run/netns/${node.name}-${pod}`;
  const inside = (command: string): string => sh(`nsenter --net=${node.netns} ${command}`);
  const made = new Set<string>();
  let atFirst: unknown;

  /** Without those of link-local addresses, which come when the kernel has checked them. */
  const routesOf = (command: string): readonly string[] =>
    inside(command)
      .split('\n')
      .filter(line => !/fe80::|ff00::/.test(line))
      .toSorted();
  const dump = async (name: string): Promise<readonly unknown[]> =>
    (await node.get(`/v1/ciliate/bpf/${name}`)) as readonly unknown[];
  const status = async (): Promise<Status> => (await node.get('/v1/healthz')) as Status;

  /** Whatever a pod can leave behind. */
  async function everything(): Promise<Readonly<Record<string, unknown>>> {
    const ipam = ((await node.get('/v1/healthz')) as { readonly ipam: unknown }).ipam;
    return {
      links: inside('ip -o link')
        .split('\n')
        .map(line => line.split(': ')[1] ?? '')
        .toSorted(),
      routes: ['ip route show table all', 'ip -6 route show table all'].flatMap(routesOf),
      neighbours: inside('ip neighbour show nud permanent'),
      pins: filesBelow(join(node.directory, 'bpf/ciliate')),
      state: filesBelow(join(node.directory, 'state')),
      endpoints: (await dump('endpoint')).length,
      ipcache: (await dump('ipcache')).length,
      ct: (await dump('ct')).length,
      endpointList: ((await node.get('/v1/endpoint')) as readonly unknown[]).length,
      ipam,
    };
  }

  before(async () => {
    await node.up();
    // The health endpoint's device runs a filter first, its link comes a moment later.
    const links = join(node.directory, 'bpf/ciliate/links');
    await eventually('the link of the health endpoint', async () =>
      readdirSync(links).some(name => name.startsWith('lxc')) ? true : undefined,
    );
    atFirst = await everything();
  });
  after(async () => {
    for (const pod of made) removeNetworkNamespace(netnsOf(pod));
    await node.down();
  });

  const succeeded = (results: readonly PluginResult[]): void => {
    const failed = results.filter(result => result.code !== 0);
    assert.deepEqual(failed, []);
  };
  const tell = (what: string, results: readonly PluginResult[]): string => {
    const times = results.map(result => result.milliseconds).toSorted((a, b) => a - b);
    const at = (share: number): string => `${Math.round(times[Math.floor(share * (times.length - 1))] ?? 0)} ms`;
    return `${what}: p50 ${at(0.5)}, p99 ${at(0.99)}, ${concurrency} at once`;
  };

  test('all are added, each with addresses of its own', async t => {
    const results = await forAll(pods, async pod => {
      createNetworkNamespace(netnsOf(pod));
      made.add(pod);
      return node.pluginAsync({ command: 'ADD', containerId: pod, netns: netnsOf(pod) });
    });
    succeeded(results);
    t.diagnostic(tell('ADD', results));
    const addresses = results.flatMap(result =>
      (result.output.ips as readonly { readonly address: string }[]).map(ip => ip.address),
    );
    assert.equal(new Set(addresses).size, 2 * pods.length);
    assert.ok((await dump('endpoint')).length >= 2 * pods.length);
  });

  test('the first and the last reach each other; the agent starts anew with all of them', async t => {
    const address = (pod: string): string =>
      /inet (\S+)\//.exec(sh(`nsenter --net=${netnsOf(pod)} ip -4 addr show dev eth0`))?.[1] ?? '';
    const ping = (): string => sh(`nsenter --net=${netnsOf('p0')} ping -c 2 -i 0.2 -W 2 ${address('p999')}`);
    assert.match(ping(), / 0% packet loss/);
    await node.stopAgent('SIGKILL');
    await node.startAgent();
    const { readyAfterMs, rssBytes } = (await status()).ciliate;
    t.diagnostic(`ready after ${readyAfterMs} ms with ${pods.length} pods, ${Math.round(rssBytes / 1e6)} MB`);
    assert.match(ping(), / 0% packet loss/);
    assert.ok((await dump('endpoint')).length >= 2 * pods.length);
  });

  test('all are removed, and nothing is left: links, routes, pins, map entries, files, addresses', async t => {
    const results = await forAll(pods, async pod => {
      const result = await node.pluginAsync({ command: 'DEL', containerId: pod, netns: netnsOf(pod) });
      removeNetworkNamespace(netnsOf(pod));
      made.delete(pod);
      return result;
    });
    succeeded(results);
    t.diagnostic(tell('DEL', results));
    await eventually('the kernel side is as before', async () => {
      const now = await everything();
      assert.deepEqual(now, atFirst);
      return true;
    });
  });
});
