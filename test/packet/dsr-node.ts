/** A node of direct server return: the programs of its devices and of its pods on the same maps, in a namespace with routes. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { ConfigFlags, DropReason, EndpointFlags, LbServiceFlags, type MapSpec, mapSpecs } from '@ciliate/abi';
import {
  createNetworkNamespace,
  inNetworkNamespace,
  KernelMap,
  KernelPerCpuMap,
  type LoadedObject,
  loadObject,
  removeNetworkNamespace,
  testRun,
} from '@ciliate/kernel';
import { sh } from '../lib/agent-node.ts';
import { address, fullConfig, objectPath } from './config.ts';
import { mac } from './frame.ts';
import { packetText } from './packet-text.ts';
import { runPacket } from './run-packet.ts';

export type Program = 'from_netdev' | 'to_netdev' | 'from_container';

export interface DsrOptions {
  readonly addresses: readonly [ipv4: string, ipv6: string];
  readonly ipip?: boolean;
  readonly overlay?: boolean;
}

export interface Ran {
  readonly verdict: string;
  readonly dropped: string;
  readonly frame: Buffer;
}

const { CONFIG_DSR, CONFIG_DSR_IPIP, CONFIG_HOST_FIREWALL } = ConfigFlags;
const verdicts: Readonly<Record<number, string>> = { [-1]: 'unspec', 0: 'stack', 2: 'drop', 7: 'redirect' };
const basicFlags = 0x3f;
let made = 0;

export class DsrNode {
  readonly #objects: readonly LoadedObject[];
  readonly #namespace: string;
  readonly #pins: string;

  constructor({ addresses, ipip = false, overlay = false }: DsrOptions) {
    made += 1;
    const name = `dsr-${process.pid}-${made}`;
    this.#namespace = `/run/netns/${name}`;
    this.#pins = `/sys/fs/bpf/${name}`;
    createNetworkNamespace(this.#namespace);
    inNetworkNamespace(this.#namespace, () => {
      const [ipv4, ipv6] = addresses;
      sh(`
        sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        ip link add eth0 index 100 mtu 1500 type veth peer name wire
        ip link set wire up
        ip link set eth0 up
        ip addr add ${ipv4}/24 dev eth0
        ip addr add ${ipv6}/64 dev eth0 nodad
        ip route add default via 172.30.0.1 dev eth0
        ip -6 route add default via fd00:172:30::1 dev eth0
      `);
    });
    mkdirSync(this.#pins);
    const rodata = fullConfig({
      flags: basicFlags | CONFIG_DSR | CONFIG_HOST_FIREWALL | (ipip ? CONFIG_DSR_IPIP : 0),
      routingMode: overlay ? 1 : 0,
      nodeIpv4: address(addresses[0]),
      nodeIpv6: address(addresses[1]),
    });
    this.#objects = ['host.bpf.o', 'lxc.bpf.o'].map(file =>
      loadObject({ path: objectPath(file), mapPinDir: this.#pins, rodata }),
    );
    for (const one of addresses) this.endpoint(one, 1, EndpointFlags.ENDPOINT_HOST);
  }

  map<K, V>(spec: MapSpec<K, V>): KernelMap<K, V> {
    return new KernelMap(this.#fd(spec.name), spec);
  }

  #fd(name: string): number {
    const fd = this.#objects[0]?.maps.get(name) ?? this.#objects[1]?.maps.get(name);
    assert.ok(fd !== undefined, name);
    return fd;
  }

  endpoint(ip: string, id: number, flags = 0): void {
    const about = {
      identity: 1000 + id,
      id,
      flags,
      mac: mac(id),
      nodeMac: mac(0xee),
      policyGroup: 0,
      policyRevision: 0,
    };
    this.map(mapSpecs.endpoints).put({ address: address(ip) }, { ...about, ifindex: flags === 0 ? 1 : 0 });
  }

  node(...addresses: readonly string[]): void {
    for (const one of addresses) {
      this.map(mapSpecs.nodes).put({ address: address(one) }, { id: 1, flags: 0 });
      this.inCluster(one);
    }
  }

  inCluster(ip: string, tunnel = ''): void {
    const tunnelEndpoint = tunnel === '' ? new Uint8Array(16) : address(tunnel);
    this.map(mapSpecs.ipcache).put({ prefixlen: 128, address: address(ip) }, { identity: 6, tunnelEndpoint, flags: 1 });
  }

  /** A frontend of one backend elsewhere. `managed` 0: of nobody that we know. */
  service(frontend: string, proto: number, backend: string, managed = 1): void {
    const [id, port, backendPort] = [9, 80, 8080];
    const flags = LbServiceFlags.LB_SVC_LOAD_BALANCER | LbServiceFlags.LB_SVC_ROUTABLE | LbServiceFlags.LB_SVC_DSR;
    const key = { address: address(frontend), dport: port, proto, scope: 0 };
    const value = { backendId: 900, revNatId: id, flags, qcount: 0 };
    this.map(mapSpecs.lb_revnat).put(id, { address: address(frontend), port });
    this.map(mapSpecs.lb_backends).put(900, { address: address(backend), port: backendPort, proto, flags: managed });
    this.map(mapSpecs.lb_services).put({ ...key, backendSlot: 1 }, { ...value, count: 0 });
    this.map(mapSpecs.lb_services).put({ ...key, backendSlot: 0 }, { ...value, backendId: 0, count: 1 });
  }

  /** Flows of other nodes to the frontend may end at the backend. */
  serves(frontend: string, port: number, proto: number, backend: string, backendPort = 8080): void {
    const key = { frontend: address(frontend), backend: address(backend), port, proto };
    this.map(mapSpecs.lb_dsr).put(key, { backendPort });
  }

  clear(): void {
    this.#empty(mapSpecs.lb_services);
    this.#empty(mapSpecs.lb_backends);
    this.#empty(mapSpecs.lb_dsr);
    this.#empty(mapSpecs.ct);
    this.#empty(mapSpecs.nat);
  }

  #empty<K, V>(spec: MapSpec<K, V>): void {
    const map = this.map(spec);
    for (const key of [...map.keys()]) map.remove(key);
  }

  /** `cut`: the program shortens the packet to an answer, and its sum counts no more. */
  run(name: Program, packet: Buffer, cut = false): Ran {
    const program = this.#objects.map(object => object.programs.get(name)).find(one => one !== undefined);
    assert.ok(program !== undefined, name);
    const context = Buffer.alloc(192);
    const before = this.#drops();
    const { retval, data } = inNetworkNamespace(this.#namespace, () => {
      // from_container compares the device with that of the endpoint, which is the loopback here.
      context.writeUInt32LE(name === 'from_container' ? 1 : 100, 40);
      return cut ? testRun(program.fd, { data: packet, context }) : runPacket(program.fd, { data: packet, context });
    });
    const reason = [...this.#drops()].find(([key, packets]) => packets !== before.get(key))?.[0];
    const dropped = Object.entries(DropReason).find(([, value]) => value === reason)?.[0] ?? '';
    return { verdict: verdicts[retval | 0] ?? String(retval), dropped, frame: Buffer.from(data) };
  }

  #drops(): ReadonlyMap<number, bigint> {
    const entries = [...new KernelPerCpuMap(this.#fd('metrics'), mapSpecs.metrics).entries()];
    return new Map(
      entries
        .filter(([key]) => key.reason !== 0)
        .map(([key, values]) => [key.reason, values.reduce((sum, value) => sum + value.packets, 0n)]),
    );
  }

  close(): void {
    for (const object of this.#objects) object.close();
    rmSync(this.#pins, { recursive: true, force: true });
    removeNetworkNamespace(this.#namespace);
  }
}

/** Lines of packetText without that of Ethernet. */
export const textOf = (frame: Buffer): string => packetText(frame).split('\n').slice(1).join('\n');
