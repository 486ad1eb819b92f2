/** Frames as XDP meets them: in the overlay, and with a checksum that is not complete yet. */
import { checksum, eth, macWire, pseudoHeader } from './packet.ts';
import { macs, world } from './xdp-world.ts';

export interface Outer {
  readonly from?: string;
  readonly to?: string;
  readonly vni?: number;
  readonly flags?: number;
  /** Congestion mark of the outer header. */
  readonly ecn?: number;
}

/** A frame of the other node inside VXLAN, as it comes in by eth0. */
export function encapsulated(inner: Buffer, outer: Outer = {}): Buffer {
  const { from = world.peer[4], to = world.node[4], vni = 2000, flags = 0x08000000, ecn = 0 } = outer;
  const head = Buffer.alloc(8);
  head.writeUInt32BE(flags, 0);
  head.writeUInt32BE(vni << 8, 4);
  const frame = eth(macs.peer, macs.eth0)
    .ip(from, to)
    .udp(40_001, 8472, Buffer.concat([head, inner]))
    .build();
  const isV4 = frame.readUInt16BE(12) === 0x0800;
  frame.writeUInt16BE(0, (isV4 ? 34 : 54) + 6);
  if (ecn === 0) return frame;
  frame[15] = isV4 ? ecn : ecn << 4;
  if (isV4) {
    frame.writeUInt16BE(0, 24);
    frame.writeUInt16BE(checksum(frame.subarray(14, 34)), 24);
  }
  return frame;
}

/** What is inside; the outer headers' checks are the caller's. */
export function decapsulated(frame: Buffer): Buffer {
  return frame.subarray(frame.readUInt16BE(12) === 0x0800 ? 50 : 70);
}

/** Without options or extension headers: offsets of the L4 header and of its checksum. */
export function l4(frame: Buffer): { readonly at: number; readonly check: number; readonly proto: number } {
  const isV4 = frame.readUInt16BE(12) === 0x0800;
  const [at, proto] = isV4 ? [34, frame[23] ?? 0] : [54, frame[20] ?? 0];
  return { at, check: at + (proto === 6 ? 16 : 6), proto };
}

/** As a local sender leaves it to its device (CHECKSUM_PARTIAL): the checksum covers the pseudo-header alone, and is not inverted. */
export function partial(frame: Buffer): Buffer {
  const copy = Buffer.from(frame);
  const { at, check, proto } = l4(copy);
  const isV4 = at === 34;
  const length = (isV4 ? copy.readUInt16BE(16) + 14 : copy.readUInt16BE(18) + 54) - at;
  const [source, destination] = isV4
    ? [copy.subarray(26, 30), copy.subarray(30, 34)]
    : [copy.subarray(22, 38), copy.subarray(38, 54)];
  copy.writeUInt16BE(~checksum(pseudoHeader(source, destination, proto, length)) & 0xffff, check);
  return copy;
}

/** The same frame for another device of the LAN. */
export function toMac(frame: Buffer, mac: string): Buffer {
  return Buffer.concat([macWire(mac), frame.subarray(6)]);
}

/** UDP without a checksum. */
export function withoutChecksum(frame: Buffer): Buffer {
  const copy = Buffer.from(frame);
  copy.writeUInt16BE(0, l4(copy).check);
  return copy;
}
