/** Frames as tests write them: built with right checksums, read back as one line of text that also says whether they still are. */
import { address } from './config.ts';

const isIPv6 = (text: string): boolean => text.includes(':');
const wire = (text: string): Buffer => Buffer.from(isIPv6(text) ? address(text) : address(text).subarray(12));

/** RFC 1071, over an even number of bytes or padded. */
function sum(bytes: Buffer, start = 0): number {
  let total = start;
  for (let at = 0; at < bytes.length; at += 2) total += (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function pseudo(source: Buffer, destination: Buffer, protocol: number, length: number): number {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(length, 0);
  tail.writeUInt32BE(protocol, 4);
  return sum(Buffer.concat([source, destination, tail]));
}

export const mac = (last: number): Buffer => Buffer.from([2, 0, 0, 0, 0, last]);

export interface L4 {
  readonly protocol: number;
  readonly bytes: Buffer;
  readonly checksumAt: number;
}

const flagBits = { FIN: 17, SYN: 2, RST: 4, ACK: 16, 'SYN,ACK': 18 } as const;

export function tcp(sport: number, dport: number, flags: keyof typeof flagBits = 'SYN', payload = ''): L4 {
  const bytes = Buffer.concat([Buffer.alloc(20), Buffer.from(payload)]);
  bytes.writeUInt16BE(sport, 0);
  bytes.writeUInt16BE(dport, 2);
  bytes.writeUInt32BE(1, 4);
  bytes[12] = 0x50;
  bytes[13] = flagBits[flags];
  bytes.writeUInt16BE(64_000, 14);
  return { protocol: 6, bytes, checksumAt: 16 };
}

export function udp(sport: number, dport: number, payload = 'hello'): L4 {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(sport, 0);
  header.writeUInt16BE(dport, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  return { protocol: 17, bytes: Buffer.concat([header, Buffer.from(payload)]), checksumAt: 6 };
}

/** `rest`: what follows the checksum. */
export function icmp(family: 4 | 6, type: number, code: number, rest: Buffer): L4 {
  return {
    protocol: family === 4 ? 1 : 58,
    bytes: Buffer.concat([Buffer.from([type, code, 0, 0]), rest]),
    checksumAt: 2,
  };
}

export function echo(family: 4 | 6, id: number): L4 {
  const rest = Buffer.alloc(12);
  rest.writeUInt16BE(id, 0);
  return icmp(family, family === 4 ? 8 : 128, 0, rest);
}

export interface FrameOptions {
  readonly ttl?: number;
  readonly sourceMac?: number;
  readonly destinationMac?: number;
  readonly type?: number;
}

/** From its IP header. */
export function ip(source: string, destination: string, l4: L4, options: FrameOptions = {}): Buffer {
  const [from, to] = [wire(source), wire(destination)];
  const body = Buffer.from(l4.bytes);
  const start = l4.protocol === 1 ? 0 : pseudo(from, to, l4.protocol, body.length);
  body.writeUInt16BE(~sum(body, start) & 0xffff, l4.checksumAt);
  const header = Buffer.alloc(isIPv6(source) ? 8 : 12);
  if (isIPv6(source)) {
    header[0] = 0x60;
    header.writeUInt16BE(body.length, 4);
    header[6] = l4.protocol;
    header[7] = options.ttl ?? 64;
    return Buffer.concat([header, from, to, body]);
  }
  header[0] = 0x45;
  header.writeUInt16BE(20 + body.length, 2);
  header[8] = options.ttl ?? 64;
  header[9] = l4.protocol;
  const whole = Buffer.concat([header, from, to]);
  whole.writeUInt16BE(~sum(whole) & 0xffff, 10);
  return Buffer.concat([whole, body]);
}

export function eth(payload: Buffer, options: FrameOptions = {}): Buffer {
  const type = Buffer.alloc(2);
  type.writeUInt16BE(options.type ?? ((payload[0] ?? 0) >>> 4 === 6 ? 0x86dd : 0x0800));
  return Buffer.concat([mac(options.destinationMac ?? 0xee), mac(options.sourceMac ?? 1), type, payload]);
}

export function arpRequest(sender: string, target: string, sourceMac: number): Buffer {
  const head = Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]);
  const body = Buffer.concat([head, mac(sourceMac), wire(sender), Buffer.alloc(6), wire(target)]);
  return eth(body, { type: 0x0806, sourceMac, destinationMac: 0xff });
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return groups.join(':').replace(/(^|:)0(:0)+(:|$)/, '::');
}

function ports(protocol: number, l4: Buffer): string {
  if (l4.length < 6) return 'cut off';
  if (protocol === 1 || protocol === 58) return `type ${l4[0]} code ${l4[1]} id ${l4.readUInt16BE(4)}`;
  return `${l4.readUInt16BE(0)} > ${l4.readUInt16BE(2)}`;
}

const names: Readonly<Record<number, string>> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6' };

/** 'TCP 10.0.0.1 > 10.0.0.2, 1000 > 80, ttl 63', and ', bad checksum' when one is; from its IP header. */
export function describeIp(packet: Buffer): string {
  const isV6 = (packet[0] ?? 0) >>> 4 === 6;
  const protocol = packet[isV6 ? 6 : 9] ?? 0;
  const [from, to] = isV6
    ? [packet.subarray(8, 24), packet.subarray(24, 40)]
    : [packet.subarray(12, 16), packet.subarray(16, 20)];
  const l4 = packet.subarray(isV6 ? 40 : 20);
  const start = protocol === 1 ? 0 : pseudo(from, to, protocol, l4.length);
  const good = sum(l4, start) === 0xffff && (isV6 || sum(packet.subarray(0, 20)) === 0xffff);
  const who = `${names[protocol] ?? protocol} ${addressText(from)} > ${addressText(to)}`;
  return `${who}, ${ports(protocol, l4)}, ttl ${packet[isV6 ? 7 : 8]}${good ? '' : ', bad checksum'}`;
}

/** From its Ethernet header: MACs by their last byte, then describeIp. '' for what is neither IP nor ARP. */
export function describeFrame(frame: Buffer): string {
  const type = frame.length < 34 ? 0 : frame.readUInt16BE(12);
  if (![0x0800, 0x86dd, 0x0806].includes(type)) return '';
  const macs = `${frame[11]?.toString(16)} > ${frame[5]?.toString(16)}`;
  if (type !== 0x0806) return `${macs}, ${describeIp(frame.subarray(14))}`;
  return `${macs}, ARP ${frame.readUInt16BE(20) === 2 ? 'reply' : 'request'} ${addressText(frame.subarray(28, 32))} is at ${frame[27]?.toString(16)}`;
}
