/** The agent alone on a node: start, restart, no API server, bad surroundings. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pinnedLinkInfo } from '@ciliate/kernel';
import { AgentNode, sh } from '../lib/agent-node.ts';
import { eventually } from '../lib/cluster.ts';

const skip = process.geteuid?.() === 0 ? false : 'needs root';

interface Status {
  readonly cilium: { readonly state: string };
  readonly ciliate: {
    readonly ready: boolean;
    readonly readyAfterMs: number;
    readonly degraded: readonly string[];
    readonly rssBytes: number;
  };
}

describe('agent', { skip }, () => {
  const node = new AgentNode({ name: `ciliate-agent-${process.pid}` });
  const status = async (): Promise<Status> => (await node.get('/v1/healthz')) as Status;
  const inPod = (id: string, command: string): string => sh(`nsenter --net=/run/netns/${node.name}-${id} ${command}`);
  const links = (): readonly string[] => readdirSync(join(node.directory, 'bpf/ciliate/links')).sort();
  /** What each of our own pins holds: other agents on the machine come and go. */
  const linkIds = (): readonly unknown[] =>
    links().map(name => pinnedLinkInfo(join(node.directory, 'bpf/ciliate/links', name)));
  const tryInPod = (id: string, command: string): string =>
    spawnSync('sh', ['-c', `nsenter --net=/run/netns/${node.name}-${id} ${command}`], { encoding: 'utf8' }).stdout;
  before(async () => {
    await node.up();
    for (const id of ['a', 'b']) {
      const netns = node.addPod(id);
      assert.equal(node.plugin({ command: 'ADD', containerId: id, netns }).code, 0);
    }
  });
  after(() => node.down());

  const addressOf = async (id: string, family: 'ipv4' | 'ipv6'): Promise<string> => {
    const found = (await node.get(`/v1/endpoint/container-id:${id}`)) as {
      status: { networking: { addressing: readonly Record<string, string>[] } };
    };
    return found.status.networking.addressing[0]?.[family] ?? '';
  };

  test('pods of one node reach each other, the node and the health endpoint, in both families', async () => {
    for (const family of ['ipv4', 'ipv6'] as const) {
      const targets = [await addressOf('b', family), family === 'ipv4' ? '172.31.0.11' : 'fd00:172:31::11'];
      for (const target of targets) assert.match(inPod('a', `ping -c 2 -i 0.2 -W 2 ${target}`), / 0% packet loss/);
    }
    assert.match(inPod('a', 'curl --silent --max-time 5 http://10.244.1.2:4240/hello'), new RegExp(node.name));
  });

  const forged = [
    ['IPv4', '192.0.2.99/32', '10.244.1.2'],
    ['IPv6', '2001:db8::99/128', 'fd00:10:244::2'],
  ] as const;
  for (const [family, source, target] of forged) {
    test(`${family}: a drop is counted by its reason and shown by monitor`, async () => {
      const address = source.split('/')[0] ?? '';
      const counted = async (): Promise<number> => {
        const drops = (await node.get('/v1/ciliate/drops')) as readonly {
          readonly reasonName: string;
          readonly packets: number;
        }[];
        return drops
          .filter(drop => drop.reasonName === 'Invalid source ip')
          .reduce((sum, drop) => sum + drop.packets, 0);
      };
      const before = await counted();
      const lines: string[] = [];
      const command = ['--socket-path', node.socketPath, 'monitor', '--type', 'drop'];
      const monitor = spawn(join(import.meta.dirname, '../../ciliate'), command);
      monitor.stdout.on('data', chunk => lines.push(...String(chunk).split('\n')));
      await new Promise<void>(resolve => monitor.stderr.once('data', () => resolve()));
      await delay(500);
      inPod('a', `ip addr add ${source} dev eth0${family === 'IPv6' ? ' nodad' : ''}`);
      const ping = ['ping', '-c', '1', '-W', '1', '-I', address, target];
      spawnSync('nsenter', [`--net=/run/netns/${node.name}-a`, ...ping]);
      inPod('a', `ip addr del ${source} dev eth0`);
      for (let tries = 0; tries < 50 && !lines.some(line => line.includes(address)); tries++) await delay(100);
      monitor.kill();
      const flow = `${address} -> ${target}`;
      assert.ok(
        lines.some(line => line.includes('Invalid source ip') && line.includes(flow)),
        lines.join('\n'),
      );
      assert.ok((await counted()) > before);
    });
  }

  test('an agent that cannot read for a while: monitor and metrics say how many events were lost', async () => {
    const lines: string[] = [];
    const monitor = spawn(join(import.meta.dirname, '../../ciliate'), [
      ...['--socket-path', node.socketPath, 'monitor', '--type', 'policy-verdict'],
    ]);
    monitor.stdout.on('data', chunk => lines.push(...String(chunk).split('\n')));
    const started = new Promise<void>(resolve => monitor.stderr.once('data', () => resolve()));
    await started;
    await delay(1000);
    inPod('a', 'ip addr add 192.0.2.99/32 dev eth0');
    process.kill(node.agentPid, 'SIGSTOP');
    // More drops than the ring holds records.
    inPod('a', `${process.execPath} ${join(import.meta.dirname, '../lib/udp-flood.ts')} 192.0.2.99 10.244.1.2 12000`);
    process.kill(node.agentPid, 'SIGCONT');
    inPod('a', 'ip addr del 192.0.2.99/32 dev eth0');
    for (let tries = 0; tries < 100 && !lines.some(line => /events lost/.test(line)); tries++) await delay(100);
    monitor.kill();
    const lost = lines.reduce((sum, line) => sum + Number(/^(\d+) events lost/.exec(line)?.[1] ?? 0), 0);
    assert.ok(lost > 1000, `${lost} lost: ${lines.join('; ')}`);
    const metrics = sh(`curl --silent --unix-socket ${node.socketPath} http://agent/metrics`);
    assert.match(metrics, new RegExp(`^hubble_lost_events_total\\{source="perf_event_ring_buffer"\\} ${lost}$`, 'm'));
  });

  test('a new pod runs by a filter at once; a tcx link soon takes its place', async () => {
    const netns = node.addPod('soon');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'soon', netns }).code, 0);
    const found = (await node.get('/v1/endpoint/container-id:soon')) as {
      status: { networking: { 'interface-name': string } };
    };
    const device = found.status.networking['interface-name'];
    await eventually('the link', async () => (links().includes(`${device}-ingress`) ? true : undefined));
    const filters = () => sh(`nsenter --net=${node.netns} tc filter show dev ${device} ingress`);
    await eventually('no filter', async () => (filters().includes('from_container') ? undefined : true));
    assert.equal(node.plugin({ command: 'DEL', containerId: 'soon', netns }).code, 0);
    await eventually('no pin', async () => (links().includes(`${device}-ingress`) ? undefined : true));
  });

  test('kill -9 and restart: no packet lost, programs and links are adopted as they are', async () => {
    const address = await addressOf('b', 'ipv4');
    const before = links();
    const idsBefore = linkIds();
    const ping = spawn('nsenter', [`--net=/run/netns/${node.name}-a`, 'ping', '-q', '-i', '0.02', '-w', '3', address]);
    let output = '';
    ping.stdout.on('data', chunk => {
      output += String(chunk);
    });
    const ended = new Promise<void>(resolve => ping.once('close', () => resolve()));
    await delay(500);
    await node.stopAgent('SIGKILL');
    await node.startAgent();
    await ended;
    assert.match(output, / 0% packet loss/);
    assert.deepEqual(links(), before);
    assert.deepEqual(linkIds(), idsBefore);
    assert.match(node.log(), /"adopted":true/);
    assert.equal(((await node.get('/v1/endpoint')) as readonly unknown[]).length, 4, 'the node itself is one');
  });

  test('an endpoint whose namespace went while the agent was away is forgotten', async () => {
    const netns = node.addPod('c');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'c', netns }).code, 0);
    await node.stopAgent('SIGKILL');
    node.removePod('c');
    await delay(500);
    await node.startAgent();
    await assert.rejects(async () => {
      const found = (await node.get('/v1/endpoint/container-id:c')) as { readonly code?: string };
      if (found.code === 'NOT_FOUND') throw new Error('gone');
    }, /gone/);
  });

  test('who has no identity yet is init, and isolated as soon as there is a policy; a lost API server opens nothing', async () => {
    const policies = '/apis/networking.k8s.io/v1/networkpolicies';
    const pings = (): boolean => / 0% packet loss/.test(tryInPod('a', 'ping -c 2 -i 0.2 -W 1 10.244.1.2'));
    const isolated = (wanted: boolean) =>
      eventually(wanted ? 'closed' : 'open', async () => (pings() === wanted ? undefined : true), 20_000);
    const found = (await node.get('/v1/endpoint/container-id:a')) as {
      readonly status: { readonly identity: { readonly id: number; readonly labels: readonly string[] } };
    };
    assert.deepEqual(found.status.identity, { id: 5, labels: ['reserved:init'] });
    await isolated(false);
    const metadata = { name: 'somewhere', namespace: 'default' };
    node.setObjects({ [policies]: [{ metadata, spec: { podSelector: { matchLabels: { no: 'body' } } } }] });
    await isolated(true);
    await node.stopApi();
    await delay(1500);
    assert.equal(pings(), false, 'the API server is away');
    const netns = node.addPod('late');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'late', netns }).code, 0);
    assert.equal(/ 0% packet loss/.test(tryInPod('late', 'ping -c 1 -W 1 10.244.1.2')), false, 'one that comes now');
    await node.stopAgent('SIGKILL');
    assert.equal(pings(), false, 'nor does a killed agent');
    await node.startAgent();
    assert.equal(pings(), false, 'nor one that starts without the API server');
    assert.equal(node.plugin({ command: 'DEL', containerId: 'late', netns }).code, 0);
    node.startApi();
    await isolated(false);
  });

  test('without API server at start: ready from known state, deletes nothing, adds pods', async () => {
    const ipcache = async (): Promise<number> =>
      ((await node.get('/v1/ciliate/bpf/ipcache')) as readonly unknown[]).length;
    const before = await ipcache();
    await node.stopAgent('SIGTERM');
    await node.stopApi();
    await node.startAgent();
    assert.equal((await status()).cilium.state, 'Warning');
    assert.match((await status()).ciliate.degraded.join(), /no list yet/);
    assert.equal(await ipcache(), before);
    const netns = node.addPod('d');
    assert.equal(node.plugin({ command: 'ADD', containerId: 'd', netns }).code, 0);
    assert.match(inPod('d', `ping -c 2 -i 0.2 -W 2 ${await addressOf('a', 'ipv4')}`), / 0% packet loss/);
    node.startApi();
    for (let tries = 0; tries < 200 && (await status()).cilium.state !== 'Ok'; tries++) await delay(100);
    assert.equal((await status()).cilium.state, 'Ok');
    assert.equal(node.plugin({ command: 'DEL', containerId: 'd', netns }).code, 0);
  });

  test('a second agent on the node is refused and harms nothing', async () => {
    const run = spawnSync('nsenter', [`--net=${node.netns}`, process.execPath, ...node.agentCommand()], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.equal(run.status, 1);
    assert.match(run.stderr, /another agent/);
    assert.equal((await status()).ciliate.ready, true);
  });

  const wrong: readonly (readonly [name: string, argv: readonly string[], code: number, says: RegExp])[] = [
    ['an unknown flag', ['--tunel-port', '1'], 2, /did you mean --tunnel-port/],
    ['a wrong value', ['--routing-mode', 'bridged'], 2, /'tunnel' or 'native'/],
    ['bpffs not mounted', ['--bpf-root', '/tmp'], 1, /mount -t bpf/],
    ['no cgroup v2', ['--cgroup-root', '/tmp'], 1, /cgroup v2/],
  ];
  for (const [name, argv, code, says] of wrong) {
    test(`refuses: ${name}`, () => {
      const more = [...argv, '--state-dir', join(node.directory, 'other')];
      const run = spawnSync('nsenter', [`--net=${node.netns}`, process.execPath, ...node.agentCommand(more)], {
        encoding: 'utf8',
        timeout: 20_000,
      });
      assert.equal(run.status, code, run.stdout);
      assert.match(run.stderr, says);
    });
  }

  test('without root it says so', () => {
    const entry = node.agentCommand()[0] ?? '';
    const run = spawnSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, entry], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.equal(run.status, 1);
    assert.match(run.stderr, /root/);
  });

  test('the CNI configuration is there once the agent is ready', () => {
    const text = readFileSync(join(node.directory, 'net.d/05-ciliate.conflist'), 'utf8');
    assert.equal((JSON.parse(text) as { plugins: readonly { type: string }[] }).plugins[0]?.type, 'ciliate-cni');
  });
});

describe('agent with a pod CIDR that overlaps the services', { skip }, () => {
  const node = new AgentNode({
    name: `ciliate-over-${process.pid}`,
    podCIDRs: ['10.96.1.0/24'],
    agentArguments: ['--service-cidr', '10.96.0.0/16'],
  });
  after(() => node.down());

  test('does not get ready, and its log says why', async () => {
    const up = node.up().catch(() => undefined);
    for (let tries = 0; tries < 100 && !/overlaps the service CIDR/.test(node.log()); tries++) await delay(100);
    assert.match(node.log(), /pod CIDR 10\.96\.1\.0\/24 overlaps the service CIDR 10\.96\.0\.0\/16/);
    await node.stopAgent('SIGTERM');
    await up;
  });
});
