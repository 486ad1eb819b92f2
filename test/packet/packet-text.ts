/** Packets as people read them: one line per header, so that a difference in a test names the field. */
import { addressFromBytes } from '@ciliate/model';

import { sealSctp } from './crc32c.ts';
import { checksum, pseudoHeader } from './packet.ts';

const mapped = Buffer.from('00000000000000000000ffff', 'hex');
const formatAddress = (wire: Buffer): string =>
  addressFromBytes(wire.length === 4 ? Buffer.concat([mapped, wire]) : wire);

const good = (isGood: boolean): string => (isGood ? 'good' : 'BAD');
const mac = (bytes: Buffer): string => (bytes.toString('hex').match(/../g) ?? []).join(':');

function l4(bytes: Buffer, proto: number, source: Buffer, destination: Buffer): string[] {
  const covered = checksum(pseudoHeader(source, destination, proto, bytes.length), bytes) === 0;
  if ((proto === 6 && bytes.length >= 20) || (proto === 17 && bytes.length >= 8)) {
    const ports = `${bytes.readUInt16BE(0)} > ${bytes.readUInt16BE(2)}`;
    const payload = JSON.stringify(bytes.subarray(proto === 6 ? 20 : 8).toString('latin1'));
    if (proto === 6) return [`tcp ${ports} flags ${bytes[13]} checksum ${good(covered)} payload ${payload}`];
    return [`udp ${ports} checksum ${good(covered)} payload ${payload}`];
  }
  if (proto === 132 && bytes.length >= 16) {
    const isGood = sealSctp(Buffer.from(bytes)).equals(bytes) || bytes.readUInt32LE(8) === 0;
    const ports = `${bytes.readUInt16BE(0)} > ${bytes.readUInt16BE(2)}`;
    return [`sctp ${ports} chunk ${bytes[12]} checksum ${good(isGood)} payload ${bytes.length - 16} bytes`];
  }
  if ((proto === 1 || proto === 58) && bytes.length >= 8) {
    const isGood = proto === 58 ? covered : checksum(bytes) === 0;
    const head = `icmp type ${bytes[0]} code ${bytes[1]} checksum ${good(isGood)}`;
    const isError = proto === 58 ? (bytes[0] ?? 0) < 128 : [3, 11, 12].includes(bytes[0] ?? 0);
    if (!isError) return [`${head} rest ${bytes.subarray(4).toString('hex')}`];
    return [head, ...ip(bytes.subarray(8), true).map(line => `  quotes ${line}`)];
  }
  return [`protocol ${proto}: ${bytes.toString('hex')}`];
}

/** Quoted packets may be cut off: then their L4 checksum says nothing, and only ports are shown. */
function quotedPorts(bytes: Buffer): string[] {
  return bytes.length < 4 ? [] : [`ports ${bytes.readUInt16BE(0)} > ${bytes.readUInt16BE(2)}`];
}

function ipv4(bytes: Buffer, isQuoted: boolean): string[] {
  const size = ((bytes[0] ?? 0) & 15) * 4;
  const [source, destination] = [bytes.subarray(12, 16), bytes.subarray(16, 20)];
  const fragment = bytes.readUInt16BE(6);
  const line =
    `ipv4 ${formatAddress(source)} > ${formatAddress(destination)} ttl ${bytes[8]} length ${bytes.readUInt16BE(2)} ` +
    `id ${bytes.readUInt16BE(4)} fragment ${fragment} checksum ${good(checksum(bytes.subarray(0, size)) === 0)}`;
  const lines = size > 20 ? [line, `options ${bytes.subarray(20, size).toString('hex')}`] : [line];
  const rest = bytes.subarray(size);
  if (isQuoted) return [...lines, ...quotedPorts(rest)];
  if ((fragment & 0x1fff) !== 0) return [...lines, `later fragment ${rest.toString('hex')}`];
  return [...lines, ...(bytes[9] === 4 ? ip(rest) : l4(rest, bytes[9] ?? 0, source, destination))];
}

const destinationOptions = 60;

function ipv6(bytes: Buffer, isQuoted: boolean): string[] {
  const [source, destination] = [bytes.subarray(8, 24), bytes.subarray(24, 40)];
  const line = `ipv6 ${formatAddress(source)} > ${formatAddress(destination)} hops ${bytes[7]} length ${bytes.readUInt16BE(4)}`;
  const lines = [line];
  let [next, rest] = [bytes[6] ?? 0, bytes.subarray(40)];
  while (next === destinationOptions && rest.length >= 8) {
    const size = ((rest[1] ?? 0) + 1) * 8;
    lines.push(`options ${rest.subarray(0, size).toString('hex')}`);
    [next, rest] = [rest[0] ?? 0, rest.subarray(size)];
  }
  if (isQuoted) return [...lines, ...quotedPorts(rest)];
  return [...lines, ...(next === 41 ? ip(rest) : l4(rest, next, source, destination))];
}

function ip(bytes: Buffer, isQuoted = false): string[] {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4 && bytes.length >= 20) return ipv4(bytes, isQuoted);
  if (version === 6 && bytes.length >= 40) return ipv6(bytes, isQuoted);
  return [`not IP: ${bytes.toString('hex')}`];
}

/** From the Ethernet header on. */
export function packetText(packet: Uint8Array): string {
  const bytes = Buffer.from(packet);
  if (bytes.length < 14) return `cut off: ${bytes.toString('hex')}`;
  const type = bytes.readUInt16BE(12);
  const head = `eth ${mac(bytes.subarray(6, 12))} > ${mac(bytes.subarray(0, 6))} type ${type.toString(16)}`;
  const rest = bytes.subarray(14);
  const lines = type === 0x0800 || type === 0x86dd ? ip(rest) : [rest.toString('hex')];
  return [head, ...lines].join('\n');
}
