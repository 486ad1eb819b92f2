/**
 * A node with two native devices, in a namespace of its own, on which the same packets can go two ways: through from_netdev alone, or through
 * xdp_netdev and what it passes on through from_netdev. The maps of each way are its own.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type DatapathConfig,
  DropReason,
  LbServiceFlags,
  type MapSpec,
  mapSpecs,
  type NetdevEntry,
  NetdevFlags,
} from '@ciliate/abi';
import { maglevCodec } from '@ciliate/datapath';
import {
  AttachType,
  closeFd,
  createLink,
  createNetworkNamespace,
  findLink,
  inNetworkNamespace,
  KernelMap,
  KernelMapOfMaps,
  KernelPerCpuMap,
  type LoadedObject,
  loadObject,
  NetlinkSocket,
  removeNetworkNamespace,
  testRun,
  XDP_FLAGS_DRV_MODE,
} from '@ciliate/kernel';
import { address, fullConfig, objectPath } from './config.ts';

export const world = {
  node: { 4: '172.30.0.11', 6: 'fd00:172:30::11' },
  /** Of the second device. */
  other: { 4: '172.31.0.11', 6: 'fd00:172:31::11' },
  /** Another node, behind the first device, with pods 10.244.2.0/24 and fd00:10:244:2::/64. */
  peer: { 4: '172.30.0.12', 6: 'fd00:172:30::12' },
  /** Outside, behind a router on the first device. */
  client: { 4: '192.0.2.9', 6: '2001:db8::9' },
  /** Outside, behind the second device. */
  far: { 4: '198.51.100.7', 6: '2001:db8:1::7' },
  /** A pod of this node, and one of the other. */
  pod: { 4: '10.244.1.5', 6: 'fd00:10:244:1::5' },
  remote: { 4: '10.244.2.5', 6: 'fd00:10:244:2::5' },
  vip: { 4: '203.0.113.1', 6: '2001:db8:ffff::1' },
} as const;
export type Family = 4 | 6;

const macOf = {
  eth0: '02:00:00:00:00:e0',
  eth1: '02:00:00:00:00:e1',
  router: '02:00:00:00:00:01',
  peer: '02:00:00:00:00:02',
};
export const macs = { ...macOf, far: '02:00:00:00:00:03' };

/** eth0 and eth1 are veths; who is behind them does not exist, its MAC is known all the same. */
const network = `
ip link set lo up
ip link add eth0 address ${macs.eth0} type veth peer name peer0; ip link add eth1 address ${macs.eth1} type veth peer name peer1
for device in eth0 eth1 peer0 peer1; do sysctl -qw net.ipv6.conf.$device.accept_dad=0; ip link set $device up; done
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip addr add ${world.node[4]}/24 dev eth0; ip addr add ${world.node[6]}/64 dev eth0 nodad
ip addr add ${world.other[4]}/24 dev eth1; ip addr add ${world.other[6]}/64 dev eth1 nodad
ip route add default via 172.30.0.1; ip -6 route add default via fd00:172:30::1
ip route add 198.51.100.0/24 via 172.31.0.1; ip -6 route add 2001:db8:1::/48 via fd00:172:31::1
ip route add 10.244.2.0/24 via ${world.peer[4]}; ip -6 route add fd00:10:244:2::/64 via ${world.peer[6]}
for a in 172.30.0.1 fd00:172:30::1; do ip neigh add $a lladdr ${macs.router} dev eth0; done
for a in ${world.peer[4]} ${world.peer[6]}; do ip neigh add $a lladdr ${macs.peer} dev eth0; done
for a in 172.31.0.1 fd00:172:31::1; do ip neigh add $a lladdr ${macs.far} dev eth1; done
`;

export interface Outcome {
  readonly by: 'xdp' | 'tc';
  /** 'pass': none of ours, or the stack's. */
  readonly verdict: 'sent' | 'dropped' | 'pass';
  /** Name of the drop reason, '' without. */
  readonly dropped: string;
  readonly frame: Buffer;
}

