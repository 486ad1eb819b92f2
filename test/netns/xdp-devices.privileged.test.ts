/** XDP on devices that cannot, that somebody else has, that come and go: one node with the real agent. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  AttachType,
  closeFd,
  createLink,
  findLink,
  inNetworkNamespace,
  loadObject,
  NetlinkSocket,
  setDeviceFeature,
  XDP_FLAGS_DRV_MODE,
} from '@ciliate/kernel';
import { AgentNode, sh } from '../lib/agent-node.ts';
import { eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { fullConfig, objectPath } from '../packet/config.ts';

interface Accelerated {
  readonly device: string;
  readonly mode: string;
  readonly why: string;
}

interface Healthz {
  readonly 'kube-proxy-replacement': {
    readonly features: {
      readonly nodePort: { readonly acceleration: string; readonly accelerated: readonly Accelerated[] };
    };
  };
}

describe('XDP on the devices of a node', privileged('root'), () => {
  const node = new AgentNode({ name: `ciliate-xdp-${process.pid}` });
  const inside = (command: string): string => sh(`nsenter --net=${node.netns} ${command}`);
  const gro = (peer: string, on: boolean): void => setDeviceFeature(peer, 'rx-gro', on, node.netns);
  const program = (device = 'eth0'): string | undefined =>
    /prog\/xdp id (\d+) name xdp_netdev/.exec(inside(`ip -d link show ${device}`))?.[1];
  const runs = (device = 'eth0') => eventually(`XDP runs on ${device}`, async () => program(device));
  const isOff = () => eventually('XDP is off', async () => (program() === undefined ? true : undefined));
  const acceleration = async () =>
    ((await node.get('/v1/healthz')) as Healthz)['kube-proxy-replacement'].features.nodePort;
  const start = (mode: 'disabled' | 'native' | 'best-effort', ...more: readonly string[]): Promise<void> =>
    node.startAgent(['--bpf-lb-acceleration', mode, '--devices', 'eth*', ...more]);
  const restart = async (...args: Parameters<typeof start>): Promise<void> => {
    await node.stopAgent('SIGTERM');
    await start(...args);
  };
  /** The end of the agent's log. */
  const refused = async (): Promise<string> => {
    await node.stopAgent('SIGTERM');
    await assert.rejects(start('native'), /the agent has ended/);
    return node.log();
  };
  before(() => node.up());
  after(() => node.down());

  test('off unless asked for, and then not even loaded', async () => {
    assert.equal(program(), undefined);
    assert.equal(existsSync(join(node.directory, 'bpf/ciliate/programs/xdp_netdev')), false);
    assert.deepEqual([(await acceleration()).acceleration, (await acceleration()).accelerated], ['Disabled', []]);
  });

  test('native: the agent does not start where the other end of a veth takes no frames, and says what to do', async () => {
    assert.match(await refused(), /the other end of the veth eth0-?\w* does not take frames .*GRO.*best-effort/);
    assert.equal(program(), undefined);
  });

  test('native: it starts when all can; a restart adopts, another build takes over, off takes off', async () => {
    for (const peer of ['eth0', 'eth0-peer']) gro(peer, true);
    await start('native');
    const first = await runs();
    await restart('native');
    assert.equal(program(), first);
    await restart('native', '--mtu', '1400');
    assert.notEqual(
      await eventually('another program', async () => (program() === first ? undefined : program())),
      first,
    );
    await restart('disabled');
    await isOff();
    assert.equal(existsSync(join(node.directory, 'bpf/ciliate/programs/xdp_netdev')), false);
  });

  test('devices come and go, and come again', async () => {
    await restart('best-effort');
    await runs();
    const add = (): void => {
      inside('ip link add eth7 type veth peer name p7');
      inside('ip addr add 192.0.2.1/24 dev eth7');
      inside('ip link set eth7 up');
    };
    add();
    const modes = async () => (await acceleration()).accelerated.map(({ device, mode }) => `${device} ${mode}`);
    await eventually('tc alone there', async () => ((await modes()).includes('eth7 none') ? true : undefined));
    inside('ip link set p7 up');
    gro('p7', true);
    await runs('eth7');
    await eventually('it is told', async () => ((await modes()).includes('eth7 native') ? true : undefined));
    inside('ip link del eth7');
    await eventually('nothing is left of it', async () =>
      existsSync(join(node.directory, 'bpf/ciliate/links/eth7-xdp')) ? undefined : true,
    );
    add();
    inside('ip link set p7 up');
    gro('p7', true);
    await runs('eth7');
    // Between two looks at the devices: the name is the same, the device is not.
    inside('ip link del eth7');
    add();
    inside('ip link set p7 up');
    gro('p7', true);
    await runs('eth7');
    inside('ip link del eth7');
    assert.ok(program() !== undefined);
  });

  test('where another program runs: native does not start, best effort goes on with tc', async () => {
    await restart('disabled');
    await isOff();
    const object = loadObject({ path: objectPath('xdp.bpf.o'), rodata: fullConfig() });
    const socket = new NetlinkSocket(node.netns);
    const target = findLink(socket, 'eth0')?.ifindex ?? 0;
    socket.close();
    const other = object.programs.get('xdp_netdev');
    assert.ok(other !== undefined);
    const attachment = { program: other.fd, target, type: AttachType.XDP, flags: XDP_FLAGS_DRV_MODE };
    const link = inNetworkNamespace(node.netns, () => createLink(attachment));
    try {
      assert.match(await refused(), /no XDP on eth0: another XDP program runs on it/);
      await start('best-effort');
      const found = (await acceleration()).accelerated.find(({ device }) => device === 'eth0');
      assert.match(found?.why ?? '', /another XDP program runs on it/);
      assert.equal(found?.mode, 'none');
    } finally {
      closeFd(link);
      object.close();
    }
  });
});
