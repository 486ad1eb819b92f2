/** Headers of a captured packet → plain object. Ethernet II, IPv4 (RFC 791), IPv6 (RFC 8200), TCP, UDP, ICMP; VLAN tags are skipped. */
import type { DecodedPacket } from '@ciliate/protocol';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const protocolNames: Readonly<Record<number, string>> = {
  1: 'ICMP',
  2: 'IGMP',
  4: 'IPIP',
  6: 'TCP',
  17: 'UDP',
  41: 'IPv6',
  58: 'ICMPv6',
  132: 'SCTP',
};
/** Extension headers that are walked over: hop-by-hop, routing, fragment, destination options. */
const extensions = new Set([0, 43, 44, 60]);
const tcpFlagNames = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const;

export const protocolName = (number: number): string => protocolNames[number] ?? String(number);

/** Stops where the capture stops: what was not captured is absent. */
export function decodePacket(bytes: Uint8Array): DecodedPacket {
  const view = new Reader(bytes);
  const packet: Mutable<DecodedPacket> = {};
  if (!view.has(0, 14)) return packet;
  let type = view.u16(12);
  let offset = 14;
  while ((type === 0x8100 || type === 0x88a8) && view.has(offset, 4)) {
    type = view.u16(offset + 2);
    offset += 4;
  }
  packet.ethernet = { destination: view.mac(0), source: view.mac(6), type };
  if (type === 0x0800) decodeIPv4(view, offset, packet);
  else if (type === 0x86dd) decodeIPv6(view, offset, packet);
  return packet;
}

function decodeIPv4(view: Reader, offset: number, packet: Mutable<DecodedPacket>): void {
  if (!view.has(offset, 20)) return;
  const fragment = view.u16(offset + 6);
  packet.family = 4;
  packet.source = view.ipv4(offset + 12);
  packet.destination = view.ipv4(offset + 16);
  packet.ttl = view.u8(offset + 8);
  packet.protocol = protocolName(view.u8(offset + 9));
  if ((fragment & 0x3fff) !== 0) packet.fragment = true;
  if ((fragment & 0x1fff) === 0)
    decodeTransport(view, offset + (view.u8(offset) & 15) * 4, view.u8(offset + 9), packet);
}

function decodeIPv6(view: Reader, start: number, packet: Mutable<DecodedPacket>): void {
  if (!view.has(start, 40)) return;
  packet.family = 6;
  packet.source = view.ipv6(start + 8);
  packet.destination = view.ipv6(start + 24);
  packet.ttl = view.u8(start + 7);
  let next = view.u8(start + 6);
  let offset = start + 40;
  while (extensions.has(next) && view.has(offset, 8)) {
    if (next === 44) {
      packet.fragment = true;
      if ((view.u16(offset + 2) & 0xfff8) !== 0) {
        packet.protocol = protocolName(view.u8(offset));
        return;
      }
    }
    const length = next === 44 ? 8 : (view.u8(offset + 1) + 1) * 8;
    next = view.u8(offset);
    offset += length;
  }
  packet.protocol = protocolName(next);
  decodeTransport(view, offset, next, packet);
}

function decodeTransport(view: Reader, offset: number, protocol: number, packet: Mutable<DecodedPacket>): void {
  if ((protocol === 1 || protocol === 58) && view.has(offset, 2)) {
    packet.icmpType = view.u8(offset);
    packet.icmpCode = view.u8(offset + 1);
  }
  if (protocol === 4 || protocol === 41) decodeInner(view, offset, protocol, packet);
  if ((protocol !== 6 && protocol !== 17 && protocol !== 132) || !view.has(offset, 4)) return;
  packet.sourcePort = view.u16(offset);
  packet.destinationPort = view.u16(offset + 2);
  if (protocol === 6 && view.has(offset, 14)) {
    const flags = view.u8(offset + 13);
    packet.tcpFlags = tcpFlagNames.filter((_, bit) => (flags & (1 << bit)) !== 0).join(', ');
  }
}

/** Of the same family as outside: what nodes send each other. */
function decodeInner(view: Reader, offset: number, protocol: number, outer: Mutable<DecodedPacket>): void {
  const inner: Mutable<DecodedPacket> = {};
  const version = view.has(offset, 1) ? view.u8(offset) >> 4 : 0;
  if (protocol === 4 && version === 4 && outer.family === 4) decodeIPv4(view, offset, inner);
  else if (protocol === 41 && version === 6 && outer.family === 6) decodeIPv6(view, offset, inner);
  if (inner.source !== undefined) outer.encapsulates = inner;
}

/** '10.0.0.1:31337 -> 10.0.0.2:80 tcp SYN' */
export function packetText(packet: DecodedPacket): string {
  if (packet.source === undefined || packet.destination === undefined) {
    const link = packet.ethernet;
    return link === undefined ? '' : `${link.source} -> ${link.destination} type 0x${link.type.toString(16)}`;
  }
  const protocol = (packet.protocol ?? '').toLowerCase();
  const detail =
    packet.tcpFlags ?? (packet.icmpType === undefined ? '' : `type ${packet.icmpType} code ${packet.icmpCode}`);
  const ends = `${end(packet.source, packet.sourcePort)} -> ${end(packet.destination, packet.destinationPort)}`;
  const inner = packet.encapsulates === undefined ? '' : `(${packetText(packet.encapsulates)})`;
  return [ends, protocol, detail, packet.fragment === true ? 'fragment' : '', inner]
    .filter(part => part !== '')
    .join(' ');
}

function end(address: string, port: number | undefined): string {
  if (port === undefined) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

class Reader {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  has(offset: number, length: number): boolean {
    return offset + length <= this.#bytes.length;
  }

  u8(offset: number): number {
    return this.#bytes[offset] ?? 0;
  }

  /** Network byte order. */
  u16(offset: number): number {
    return (this.u8(offset) << 8) | this.u8(offset + 1);
  }

  mac(offset: number): string {
    return Array.from(this.#bytes.subarray(offset, offset + 6), byte => byte.toString(16).padStart(2, '0')).join(':');
  }

  ipv4(offset: number): string {
    return Array.from(this.#bytes.subarray(offset, offset + 4)).join('.');
  }

  ipv6(offset: number): string {
    const groups = Array.from({ length: 8 }, (_, index) => this.u16(offset + index * 2).toString(16));
    const zeros = [...groups.join(':').matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].sort(
      (a, b) => b[0].length - a[0].length,
    )[0];
    if (zeros === undefined) return groups.join(':');
    const text = groups.join(':');
    const rest = text.slice(zeros.index + zeros[0].length).replace(/^:/, '');
    return `${text.slice(0, zeros.index)}::${rest}`;
  }
}