const tcVerdicts: Readonly<Record<number, Outcome['verdict']>> = { [-1]: 'pass', 0: 'pass', 2: 'dropped', 7: 'sent' };
const xdpVerdicts: Readonly<Record<number, Outcome['verdict']>> = { 1: 'dropped', 2: 'pass', 3: 'sent', 4: 'sent' };

export interface ServiceOptions {
  readonly flags?: number;
  readonly proto?: number;
  readonly maglev?: Uint32Array;
  readonly affinity?: number;
}

export class Way {
  readonly #namespace: string;
  readonly #objects: ReadonlyMap<string, LoadedObject>;
  readonly #maps = new Map<string, number>();
  #ifindex: Readonly<Record<'eth0' | 'eth1', number>>;

  constructor(namespace: string, files: readonly string[], pins: string, config: Partial<DatapathConfig>) {
    this.#namespace = namespace;
    mkdirSync(pins);
    const rodata = fullConfig({ hostIfindex: 999, overlayIfindex: 1, ...config });
    const innerValueSize = { lb_maglev: (config.maglevSize ?? 16_381) * 4 };
    this.#objects = new Map(
      files.map(file => [file, loadObject({ path: objectPath(file), rodata, mapPinDir: pins, innerValueSize })]),
    );
    for (const object of this.#objects.values()) for (const [name, fd] of object.maps) this.#maps.set(name, fd);
    const socket = new NetlinkSocket(namespace);
    this.#ifindex = { eth0: findLink(socket, 'eth0')?.ifindex ?? 0, eth1: findLink(socket, 'eth1')?.ifindex ?? 0 };
    socket.close();
    this.#describeNode();
  }

  map<K, V>(spec: MapSpec<K, V>): KernelMap<K, V> {
    return new KernelMap(this.#maps.get(spec.name) ?? -1, spec);
  }

  fd(map: string): number {
    return this.#maps.get(map) ?? -1;
  }

  /** What the map says of a device. */
  netdev(device: 'eth0' | 'eth1', more: Partial<NetdevEntry>): void {
    this.map(mapSpecs.netdevs).put({ ifindex: this.#ifindex[device] }, this.#netdevEntry(device, more));
  }

  #netdevEntry(device: 'eth0' | 'eth1', more: Partial<NetdevEntry>): NetdevEntry {
    const at = device === 'eth0' ? world.node : world.other;
    const { NETDEV_XDP_XMIT, NETDEV_XDP_XMIT_SG, NETDEV_XDP_TX } = NetdevFlags;
    return {
      ipv4: address(at[4]),
      ipv6: address(at[6]),
      mac: Buffer.from(macs[device].replaceAll(':', ''), 'hex'),
      l3: 0,
      flags: NETDEV_XDP_XMIT | NETDEV_XDP_XMIT_SG | NETDEV_XDP_TX,
      ...more,
    };
  }

  /** Of xdp_netdev. */
  program(): number {
    return this.#program('xdp_netdev') ?? -1;
  }

  #program(name: string): number | undefined {
    for (const { programs } of this.#objects.values()) {
      const found = programs.get(name);
      if (found !== undefined) return found.fd;
    }
    return undefined;
  }

  #describeNode(): void {
    const none = new Uint8Array(16);
    this.netdev('eth0', {});
    this.netdev('eth1', {});
    for (const family of [4, 6] as const) {
      for (const own of [world.node[family], world.other[family]]) {
        this.map(mapSpecs.endpoints).put(
          { address: address(own) },
          { ifindex: 0, identity: 1, id: 1, flags: 1, mac: none, nodeMac: none, policyGroup: 0, policyRevision: 0 },
        );
      }
      this.map(mapSpecs.endpoints).put(
        { address: address(world.pod[family]) },
        {
          ifindex: 1,
          identity: 1005,
          id: 5,
          flags: 0,
          mac: new Uint8Array([2, 0, 0, 0, 0, 5]),
          nodeMac: new Uint8Array([2, 0, 0, 0, 0, 0xee]),
          policyGroup: 0,
          policyRevision: 0,
        },
      );
      for (const node of [world.node[family], world.peer[family]])
        this.map(mapSpecs.nodes).put({ address: address(node) }, { id: 1, flags: 0 });
      this.map(mapSpecs.ipcache).put(
        { prefixlen: family === 4 ? 96 + 24 : 64, address: address(family === 4 ? '10.244.2.0' : 'fd00:10:244:2::') },
        { identity: 2000, tunnelEndpoint: address(world.peer[4]), flags: 1 },
      );
    }
  }

