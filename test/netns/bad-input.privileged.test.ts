/** What goes wrong around an agent that runs: objects of another version, full maps, an API server that has lost its memory. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Service } from '@ciliate/protocol';
import { AgentNode, sh } from '../lib/agent-node.ts';
import { eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';

const buildDir = join(import.meta.dirname, '../../build/bpf');

function service(name: string, clusterIP: string, backends: readonly string[]) {
  return {
    service: {
      metadata: { namespace: 'default', name, uid: name },
      spec: { type: 'ClusterIP', clusterIP, clusterIPs: [clusterIP], ports: [{ port: 80, protocol: 'TCP' }] },
    },
    slice: {
      metadata: { namespace: 'default', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ port: 80, protocol: 'TCP' }],
      endpoints: backends.map(address => ({ addresses: [address] })),
    },
  };
}

const objectsOf = (...all: readonly ReturnType<typeof service>[]) => ({
  '/api/v1/services': all.map(one => one.service),
  '/apis/discovery.k8s.io/v1/endpointslices': all.map(one => one.slice),
});

const servicesOf = async (node: AgentNode): Promise<readonly Service[]> =>
  (await node.get('/v1/service')) as readonly Service[];

describe('objects of another version', privileged('root'), () => {
  const node = new AgentNode({ name: `ciliate-objects-${process.pid}` });
  const inPod = (id: string, command: string): string => sh(`nsenter --net=/run/netns/${node.name}-${id} ${command}`);
  before(async () => {
    await node.up();
    for (const id of ['a', 'b']) {
      const netns = node.addPod(id);
      assert.equal(node.plugin({ command: 'ADD', containerId: id, netns }).code, 0);
    }
  });
  after(() => node.down());

  test('the agent does not start, says which version it found, and what ran before still runs', async () => {
    const objects = join(node.directory, 'objects');
    cpSync(buildDir, objects, { recursive: true });
    const path = join(objects, 'overlay.bpf.o');
    const bytes = readFileSync(path);
    const hash = readFileSync(join(buildDir, 'abi-hash'), 'utf8').trim();
    for (let at = bytes.indexOf(hash); at >= 0; at = bytes.indexOf(hash)) bytes.write('0123456789abcdef', at, 'latin1');
    writeFileSync(path, bytes);
    await node.stopAgent('SIGTERM');
    await assert.rejects(node.startAgent(['--object-dir', objects]), /overlay\.bpf\.o is of another version/);
    const address = /inet (\S+)\//.exec(inPod('b', 'ip -4 addr show dev eth0'))?.[1] ?? '';
    assert.match(inPod('a', `ping -c 2 -i 0.2 -W 2 ${address}`), / 0% packet loss/);
    await node.startAgent();
    assert.match(node.log(), /"adopted":true/);
  });

  test('a folder without objects is named', async () => {
    const empty = join(node.directory, 'empty');
    mkdirSync(empty);
    await node.stopAgent('SIGTERM');
    await assert.rejects(node.startAgent(['--object-dir', empty]), /is missing: run 'make objects'/);
    await node.startAgent();
  });
});

describe('a full map', privileged('root'), () => {
  const small = service('small', '10.96.0.1', ['10.244.1.11', '10.244.1.12']);
  const large = service('large', '10.96.0.2', ['10.244.1.13', '10.244.1.14', '10.244.1.15']);
  const node = new AgentNode({
    name: `ciliate-full-${process.pid}`,
    agentArguments: ['--bpf-lb-map-max', '6'],
    objects: objectsOf(small, large),
  });
  before(() => node.up());
  after(() => node.down());

  test('what does not fit is refused with the option to raise; the others are served', async () => {
    const states = await eventually('one is done and one refused', async () => {
      const found = (await servicesOf(node)).map(one => [
        one.spec.flags.name,
        one.status.state,
        one.status.error ?? '',
      ]);
      return found.length === 2 && found.every(([, state]) => state !== 'pending') ? found.toSorted() : undefined;
    });
    const served = states.filter(([, state]) => state === 'done');
    const refused = states.filter(([, state]) => state === 'error');
    assert.deepEqual([served.length, refused.length], [1, 1], JSON.stringify(states));
    assert.match(refused[0]?.[2] ?? '', /does not fit: lb_services would need .*--bpf-lb-map-max/);
    assert.match(await node.getText('/metrics'), /^ciliate_service_frontends_refused 1$/m);
  });

  test('the agent is ready, and pods are added', () => {
    const netns = node.addPod('a');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'a', netns }).code, 0);
  });

  test('an agent with more of it takes over what the maps hold, and serves all', async () => {
    const ids = async () => (await servicesOf(node)).map(one => `${one.spec.flags.name} ${one.spec.id}`);
    const [served] = (await servicesOf(node)).filter(one => one.status.state === 'done');
    await node.stopAgent('SIGKILL');
    await node.startAgent(['--bpf-lb-map-max', '64']);
    await eventually('both are done', async () =>
      (await servicesOf(node)).every(one => one.status.state === 'done') ? true : undefined,
    );
    assert.match(node.log(), /"adopted":false/);
    assert.ok((await ids()).includes(`${served?.spec.flags.name} ${served?.spec.id}`), 'ids are as before');
    await node.stopAgent('SIGTERM');
    await node.startAgent(['--bpf-lb-map-max', '64', '--bpf-ct-global-max', '70000']);
    assert.match(node.log(), /"adopted":true/);
    assert.match(node.log(), /ct keeps its \d+ entries/);
  });
});

describe('a node that changes while the agent runs', privileged('root'), () => {
  const node = new AgentNode({ name: `ciliate-moved-${process.pid}`, podCIDRs: ['10.244.1.0/24'] });
  const degraded = async (): Promise<string> => {
    const status = (await node.get('/v1/healthz')) as { readonly ciliate: { readonly degraded: readonly string[] } };
    return status.ciliate.degraded.join('; ');
  };
  before(() => node.up());
  after(() => node.down());

  test('another pod CIDR and another address: status says both, and new pods get addresses of the new CIDR', async () => {
    await node.stopApi();
    const addresses = ['172.31.0.77', 'fd00:172:31::11'].map(address => ({ type: 'InternalIP', address }));
    const moved = { metadata: { name: node.name }, spec: { podCIDRs: ['10.244.9.0/24'] }, status: { addresses } };
    node.startApi({ '/api/v1/nodes': [moved] }, 3);
    await eventually('both are told', async () => {
      const text = await degraded();
      assert.match(text, /172\.31\.0\.77.*restart the agent/);
      assert.match(text, /pod CIDR 10\.244\.1\.0\/24 was taken/);
      return true;
    });
    const netns = node.addPod('a');
    const added = node.plugin({ command: 'ADD', containerId: 'a', netns });
    assert.equal(added.code, 0);
    assert.match(JSON.stringify(added.output.ips), /"10\.244\.9\.3\/32"/);
  });

  test('a restart takes what there is now', async () => {
    await node.stopAgent('SIGTERM');
    await node.startAgent();
    await eventually('nothing is left to tell', async () => ((await degraded()) === '' ? true : undefined));
    const address = /inet 10\.244\.9\.1\//;
    assert.match(sh(`nsenter --net=${node.netns} ip -4 addr show dev ciliate_host`), address);
  });
});

describe('an API server that came back older', privileged('root'), () => {
  const [first, second] = [
    service('first', '10.96.0.1', ['10.244.1.11']),
    service('second', '10.96.0.2', ['10.244.1.12']),
  ];
  const node = new AgentNode({ name: `ciliate-older-${process.pid}`, objects: objectsOf(first) });
  const names = async (): Promise<readonly string[]> =>
    [...new Set((await servicesOf(node)).map(one => one.spec.flags.name))].toSorted();
  const degraded = async (): Promise<string> => {
    const status = (await node.get('/v1/healthz')) as { readonly ciliate: { readonly degraded: readonly string[] } };
    return status.ciliate.degraded.join('; ');
  };
  before(() => node.up());
  after(() => node.down());

  test('gone: services stay as they are, and status says so', async () => {
    await eventually('the first list', async () => ((await names()).join() === 'first' ? true : undefined));
    await node.stopApi();
    await eventually('it is noticed', async () => (/API server/.test(await degraded()) ? true : undefined));
    assert.deepEqual(await names(), ['first']);
  });

  test('back with a lower resourceVersion and other objects: all is listed again', async () => {
    node.startApi(objectsOf(second), 3);
    await eventually('the new list', async () => ((await names()).join() === 'second' ? true : undefined));
    await eventually('status is well', async () => ((await degraded()) === '' ? true : undefined));
    const lb = (await node.get('/v1/ciliate/bpf/lb')) as readonly unknown[];
    assert.match(JSON.stringify(lb), /10\.96\.0\.2/);
    assert.doesNotMatch(JSON.stringify(lb), /10\.96\.0\.1"/);
  });
});
