/** The first packet of a flow, as a pod sends it. Byte order: network. */
import { type Address, addressBytes, isIPv4 } from '@ciliate/model';

export interface ProbeFlow {
  readonly source: Address;
  readonly destination: Address;
  /** IPPROTO_* */
  readonly protocol: number;
  readonly sourcePort: number;
  /** ICMP: the type. */
  readonly port: number;
  readonly sourceMac: string;
  readonly destinationMac: string;
}

const tcp = 6;
const udp = 17;
const isIcmp = (protocol: number): boolean => protocol === 1 || protocol === 58;

/** Ethernet, IPv4 or IPv6, and TCP SYN, UDP, SCTP INIT header or ICMP. */
export function probeFrame(flow: ProbeFlow): Uint8Array {
  const payload = transport(flow);
  const ipv4 = isIPv4(flow.destination);
  const ethernet = Buffer.concat([
    macBytes(flow.destinationMac),
    macBytes(flow.sourceMac),
    Buffer.from(ipv4 ? [8, 0] : [0x86, 0xdd]),
  ]);
  return Buffer.concat([ethernet, ipv4 ? header4(flow, payload.length) : header6(flow, payload.length), payload]);
}

const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

function transport({ protocol, sourcePort, port }: ProbeFlow): Buffer {
  if (isIcmp(protocol)) {
    const icmp = Buffer.alloc(8);
    icmp.writeUInt8(port, 0);
    icmp.writeUInt16BE(sourcePort, 4);
    return icmp;
  }
  const header = Buffer.alloc(protocol === tcp ? 20 : protocol === udp ? 8 : 12);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(port, 2);
  if (protocol === tcp) header.writeUInt16BE(0x5002, 12);
  if (protocol === udp) header.writeUInt16BE(8, 4);
  return header;
}

function header4({ source, destination, protocol }: ProbeFlow, length: number): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(0x4500, 0);
  header.writeUInt16BE(20 + length, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  header.set(addressBytes(source).subarray(12), 12);
  header.set(addressBytes(destination).subarray(12), 16);
  header.writeUInt16BE(checksum(header), 10);
  return header;
}

function header6({ source, destination, protocol }: ProbeFlow, length: number): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt8(0x60, 0);
  header.writeUInt16BE(length, 4);
  header.writeUInt8(protocol, 6);
  header.writeUInt8(64, 7);
  header.set(addressBytes(source), 8);
  header.set(addressBytes(destination), 24);
  return header;
}

/** RFC 1071. */
function checksum(header: Buffer): number {
  let sum = 0;
  for (let i = 0; i < header.length; i += 2) sum += header.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
