/** Packets as tests write them: layers in a row; lengths, protocol numbers and checksums are filled in. */
import { addressBytes, parseAddress } from '@ciliate/model';
import { sealSctp } from './crc32c.ts';

export const macs = { source: '02:00:00:00:00:0a', destination: '02:00:00:00:00:01' };

/** RFC 1071: ones' complement sum; 0 over a range that holds a right checksum. */
export function checksum(...parts: readonly Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** 4 or 16 bytes as on the wire. */
function wire(text: string): Buffer {
  const bytes = Buffer.from(addressBytes(parseAddress(text)));
  return text.includes(':') ? bytes : bytes.subarray(12);
}

/** What L4 checksums cover besides their own bytes (RFC 9293 3.1, RFC 8200 8.1). */
export function pseudoHeader(source: Uint8Array, destination: Uint8Array, proto: number, length: number): Buffer {
  const tail = Buffer.alloc(source.length === 4 ? 4 : 8);
  if (source.length === 4) tail.set([0, proto, length >>> 8, length & 0xff]);
  else tail.set([0, 0, length >>> 8, length & 0xff, 0, 0, 0, proto]);
  return Buffer.concat([source, destination, tail]);
}

interface Ip {
  readonly source: Buffer;
  readonly destination: Buffer;
}

/** One header: `kind` is the EtherType or protocol number by which the header before names it. */
interface Layer {
  readonly kind: number;
  write(payload: Buffer, next: number): Buffer;
}

export interface IpOptions {
  readonly ttl?: number;
  readonly id?: number;
  /** Of 8 bytes. */
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
  /** When no layer of ours follows. */
  readonly proto?: number;
}

const flagBits = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;
/** 'SYN', 'SYN,ACK'. */
function tcpFlags(text: string): number {
  return Object.entries(flagBits).reduce((sum, [name, bit]) => (text.split(',').includes(name) ? sum | bit : sum), 0);
}

function ipv4Layer(ip: Ip, options: IpOptions): Layer {
  const write = (payload: Buffer, next: number): Buffer => {
    const header = Buffer.alloc(20);
    header[0] = 0x45;
    header.writeUInt16BE(20 + payload.length, 2);
    header.writeUInt16BE(options.id ?? 0, 4);
    header.writeUInt16BE((options.moreFragments === true ? 0x2000 : 0) | (options.fragmentOffset ?? 0), 6);
    header.set([options.ttl ?? 64, options.proto ?? next], 8);
    header.set(ip.source, 12);
    header.set(ip.destination, 16);
    header.writeUInt16BE(checksum(header), 10);
    return Buffer.concat([header, payload]);
  };
  return { kind: 0x0800, write };
}

function ipv6Layer(ip: Ip, options: IpOptions): Layer {
  const write = (payload: Buffer, next: number): Buffer => {
    const header = Buffer.alloc(40);
    header[0] = 0x60;
    header.writeUInt16BE(payload.length, 4);
    header.set([options.proto ?? next, options.ttl ?? 64], 6);
    header.set(ip.source, 8);
    header.set(ip.destination, 24);
    return Buffer.concat([header, payload]);
  };
  return { kind: 0x86dd, write };
}

/** Fills the checksum at `at` of an L4 segment. */
function sealed(bytes: Buffer, at: number, proto: number, ip: Ip | undefined): Buffer {
  const pseudo = ip === undefined ? Buffer.alloc(0) : pseudoHeader(ip.source, ip.destination, proto, bytes.length);
  bytes.writeUInt16BE(checksum(pseudo, bytes), at);
  return bytes;
}

export class Packet {
  readonly #layers: readonly Layer[];
  readonly #ip: Ip | undefined;

  constructor(layers: readonly Layer[], ip?: Ip) {
    this.#layers = layers;
    this.#ip = ip;
  }

  #with(layer: Layer, ip: Ip | undefined = this.#ip): Packet {
    return new Packet([...this.#layers, layer], ip);
  }

  ipv4(source: string, destination: string, options: IpOptions = {}): Packet {
    const ip = { source: wire(source), destination: wire(destination) };
    return this.#with(ipv4Layer(ip, options), ip);
  }

  ipv6(source: string, destination: string, options: IpOptions = {}): Packet {
    const ip = { source: wire(source), destination: wire(destination) };
    return this.#with(ipv6Layer(ip, options), ip);
  }

  /** Either family, as the addresses say. */
  ip(source: string, destination: string, options: IpOptions = {}): Packet {
    return source.includes(':') ? this.ipv6(source, destination, options) : this.ipv4(source, destination, options);
  }

  tcp(source: number, destination: number, flags: string, payload = ''): Packet {
    const write = (): Buffer => {
      const header = Buffer.alloc(20);
      header.writeUInt16BE(source, 0);
      header.writeUInt16BE(destination, 2);
      header.set([0x50, tcpFlags(flags), 0xff, 0xff], 12);
      return sealed(Buffer.concat([header, Buffer.from(payload)]), 16, 6, this.#ip);
    };
    return this.#with({ kind: 6, write });
  }

  udp(source: number, destination: number, payload: string | Uint8Array = ''): Packet {
    const write = (): Buffer => {
      const header = Buffer.alloc(8);
      header.writeUInt16BE(source, 0);
      header.writeUInt16BE(destination, 2);
      header.writeUInt16BE(8 + payload.length, 4);
      const rest = typeof payload === 'string' ? Buffer.from(payload) : payload;
      return sealed(Buffer.concat([header, rest]), 6, 17, this.#ip);
    };
    return this.#with({ kind: 17, write });
  }

  /** One chunk: 1 INIT, 0 DATA … `sealed` false: the checksum is left to a device, and 0 until then. */
  sctp(
    source: number,
    destination: number,
    chunk: number,
    payload: Uint8Array = Buffer.alloc(0),
    sealed = true,
  ): Packet {
    const write = (): Buffer => {
      const header = Buffer.alloc(16 + payload.length);
      header.writeUInt16BE(source, 0);
      header.writeUInt16BE(destination, 2);
      header.writeUInt32BE(0x1234_5678, 4);
      header[12] = chunk;
      header.writeUInt16BE(4 + payload.length, 14);
      header.set(payload, 16);
      return sealed ? sealSctp(header) : header;
    };
    return this.#with({ kind: 132, write });
  }

  /** `rest`: what follows type, code and checksum. */
  icmp(type: number, code: number, rest: Uint8Array): Packet {
    const v6 = this.#ip?.source.length === 16;
    const proto = v6 ? 58 : 1;
    const write = (): Buffer =>
      sealed(Buffer.concat([Buffer.from([type, code, 0, 0]), rest]), 2, proto, v6 ? this.#ip : undefined);
    return this.#with({ kind: proto, write });
  }

  /** Echo request of the packet's family. */
  echo(id: number, sequence = 1): Packet {
    return this.icmp(this.#ip?.source.length === 16 ? 128 : 8, 0, Buffer.from([id >> 8, id & 255, 0, sequence]));
  }

  arp(operation: 'request' | 'reply', sender: [mac: string, ip: string], target: [mac: string, ip: string]): Packet {
    const side = ([mac, ip]: [string, string]): Buffer => Buffer.concat([macWire(mac), wire(ip)]);
    const head = Buffer.from([0, 1, 8, 0, 6, 4, 0, operation === 'request' ? 1 : 2]);
    return this.#with({ kind: 0x0806, write: () => Buffer.concat([head, side(sender), side(target)]) });
  }

  build(): Buffer {
    let bytes: Buffer = Buffer.alloc(0);
    let kind = 0;
    for (const layer of this.#layers.toReversed()) {
      bytes = layer.write(bytes, kind);
      kind = layer.kind;
    }
    return bytes;
  }

  /** Without its Ethernet header: as ICMP errors quote it. */
  quoted(length?: number): Buffer {
    return this.build().subarray(14, length === undefined ? undefined : 14 + length);
  }
}

export function macWire(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function eth(source: string = macs.source, destination: string = macs.destination): Packet {
  const write = (payload: Buffer, next: number): Buffer =>
    Buffer.concat([macWire(destination), macWire(source), Buffer.from([next >> 8, next & 255]), payload]);
  return new Packet([{ kind: 0, write }]);
}
