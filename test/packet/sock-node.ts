/** A node of namespaces and a cgroup of its own, with the socket programs attached and maps that a test fills by hand. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { encodeDatapathConfig, mapSpecs } from '@ciliate/abi';
import {
  AttachType,
  closeFd,
  createLink,
  createNetworkNamespace,
  findCgroupRoot,
  inNetworkNamespace,
  KernelMap,
  type LoadedObject,
  loadObject,
  networkNamespaceCookie,
  removeNetworkNamespace,
} from '@ciliate/kernel';
import { addressBytes, parseAddress } from '@ciliate/model';
import { sh } from '../lib/agent-node.ts';
import type { DialRequest, DialResult, ServeRequest } from './sock-peer.ts';

export const none = new Uint8Array(16);

/** Everything zero but what a test says: a constant per field keeps the codec satisfied. */
export function testConfig(hostNetnsCookie: bigint, flags = 0): Uint8Array {
  return encodeDatapathConfig({
    ...{ abiVersion: 1, flags, routingMode: 0, hostIfindex: 0, overlayIfindex: 0, directIfindex: 0 },
    ...{ nodeIpv4: none, nodeIpv6: none, routerIpv4: none, routerIpv6: none, hairpinIpv4: none, hairpinIpv6: none },
    ...{ hostMac: new Uint8Array(6), mtu: 1500, nodePortMin: 30000, nodePortMax: 32767 },
    ...{ snatPortMin: 1024, snatPortMax: 29999, ctTcpEstablished: 60, ctTcpSyn: 60, ctTcpClosing: 10, ctUdp: 60 },
    ...{ ctOther: 60, maglevSize: 16381, maglevSeed: 0, tunnelPort: 8472, hostNetnsCookie },
  });
}

export const objectPath = (file: string): string =>
  join(process.env.CILIATE_TEST_OBJECTS ?? join(import.meta.dirname, '../../build/bpf'), file);

const attachments = {
  sock4_connect: AttachType.CGROUP_INET4_CONNECT,
  sock6_connect: AttachType.CGROUP_INET6_CONNECT,
  sock4_sendmsg: AttachType.CGROUP_UDP4_SENDMSG,
  sock6_sendmsg: AttachType.CGROUP_UDP6_SENDMSG,
  sock4_recvmsg: AttachType.CGROUP_UDP4_RECVMSG,
  sock6_recvmsg: AttachType.CGROUP_UDP6_RECVMSG,
  sock4_getpeername: AttachType.CGROUP_INET4_GETPEERNAME,
  sock6_getpeername: AttachType.CGROUP_INET6_GETPEERNAME,
  sock4_post_bind: AttachType.CGROUP_INET4_POST_BIND,
  sock6_post_bind: AttachType.CGROUP_INET6_POST_BIND,
} as const;

