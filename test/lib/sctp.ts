/** SCTP by raw sockets, for kernels without it: a server that answers INIT with INIT-ACK, and a client that asks. */
import { inNetworkNamespace } from '@ciliate/kernel';
import { addressBytes, addressFromBytes, parseAddress } from '@ciliate/model';
import koffi from 'koffi';
import { c } from '../../packages/kernel/src/ffi.ts';
import { sealSctp } from '../packet/crc32c.ts';

const [AF_INET, AF_INET6, SOCK_RAW, IPPROTO_SCTP] = [2, 10, 3, 132];
const nonBlocking = 0o4000 | 0o2000000;
const [INIT, INIT_ACK] = [1, 2];

const recvfrom = koffi
  .load('libc.so.6')
  .func('long recvfrom(int fd, void *data, size_t length, int flags, void *address, void *alen)') as (
  fd: number,
  data: Uint8Array,
  length: number,
  flags: number,
  address: Uint8Array,
  addressLength: Uint8Array,
) => number;

export interface SctpPacket {
  readonly from: string;
  readonly sport: number;
  readonly dport: number;
  readonly chunk: number;
  readonly checksumIsRight: boolean;
}

/** A raw socket of one family in a network namespace. */
export class SctpSocket {
  readonly #fd: number;
  readonly #netns: string;
  readonly #isV6: boolean;

  constructor(netns: string, isV6: boolean) {
    this.#netns = netns;
    this.#isV6 = isV6;
    const family = isV6 ? AF_INET6 : AF_INET;
    this.#fd = inNetworkNamespace(netns, () => c.socket(family, SOCK_RAW | nonBlocking, IPPROTO_SCTP));
    if (this.#fd < 0) throw new Error(`no raw socket in ${netns}`);
  }

  send(to: string, sport: number, dport: number, chunk: number, payload: number): void {
    const packet = Buffer.alloc(16 + payload, 0x5a);
    packet.writeUInt16BE(sport, 0);
    packet.writeUInt16BE(dport, 2);
    // The verification tag is the initiate tag of the other side's INIT: the first bytes of its payload. Conntrack looks at it.
    packet.writeUInt32BE(chunk === INIT ? 0 : 0x5a5a_5a5a, 4);
    packet[12] = chunk;
    packet[13] = 0;
    packet.writeUInt16BE(4 + payload, 14);
    sealSctp(packet);
    const name = new Uint8Array(this.#isV6 ? 28 : 16);
    name[0] = this.#isV6 ? AF_INET6 : AF_INET;
    const bytes = addressBytes(parseAddress(to));
    name.set(this.#isV6 ? bytes : bytes.subarray(12), this.#isV6 ? 8 : 4);
    inNetworkNamespace(this.#netns, () => c.sendto(this.#fd, packet, packet.length, 0, name, name.length));
  }

  /** What has come since the last call. */
  receive(): readonly SctpPacket[] {
    const packets: SctpPacket[] = [];
    const buffer = Buffer.alloc(4096);
    for (;;) {
      const name = Buffer.alloc(28);
      const length = Number(recvfrom(this.#fd, buffer, buffer.length, 0x40, name, new Uint8Array([28, 0, 0, 0])));
      if (length < 0) return packets;
      const header = this.#isV6 ? 0 : ((buffer[0] ?? 0) & 15) * 4;
      const packet = Buffer.from(buffer.subarray(header, length));
      if (packet.length < 16) continue;
      const address = this.#isV6
        ? name.subarray(8, 24)
        : Buffer.concat([Buffer.from('00000000000000000000ffff', 'hex'), name.subarray(4, 8)]);
      packets.push({
        from: addressFromBytes(address),
        sport: packet.readUInt16BE(0),
        dport: packet.readUInt16BE(2),
        chunk: packet[12] ?? 0,
        checksumIsRight: sealSctp(Buffer.from(packet)).equals(packet),
      });
    }
  }

  close(): void {
    c.close(this.#fd);
  }
}

/** Answers each INIT to its port; remembers who asked. */
export class SctpServer {
  readonly #socket: SctpSocket;
  readonly #port: number;
  readonly #timer: NodeJS.Timeout;
  readonly clients: SctpPacket[] = [];

  constructor(netns: string, isV6: boolean, port: number) {
    this.#socket = new SctpSocket(netns, isV6);
    this.#port = port;
    this.#timer = setInterval(() => this.#answer(), 5);
  }

  #answer(): void {
    for (const packet of this.#socket.receive()) {
      if (packet.dport !== this.#port || packet.chunk !== INIT) continue;
      this.clients.push(packet);
      this.#socket.send(packet.from, packet.dport, packet.sport, INIT_ACK, 40);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.close();
  }
}

/** The INIT-ACK that answers an INIT; undefined: none within `patience` ms. */
export async function dialSctp(
  netns: string,
  to: string,
  dport: number,
  sport: number,
  patience = 2000,
): Promise<SctpPacket | undefined> {
  const socket = new SctpSocket(netns, to.includes(':'));
  try {
    socket.send(to, sport, dport, INIT, 16);
    for (const end = Date.now() + patience; Date.now() < end; ) {
      await new Promise(resolve => setTimeout(resolve, 10));
      const answer = socket.receive().find(packet => packet.dport === sport && packet.chunk === INIT_ACK);
      if (answer !== undefined) return answer;
    }
    return undefined;
  } finally {
    socket.close();
  }
}
