/**
 * rtnetlink messages: a 16-byte header, a fixed body, attributes (type, length, value, padded to 4). Host byte order, which is
 * little-endian on every machine that we run on; addresses are as on the wire. Source: linux/netlink.h, rtnetlink(7).
 */
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_DUMP = 0x300;

const align = (length: number): number => (length + 3) & ~3;

export function u8(value: number): Buffer {
  return Buffer.from([value]);
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

export function be16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`, 'latin1');
}

/** '02:00:00:00:00:01' as six bytes. */
export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function macText(bytes: Uint8Array): string {
  return [...bytes.subarray(0, 6)].map(byte => byte.toString(16).padStart(2, '0')).join(':');
}

export function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(align(4 + value.length));
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

export function nested(type: number, ...parts: readonly Uint8Array[]): Buffer {
  return attribute(type | 0x8000, Buffer.concat(parts));
}

export interface Request {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
  /** For error messages: 'add address 10.0.0.1/32 to lxc1'. */
  readonly what: string;
}

export function encodeMessage(request: Request, sequence: number): Buffer {
  const bytes = Buffer.alloc(16 + align(request.body.length));
  bytes.writeUInt32LE(16 + request.body.length, 0);
  bytes.writeUInt16LE(request.type, 4);
  bytes.writeUInt16LE(request.flags | NLM_F_REQUEST, 6);
  bytes.writeUInt32LE(sequence, 8);
  bytes.set(request.body, 16);
  return bytes;
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Buffer;
}

/** Messages of one datagram. What is cut off is left out. */
export function* decodeMessages(bytes: Buffer): IterableIterator<Message> {
  let offset = 0;
  while (offset + 16 <= bytes.length) {
    const length = bytes.readUInt32LE(offset);
    if (length < 16 || offset + length > bytes.length) return;
    yield {
      type: bytes.readUInt16LE(offset + 4),
      flags: bytes.readUInt16LE(offset + 6),
      sequence: bytes.readUInt32LE(offset + 8),
      body: bytes.subarray(offset + 16, offset + length),
    };
    offset += align(length);
  }
}

/** Attributes from `offset` of a body on; a repeated type keeps its last value. */
export function decodeAttributes(body: Buffer, offset: number): ReadonlyMap<number, Buffer> {
  const found = new Map<number, Buffer>();
  let at = offset;
  while (at + 4 <= body.length) {
    const length = body.readUInt16LE(at);
    if (length < 4 || at + length > body.length) break;
    found.set(body.readUInt16LE(at + 2) & 0x3fff, body.subarray(at + 4, at + length));
    at += align(length);
  }
  return found;
}

export function attributeText(value: Buffer | undefined): string {
  return value === undefined ? '' : value.toString('latin1').replace(/\0.*$/s, '');
}