/** A process of the node, in a namespace. */
export class Peer {
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
  }

  async ask(request: DialRequest | ServeRequest): Promise<DialResult> {
    const replied = once(this.#child, 'message');
    this.#child.send(request);
    const [result] = await replied;
    return result;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

export interface Service {
  readonly host: string;
  readonly port: number;
  readonly proto: number;
  /** Backend ids that take new flows, then those that do so only when there is none of the first. */
  readonly active: readonly number[];
  readonly terminating?: readonly number[];
  readonly revNatId: number;
  /** LbServiceFlags; a ClusterIP unless said. */
  readonly flags?: number;
  /** As of LbKey. */
  readonly scope?: number;
}

export class SockNode {
  readonly #name: string;
  readonly #cgroup: string;
  readonly #peers: Peer[] = [];
  readonly #links: number[] = [];
  readonly #object: LoadedObject;

  /** Makes `<name>` (the node's own namespace) and `<name>-pod`; `down` undoes it. */
  constructor(name: string, flags = 0) {
    const root = findCgroupRoot();
    if (root === undefined) throw new Error('no cgroup v2');
    this.#name = name;
    this.#cgroup = join(root, name);
    mkdirSync(this.#cgroup, { recursive: true });
    for (const path of this.#namespaces()) createNetworkNamespace(path);
    const cookie = inNetworkNamespace(this.netns, networkNamespaceCookie);
    this.#object = loadObject({ path: objectPath('sock.bpf.o'), rodata: testConfig(cookie, flags) });
    const target = openSync(this.#cgroup, 'r');
    for (const [program, type] of Object.entries(attachments)) {
      const fd = this.#object.programs.get(program)?.fd;
      if (fd !== undefined) this.#links.push(createLink({ program: fd, target, type }));
    }
    closeSync(target);
  }

  get netns(): string {
    return `/run/netns/${this.#name}`;
  }

  #namespaces(): readonly string[] {
    return [this.netns, `${this.netns}-pod`];
  }

  get programs(): LoadedObject['programs'] {
    return this.#object.programs;
  }

  #fd(name: keyof typeof mapSpecs): number {
    const fd = this.#object.maps.get(name);
    if (fd === undefined) throw new Error(`${name} is not in the object`);
    return fd;
  }

  /** Makes an address of this node: on its loopback device, and known as the node's own. */
  address(text: string, prefix: number): void {
    const nodad = text.includes(':') ? 'nodad' : '';
    for (const path of this.#namespaces()) {
      sh(`nsenter --net=${path} ip link set lo up
        nsenter --net=${path} ip addr add ${text}/${prefix} dev lo ${nodad}`);
    }
    new KernelMap(this.#fd('endpoints'), mapSpecs.endpoints).put(
      { address: addressBytes(parseAddress(text)) },
      {
        ifindex: 0,
        identity: 1,
        id: 0,
        flags: 1,
        mac: new Uint8Array(6),
        nodeMac: new Uint8Array(6),
        policyGroup: 0,
        policyRevision: 0,
      },
    );
  }

  remoteNode(text: string): void {
    new KernelMap(this.#fd('ipcache'), mapSpecs.ipcache).put(
      { prefixlen: 128, address: addressBytes(parseAddress(text)) },
      { identity: 6, tunnelEndpoint: none, flags: 1 },
    );
  }

  backend(id: number, host: string, port: number, proto: number): void {
    new KernelMap(this.#fd('lb_backends'), mapSpecs.lb_backends).put(id, {
      ...{ address: addressBytes(parseAddress(host)), port, proto, flags: 1, pad: 0 },
    });
  }

  service(service: Service): void {
    const services = new KernelMap(this.#fd('lb_services'), mapSpecs.lb_services);
    const address = addressBytes(parseAddress(service.host));
    const { active, terminating = [], proto, revNatId, flags = 1, scope = 0 } = service;
    const key = { address, dport: service.port, proto, scope };
    [...active, ...terminating].forEach((backendId, index) => {
      services.put({ ...key, backendSlot: index + 1 }, { backendId, count: 0, revNatId, flags, qcount: 0 });
    });
    const counts = { count: active.length, qcount: terminating.length };
    services.put({ ...key, backendSlot: 0 }, { backendId: 0, ...counts, revNatId, flags });
    new KernelMap(this.#fd('lb_revnat'), mapSpecs.lb_revnat).put(revNatId, { address, port: service.port });
  }

  /** Sockets of the pod pass a local redirect. */
  skip(host: string, port: number, proto: number): void {
    const netnsCookie = inNetworkNamespace(`${this.netns}-pod`, networkNamespaceCookie);
    const key = { netnsCookie, address: addressBytes(parseAddress(host)), port, proto, endpointId: 0 };
    new KernelMap(this.#fd('lb_skip'), mapSpecs.lb_skip).put(key, { present: 1 });
  }

  /** What user space removes last of a service: from then on nothing is said in its name. */
  forget(revNatId: number): void {
    new KernelMap(this.#fd('lb_revnat'), mapSpecs.lb_revnat).remove(revNatId);
  }

  /** Starts a process in the node's namespace or the pod's. */
  async peer(where: 'node' | 'pod'): Promise<Peer> {
    const netns = where === 'node' ? this.netns : `${this.netns}-pod`;
    const script = 'echo 0 > "$1/cgroup.procs" && exec nsenter --net="$2" "$3" "$4"';
    const child = spawn(
      '/bin/sh',
      ['-c', script, 'sh', this.#cgroup, netns, process.execPath, join(import.meta.dirname, 'sock-peer.ts')],
      { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    );
    const peer = new Peer(child);
    this.#peers.push(peer);
    await once(child, 'message');
    return peer;
  }

  async down(): Promise<void> {
    for (const peer of this.#peers) await peer.stop();
    for (const link of this.#links) closeFd(link);
    this.#object.close();
    for (const path of this.#namespaces()) removeNetworkNamespace(path);
    rmdirSync(this.#cgroup);
  }
}
