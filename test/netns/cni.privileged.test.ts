/** The CNI specification's MUSTs, with the real plugin process against the real agent. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { AgentNode, type PluginResult, sh } from '../lib/agent-node.ts';

const skip = process.geteuid?.() === 0 ? false : 'needs root';

interface Result {
  readonly cniVersion: string;
  readonly interfaces: readonly { readonly name: string; readonly mac: string; readonly sandbox?: string }[];
  readonly ips: readonly {
    readonly address: string;
    readonly gateway: string;
    readonly interface: number;
    readonly version?: string;
  }[];
}

const result = (run: PluginResult): Result => run.output as unknown as Result;
const codeOf = (run: PluginResult): unknown => run.output.code;

describe('CNI plugin', { skip }, () => {
  const node = new AgentNode({ name: `ciliate-cni-${process.pid}`, podCIDRs: ['10.244.1.0/28', 'fd00:10:244::/64'] });
  const inPod = (netns: string, command: string): string => sh(`nsenter --net=${netns} ${command}`);
  before(() => node.up());
  after(() => node.down());

  test('VERSION works without agent, network or container', () => {
    const run = node.plugin({ command: 'VERSION' }, '{"cniVersion":"1.0.0"}');
    assert.deepEqual(run.output, { cniVersion: '1.0.0', supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] });
  });

  test('ADD makes the interface of the asked name with the addresses of its result; DEL takes all away', () => {
    const netns = node.addPod('add');
    const run = node.plugin({ command: 'ADD', containerId: 'add', netns, ifname: 'net7' });
    assert.equal(run.code, 0, JSON.stringify(run.output));
    const { interfaces, ips } = result(run);
    const own = interfaces.findIndex(device => device.sandbox === netns);
    assert.equal(interfaces[own]?.name, 'net7');
    const shown = inPod(netns, 'ip -o addr show dev net7');
    assert.equal(ips.length, 2);
    for (const ip of ips) {
      assert.ok(shown.includes(ip.address), `${ip.address} is not on net7: ${shown}`);
      assert.equal(ip.interface, own);
    }
    assert.match(inPod(netns, 'ip link show dev net7'), new RegExp(interfaces[own]?.mac ?? 'none'));
    assert.match(inPod(netns, 'ip route show default'), new RegExp(`via ${ips[0]?.gateway}`));
    assert.equal(node.plugin({ command: 'DEL', containerId: 'add', netns, ifname: 'net7' }).code, 0);
    assert.throws(() => inPod(netns, 'ip link show dev net7'));
  });

  test('ADD twice is an error and changes nothing', () => {
    const netns = node.addPod('twice');
    const first = node.plugin({ command: 'ADD', containerId: 'twice', netns });
    const before = inPod(netns, 'ip -o addr show dev eth0');
    const second = node.plugin({ command: 'ADD', containerId: 'twice', netns });
    assert.equal(first.code, 0);
    assert.equal(second.code, 1);
    assert.equal(codeOf(second), 101);
    assert.equal(inPod(netns, 'ip -o addr show dev eth0'), before);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'twice', netns }).code, 0);
  });

  test('an ADD that cannot succeed leaves no address taken', async () => {
    const taken = async (): Promise<number> =>
      ((await node.get('/v1/healthz')) as { ipam: { ipv4: readonly string[] } }).ipam.ipv4.length;
    const before = await taken();
    assert.equal(codeOf(node.plugin({ command: 'ADD', containerId: 'nowhere', netns: '/run/netns/none-such' })), 3);
    const netns = node.addPod('taken');
    inPod(netns, 'ip link add eth0 type bridge');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'taken', netns }).code, 1);
    assert.equal(await taken(), before);
  });

  test('DEL of what is gone succeeds: twice, without CNI_NETNS, after the namespace went, never added', () => {
    const netns = node.addPod('gone');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'gone', netns }).code, 0);
    node.removePod('gone');
    assert.equal(node.plugin({ command: 'DEL', containerId: 'gone', netns }).code, 0);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'gone' }).code, 0);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'never' }).code, 0);
  });

  test('CHECK succeeds for what ADD made, names what is missing', () => {
    const netns = node.addPod('check');
    const added = node.plugin({ command: 'ADD', containerId: 'check', netns });
    const config = { prevResult: added.output };
    assert.equal(node.plugin({ command: 'CHECK', containerId: 'check', netns, config }).code, 0);
    assert.equal(codeOf(node.plugin({ command: 'CHECK', containerId: 'other', netns, config })), 3);
    inPod(netns, 'ip link del eth0');
    assert.equal(codeOf(node.plugin({ command: 'CHECK', containerId: 'check', netns, config })), 103);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'check', netns }).code, 0);
  });

  test('one container may have two interfaces; DEL of one leaves the other', () => {
    const netns = node.addPod('multi');
    for (const ifname of ['eth0', 'eth1'])
      assert.equal(node.plugin({ command: 'ADD', containerId: 'multi', netns, ifname }).code, 0);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'multi', netns, ifname: 'eth0' }).code, 0);
    assert.match(inPod(netns, 'ip -o addr show dev eth1'), /10\.244\.1\./);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'multi', netns, ifname: 'eth1' }).code, 0);
  });

  test('GC removes attachments that are not valid any more, and only those', () => {
    const [keep, drop] = [node.addPod('keep'), node.addPod('drop')];
    assert.equal(node.plugin({ command: 'ADD', containerId: 'keep', netns: keep }).code, 0);
    assert.equal(node.plugin({ command: 'ADD', containerId: 'drop', netns: drop }).code, 0);
    const config = { 'cni.dev/valid-attachments': [{ containerID: 'keep', ifname: 'eth0' }] };
    assert.equal(node.plugin({ command: 'GC', config }).code, 0);
    assert.match(inPod(keep, 'ip -o link'), /eth0/);
    assert.doesNotMatch(inPod(drop, 'ip -o link'), /eth0/);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'keep', netns: keep }).code, 0);
  });

  for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
    test(`result in the shape of ${cniVersion}`, () => {
      const id = `v${cniVersion.replaceAll('.', '')}`;
      const netns = node.addPod(id);
      const run = node.plugin({ command: 'ADD', containerId: id, netns, config: { cniVersion } });
      assert.equal(result(run).cniVersion, cniVersion);
      assert.equal(result(run).ips[0]?.version, cniVersion < '1' ? '4' : undefined);
      assert.equal(node.plugin({ command: 'DEL', containerId: id, netns, config: { cniVersion } }).code, 0);
    });
  }

  test('a truncated configuration is a decode error with its position', () => {
    const run = node.plugin({ command: 'ADD', netns: '/proc/self/ns/net' }, '{"cniVersion":"1.0.0","name":"cil');
    assert.equal(codeOf(run), 6);
    assert.match(String(run.output.msg), /position \d+/);
  });

  test('a pool that is used up says so with its numbers', () => {
    const full: string[] = [];
    for (let index = 0; index < 16; index++) {
      const id = `full${index}`;
      const netns = node.addPod(id);
      const run = node.plugin({ command: 'ADD', containerId: id, netns });
      if (run.code === 0) {
        full.push(id);
        continue;
      }
      assert.equal(codeOf(run), 102);
      assert.match(String(run.output.msg), /10\.244\.1\.0\/28: 14 of 14 in use/);
      break;
    }
    assert.equal(full.length, 12);
    for (const id of full) assert.equal(node.plugin({ command: 'DEL', containerId: id }).code, 0);
  });

  test('STATUS is 0 while pods can be added; without agent it is 50, ADD 11, DEL of what is known 11, of what is unknown 0', async () => {
    const netns = node.addPod('away');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'away', netns }).code, 0);
    assert.equal(node.plugin({ command: 'STATUS' }).code, 0);
    await node.stopAgent('SIGKILL');
    assert.equal(codeOf(node.plugin({ command: 'STATUS' })), 50);
    assert.equal(codeOf(node.plugin({ command: 'ADD', containerId: 'away2', netns })), 11);
    assert.equal(codeOf(node.plugin({ command: 'DEL', containerId: 'away', netns })), 11);
    assert.equal(node.plugin({ command: 'DEL', containerId: 'unknown' }).code, 0);
    await node.startAgent();
    assert.equal(node.plugin({ command: 'DEL', containerId: 'away', netns }).code, 0);
  });

  test('nothing is left of all that', async () => {
    const endpoints = (await node.get('/v1/endpoint')) as readonly {
      status: { 'external-identifiers': { 'container-id': string } };
    }[];
    assert.deepEqual(
      endpoints
        .map(item => item.status['external-identifiers']['container-id'])
        .filter(id => id !== '' && !id.startsWith('health-')),
      [],
    );
    const links = spawnSync('nsenter', [`--net=${node.netns}`, 'ip', '-o', 'link'], { encoding: 'utf8' }).stdout;
    assert.equal([...links.matchAll(/lxc[0-9a-f]{12}/g)].length, 1, 'only the health endpoint has a device');
    const dump = (await node.get('/v1/ciliate/bpf/endpoint')) as readonly {
      readonly flags: readonly string[];
      readonly id: number;
    }[];
    assert.equal(dump.filter(entry => entry.id !== 0 && !entry.flags.includes('health')).length, 0);
  });
});
