/**
 * Integers in a byte array at an offset. Little-endian ones are the host order of every machine that we run on (x86-64,
 * arm64); big-endian ones are __be16 and __be32. Reads past the end give zero bytes.
 */
const at = (source: Uint8Array, offset: number): number => source[offset] ?? 0;

export const getU8 = at;
export const getU16 = (source: Uint8Array, offset: number): number =>
  at(source, offset) | (at(source, offset + 1) << 8);
export const getU32 = (source: Uint8Array, offset: number): number =>
  (getU16(source, offset) | (getU16(source, offset + 2) << 16)) >>> 0;
export const getU64 = (source: Uint8Array, offset: number): bigint =>
  BigInt(getU32(source, offset)) | (BigInt(getU32(source, offset + 4)) << 32n);
export const getBe16 = (source: Uint8Array, offset: number): number =>
  (at(source, offset) << 8) | at(source, offset + 1);
export const getBe32 = (source: Uint8Array, offset: number): number =>
  ((getBe16(source, offset) << 16) | getBe16(source, offset + 2)) >>> 0;
export const getBytes = (source: Uint8Array, offset: number, length: number): Uint8Array =>
  source.slice(offset, offset + length);

export function setU8(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value;
}

export function setU16(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value;
  target[offset + 1] = value >>> 8;
}

export function setU32(target: Uint8Array, offset: number, value: number): void {
  setU16(target, offset, value);
  setU16(target, offset + 2, value >>> 16);
}

export function setU64(target: Uint8Array, offset: number, value: bigint): void {
  setU32(target, offset, Number(value & 0xffffffffn));
  setU32(target, offset + 4, Number((value >> 32n) & 0xffffffffn));
}

export function setBe16(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >>> 8;
  target[offset + 1] = value;
}

export function setBe32(target: Uint8Array, offset: number, value: number): void {
  setBe16(target, offset, value >>> 16);
  setBe16(target, offset + 2, value);
}

/** Copies at most `length` bytes; what is missing stays zero. */
export function setBytes(target: Uint8Array, offset: number, length: number, value: Uint8Array): void {
  target.set(value.length > length ? value.subarray(0, length) : value, offset);
}
