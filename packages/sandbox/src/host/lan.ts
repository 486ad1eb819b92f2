/** Namespaces, bridge and cables of a sandbox. Nothing is made in the machine's own network namespace. */
import { setDeviceFeature } from '@ciliate/kernel';
import { lanAddresses, netnsPath, outsideAddresses } from '../layout.ts';
import { addNetns } from './netns.ts';
import { run } from './run.ts';

interface Host {
  readonly netns: string;
  readonly addresses: readonly [string, string];
  /** Name of the cable's end at the bridge. */
  readonly port: string;
}

/** Written before any device exists, so that every device starts with them. */
const sysctls: Readonly<Record<string, string>> = {
  'net/ipv6/conf/default/accept_dad': '0',
  'net/ipv6/conf/all/accept_dad': '0',
  'net/ipv6/conf/default/accept_ra': '0',
  'net/ipv4/conf/all/rp_filter': '0',
  'net/ipv4/conf/default/rp_filter': '0',
};

const forwarding: Readonly<Record<string, string>> = {
  'net/ipv4/ip_forward': '1',
  'net/ipv6/conf/all/forwarding': '1',
  'net/ipv6/conf/default/forwarding': '1',
};

export interface LanPlan {
  readonly lan: string;
  readonly outside: string;
  /** Cables take frames that nodes send from XDP: a veth does when its other end has GRO on. */
  readonly takesXdp: boolean;
  readonly nodes: readonly {
    readonly name: string;
    readonly netns: string;
    readonly addresses: readonly [string, string];
  }[];
}

export async function buildLan(plan: LanPlan): Promise<void> {
  await addNetns(plan.lan);
  await setSysctls(plan.lan, { ...sysctls, ...forwarding });
  await ipBatch(plan.lan, [
    'link add br0 type bridge forward_delay 0 mcast_snooping 0',
    'link set br0 up',
    `addr add ${lanAddresses[0]}/24 dev br0`,
    `addr add ${lanAddresses[1]}/64 dev br0 nodad`,
  ]);
  const hosts: readonly Host[] = [
    ...plan.nodes.map(node => ({ netns: node.netns, addresses: node.addresses, port: node.name })),
    { netns: plan.outside, addresses: outsideAddresses, port: 'outside' },
  ];
  for (const host of hosts) {
    await addHost(plan.lan, host, host.port !== 'outside');
    if (plan.takesXdp) setDeviceFeature(host.port, 'rx-gro', true, netnsPath(plan.lan));
  }
}

async function addHost(lan: string, host: Host, forwards: boolean): Promise<void> {
  await addNetns(host.netns);
  await setSysctls(host.netns, forwards ? { ...sysctls, ...forwarding } : sysctls);
  await ipBatch(lan, [
    `link add ${host.port} type veth peer name eth0 netns ${host.netns}`,
    `link set ${host.port} master br0 up`,
  ]);
  await ipBatch(host.netns, [
    'link set eth0 up',
    `addr add ${host.addresses[0]}/24 dev eth0`,
    `addr add ${host.addresses[1]}/64 dev eth0 nodad`,
    `route add default via ${lanAddresses[0]}`,
    `-6 route add default via ${lanAddresses[1]}`,
  ]);
}

async function ipBatch(netns: string, lines: readonly string[]): Promise<void> {
  // `-6` is an option of ip itself and may not stand inside a batch.
  const v6 = lines.filter(line => line.startsWith('-6 ')).map(line => line.slice(3));
  const rest = lines.filter(line => !line.startsWith('-6 '));
  await run('ip', ['-n', netns, '-batch', '-'], { input: `${rest.join('\n')}\n` });
  if (v6.length > 0) await run('ip', ['-n', netns, '-6', '-batch', '-'], { input: `${v6.join('\n')}\n` });
}

/** /proc/sys/net shows the namespace of who looks at it. */
async function setSysctls(netns: string, values: Readonly<Record<string, string>>): Promise<void> {
  const script = Object.entries(values)
    .map(([key, value]) => `echo ${value} > /proc/sys/${key}`)
    .join(' && ');
  await run('nsenter', [`--net=${netnsPath(netns)}`, 'sh', '-c', script]);
}