  /** The other node is reached by the overlay under this address; both families of pods. */
  tunnelTo(endpoint: string): void {
    for (const [prefixlen, prefix] of [
      [96 + 24, '10.244.2.0'],
      [64, 'fd00:10:244:2::'],
    ] as const)
      this.map(mapSpecs.ipcache).put(
        { prefixlen, address: address(prefix) },
        { identity: 2000, tunnelEndpoint: address(endpoint), flags: 1 },
      );
  }

  /** A frontend with its backends; the id of backend i is 100 × `id` + i. */
  service(
    id: number,
    ip: string,
    port: number,
    backends: readonly (readonly [string, number])[],
    options: ServiceOptions = {},
  ): void {
    const { proto = 6, maglev, affinity = 0 } = options;
    const own =
      (maglev === undefined ? 0 : LbServiceFlags.LB_SVC_MAGLEV) | (affinity === 0 ? 0 : LbServiceFlags.LB_SVC_AFFINITY);
    const flags = (options.flags ?? LbServiceFlags.LB_SVC_NODE_PORT | LbServiceFlags.LB_SVC_ROUTABLE) | own;
    const key = { address: address(ip), dport: port, proto, scope: 0 };
    this.map(mapSpecs.lb_revnat).put(id, { address: address(ip), port });
    backends.forEach(([backend, backendPort], index) => {
      const backendId = id * 100 + index;
      this.map(mapSpecs.lb_backends).put(backendId, { address: address(backend), port: backendPort, proto, flags: 1 });
      const slot = { backendId, count: 0, revNatId: id, flags, qcount: 0 };
      this.map(mapSpecs.lb_services).put({ ...key, backendSlot: index + 1 }, slot);
      this.map(mapSpecs.lb_affinity_match).put({ backendId, revNatId: id }, { present: 1 });
    });
    if (maglev !== undefined) {
      const inner = { ...mapSpecs.lb_maglev.inner, value: maglevCodec(maglev.length) };
      new KernelMapOfMaps(this.#maps.get('lb_maglev') ?? -1, mapSpecs.lb_maglev, inner).replace(id, [[0, maglev]]);
    }
    const master = { backendId: affinity, count: backends.length, revNatId: id, flags, qcount: 0 };
    this.map(mapSpecs.lb_services).put({ ...key, backendSlot: 0 }, master);
  }

  #drops(): ReadonlyMap<number, bigint> {
    const entries = [...new KernelPerCpuMap(this.#maps.get('metrics') ?? -1, mapSpecs.metrics).entries()];
    const found = new Map<number, bigint>();
    for (const [key, values] of entries) {
      if (key.reason === 0) continue;
      const packets = values.reduce((total, value) => total + value.packets, found.get(key.reason) ?? 0n);
      found.set(key.reason, packets);
    }
    return found;
  }

  #one(program: number, context: Uint8Array, frame: Buffer): { readonly verdict: number; readonly frame: Buffer } {
    const result = inNetworkNamespace(this.#namespace, () => testRun(program, { data: frame, context }));
    return { verdict: result.retval | 0, frame: Buffer.from(result.data) };
  }

  /** A frame that comes in by a device: XDP first where this way has it, unless `skip` says that its program is off just now. */
  receive(frame: Buffer, device: 'eth0' | 'eth1' = 'eth0', skip = false): Outcome {
    const first = skip ? undefined : this.onlyXdp(frame, device);
    if (first !== undefined) return first;
    const context = Buffer.alloc(192);
    context.writeUInt32LE(this.#ifindex[device], 40);
    const before = this.#drops();
    const { verdict, frame: after } = this.#one(this.#program('from_netdev') ?? -1, context, frame);
    return { by: 'tc', verdict: tcVerdicts[verdict] ?? 'dropped', dropped: this.#reasonSince(before), frame: after };
  }

  /** Undefined: XDP passes it on, as it came; or this way has no XDP. */
  onlyXdp(frame: Buffer, device: 'eth0' | 'eth1'): Outcome | undefined {
    const program = this.#program('xdp_netdev');
    if (program === undefined) return undefined;
    const context = Buffer.alloc(24);
    context.writeUInt32LE(frame.length, 4);
    context.writeUInt32LE(this.#ifindex[device], 12);
    const before = this.#drops();
    const { verdict: number, frame: after } = this.#one(program, context, frame);
    const verdict = xdpVerdicts[number];
    assert.ok(verdict !== undefined, `xdp_netdev: verdict ${number}`);
    if (verdict !== 'pass') return { by: 'xdp', verdict, dropped: this.#reasonSince(before), frame: after };
    assert.deepEqual(after, frame, 'what XDP passes on is as it came');
    return undefined;
  }

  #reasonSince(before: ReadonlyMap<number, bigint>): string {
    const counted = [...this.#drops()].find(([key, packets]) => packets !== before.get(key))?.[0];
    return Object.entries(DropReason).find(([, value]) => value === counted)?.[0] ?? '';
  }

  /** So many frames as a card brings them, by no device that we know but `lo`: what is sent on really leaves. */
  receiveLive(frame: Buffer, count: number): void {
    const call = { data: frame, repeat: count, liveFrames: count };
    this.map(mapSpecs.netdevs).put({ ifindex: 1 }, this.#netdevEntry('eth0', {}));
    inNetworkNamespace(this.#namespace, () => testRun(this.program(), call));
  }

  ifindex(device: 'eth0' | 'eth1'): number {
    return this.#ifindex[device];
  }

  close(): void {
    for (const object of this.#objects.values()) object.close();
  }
}

export class XdpWorld {
  readonly namespace: string;
  readonly tc: Way;
  readonly xdp: Way;
  readonly #folder: string;
  readonly #links: number[] = [];

  constructor(config: Partial<DatapathConfig> = {}) {
    this.namespace = `/run/netns/xdp-world-${process.pid}-${Math.random().toString(36).slice(2, 6)}`;
    this.#folder = mkdtempSync(join(tmpdir(), 'ciliate-xdp-'));
    execFileSync('mount', ['-t', 'bpf', 'bpf', this.#folder]);
    createNetworkNamespace(this.namespace);
    this.run(network);
    this.tc = new Way(this.namespace, ['host.bpf.o'], join(this.#folder, 'tc'), config);
    this.xdp = new Way(this.namespace, ['xdp.bpf.o', 'host.bpf.o'], join(this.#folder, 'xdp'), config);
    // A test run by a device takes a receive queue that is made for XDP.
    for (const device of ['eth0', 'eth1'] as const) {
      const attachment = {
        program: this.xdp.program(),
        target: this.xdp.ifindex(device),
        type: AttachType.XDP,
        flags: XDP_FLAGS_DRV_MODE,
      };
      this.#links.push(inNetworkNamespace(this.namespace, () => createLink(attachment)));
    }
  }

  get ways(): readonly Way[] {
    return [this.tc, this.xdp];
  }

  /** A script inside the namespace. */
  run(script: string): void {
    execFileSync('nsenter', [`--net=${this.namespace}`, 'sh', '-ec', script]);
  }

  /** Packets that have come in by a device of the namespace. */
  received(device: string): number {
    const words = [`--net=${this.namespace}`, 'ip', '-json', '-statistics', 'link', 'show', device];
    const [link] = JSON.parse(execFileSync('nsenter', words, { encoding: 'utf8' })) as {
      readonly stats64: { readonly rx: { readonly packets: number } };
    }[];
    return link?.stats64.rx.packets ?? -1;
  }

  close(): void {
    for (const link of this.#links) closeFd(link);
    this.tc.close();
    this.xdp.close();
    removeNetworkNamespace(this.namespace);
    execFileSync('umount', [this.#folder]);
    rmSync(this.#folder, { recursive: true });
  }
}
