/**
 * Who reaches whom, with real packets: sockets in every pod's namespace, all probes of a round at once. TCP: a handshake. UDP: a datagram
 * that arrives. SCTP, which kernels may lack: an INIT chunk that arrives at a raw socket.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { inNetworkNamespace } from '@ciliate/kernel';
import { c } from '../../packages/kernel/src/ffi.ts';

export interface ReachPod {
  readonly name: string;
  readonly netns: string;
  /** IPv4. */
  readonly address: string;
}

export interface ReachProbe {
  readonly from: string;
  readonly to: string;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly port: number;
}

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const nonBlocking = 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const TCP_ESTABLISHED = 1;
const IPPROTO_SCTP = 132;
const MSG_DONTWAIT = 0x40;

interface PodSockets {
  readonly pod: ReachPod;
  readonly listeners: readonly number[];
  readonly udp: readonly number[];
  readonly sctp: number;
}

export class Reach {
  readonly #pods = new Map<string, PodSockets>();
  #round = 0;

  constructor(pods: readonly ReachPod[], ports: readonly number[]) {
    for (const pod of pods)
      this.#pods.set(
        pod.name,
        inNetworkNamespace(pod.netns, () => openSockets(pod, ports)),
      );
  }

  close(): void {
    for (const { listeners, udp, sctp } of this.#pods.values())
      for (const fd of [...listeners, ...udp, sctp]) c.close(fd);
    this.#pods.clear();
  }

  /**
   * Which probes got through. Waits until all of `expected` have, `patience` ms at most, and long enough that what nobody stops on one
   * node would have arrived.
   */
  async ask(probes: readonly ReachProbe[], expected: number, patience: number): Promise<readonly boolean[]> {
    this.#round += 1;
    const connections = probes.map((probe, i) => this.#send(probe, i));
    const arrived = new Set<number>();
    const end = Date.now() + patience;
    try {
      do {
        await delay(60);
        this.#collect(connections, arrived);
      } while (arrived.size < expected && Date.now() < end);
    } finally {
      for (const fd of connections) if (fd >= 0) closeAtOnce(fd);
    }
    return probes.map((_probe, i) => arrived.has(i));
  }

  /** The descriptor of a connection being made; -1: nothing to close. */
  #send({ from, to, protocol, port }: ReachProbe, index: number): number {
    const source = this.#sockets(from);
    const target = this.#sockets(to).pod.address;
    const token = Buffer.alloc(8);
    token.writeUInt32BE(this.#round, 0);
    token.writeUInt32BE(index, 4);
    return inNetworkNamespace(source.pod.netns, () => {
      if (protocol === 'SCTP') {
        const name = socketAddress(target, 0);
        const bytes = sctpInit(20_000 + (index % 40_000), port, token);
        c.sendto(source.sctp, bytes, bytes.length, 0, name, name.length);
        return -1;
      }
      const fd = c.socket(AF_INET, (protocol === 'TCP' ? SOCK_STREAM : SOCK_DGRAM) | nonBlocking, 0);
      const name = socketAddress(target, port);
      if (protocol === 'TCP') c.connect(fd, name, name.length);
      else c.sendto(fd, token, token.length, 0, name, name.length);
      return fd;
    });
  }

  #collect(connections: readonly number[], arrived: Set<number>): void {
    connections.forEach((fd, i) => {
      if (fd >= 0 && isEstablished(fd)) arrived.add(i);
    });
    const buffer = Buffer.alloc(256);
    for (const { udp, sctp } of this.#pods.values()) {
      for (const fd of [...udp, sctp]) {
        for (;;) {
          const length = Number(c.recv(fd, buffer, buffer.length, MSG_DONTWAIT));
          if (length < 8) break;
          // The token is last, behind whatever headers a raw socket shows.
          if (buffer.readUInt32BE(length - 8) === this.#round) arrived.add(buffer.readUInt32BE(length - 4));
        }
      }
    }
  }

  #sockets(name: string): PodSockets {
    const found = this.#pods.get(name);
    if (found === undefined) throw new Error(`no pod ${name}`);
    return found;
  }
}

function openSockets(pod: ReachPod, ports: readonly number[]): PodSockets {
  const bound = (type: number, port: number): number => {
    const fd = c.socket(AF_INET, type | nonBlocking, 0);
    const name = socketAddress('0.0.0.0', port);
    if (fd < 0 || c.bind(fd, name, name.length) !== 0) throw new Error(`${pod.name} cannot serve port ${port}`);
    return fd;
  };
  const listeners = ports.map(port => {
    const fd = bound(SOCK_STREAM, port);
    // Nobody accepts: the kernel finishes handshakes by itself as long as there is room.
    if (c.listen(fd, 4096) !== 0) throw new Error(`${pod.name} cannot listen on port ${port}`);
    return fd;
  });
  const sctp = c.socket(AF_INET, SOCK_RAW | nonBlocking, IPPROTO_SCTP);
  if (sctp < 0) throw new Error(`${pod.name}: no raw socket`);
  return { pod, listeners, udp: ports.map(port => bound(SOCK_DGRAM, port)), sctp };
}

function isEstablished(fd: number): boolean {
  const info = new Uint8Array(8);
  const length = new Uint8Array([info.length, 0, 0, 0]);
  // UDP sockets do not know the option.
  return c.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) === 0 && info[0] === TCP_ESTABLISHED;
}

/** By RST, so that no port waits. */
function closeAtOnce(fd: number): void {
  c.setsockopt(fd, SOL_SOCKET, SO_LINGER, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 8);
  c.close(fd);
}

/** struct sockaddr_in. */
function socketAddress(address: string, port: number): Uint8Array {
  const [a = 0, b = 0, d = 0, e = 0] = address.split('.').map(Number);
  return new Uint8Array([AF_INET, 0, port >>> 8, port & 255, a, b, d, e, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/** Common header without checksum, and an INIT chunk with the token as its last parameter (RFC 9260 §3.3.2). */
function sctpInit(source: number, destination: number, token: Uint8Array): Uint8Array {
  const packet = Buffer.alloc(12 + 20 + 4 + 8);
  packet.writeUInt16BE(source, 0);
  packet.writeUInt16BE(destination, 2);
  packet.writeUInt8(1, 12);
  packet.writeUInt16BE(32, 14);
  packet.writeUInt32BE(1, 16);
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt32BE(0x0001_0001, 24);
  packet.writeUInt32BE(1, 28);
  packet.writeUInt16BE(0x8008, 32);
  packet.writeUInt16BE(12, 34);
  packet.set(token, 36);
  return packet;
}
