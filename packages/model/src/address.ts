import { readIPv4, readIPv6, showIPv4, showIPv6 } from './address-text.ts';
import { ModelError } from './errors.ts';

declare const addressBrand: unique symbol;
declare const prefixBrand: unique symbol;

/** An IP address in canonical text: dotted quad, or RFC 5952 lower case. Equal addresses are equal strings. */
export type Address = string & { readonly [addressBrand]: true };

/** An address prefix in canonical text with the host bits zero: '10.244.1.0/24', 'fd00::/64'. */
export type Prefix = string & { readonly [prefixBrand]: true };

/** Bits before an IPv4 address in its 16-byte form ::ffff:a.b.c.d. */
const mappedBits = 96;
const mappedZero = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0]);

/** Every IPv4 address. */
export const allIPv4 = '0.0.0.0/0' as Prefix;

/** The address in canonical form; undefined when the text is none. ::ffff:a.b.c.d is the IPv4 address (RFC 4291 2.5.5.2). */
export function tryParseAddress(text: string): Address | undefined {
  const bytes = text.includes(':') ? readIPv6(text) : readIPv4(text);
  return bytes === undefined ? undefined : addressFromBytes(bytes);
}

/** Like tryParseAddress. Throws ModelError BAD_ADDRESS. */
export function parseAddress(text: string): Address {
  const address = tryParseAddress(text);
  if (address === undefined) throw new ModelError('BAD_ADDRESS', text, `'${text}' is not an IP address`);
  return address;
}

export function isIPv4(address: Address | Prefix): boolean {
  return !address.includes(':');
}

/** Of the machine or namespace that says it, and of nobody else. */
export function isLoopback(address: Address): boolean {
  return address === '::1' || (isIPv4(address) && address.startsWith('127.'));
}

/** 16 bytes, network order; IPv4 as ::ffff:a.b.c.d. A new array at each call. */
export function addressBytes(address: Address): Uint8Array {
  const bytes = isIPv4(address) ? readIPv4(address) : readIPv6(address);
  if (bytes === undefined) throw new ModelError('BAD_ADDRESS', address, `'${address}' is not an IP address`);
  return bytes;
}

/** Inverse of addressBytes: reads 16 bytes at `offset`. */
export function addressFromBytes(bytes: Uint8Array, offset = 0): Address {
  return (isMapped(bytes, offset) ? showIPv4(bytes, offset + 12) : showIPv6(bytes, offset)) as Address;
}

/** IPv4 before IPv6, each by number. For sort(). */
export function compareAddresses(a: Address, b: Address): number {
  const family = Number(isIPv4(b)) - Number(isIPv4(a));
  return family === 0 ? compareBytes(addressBytes(a), addressBytes(b)) : family;
}

/** The prefix in canonical form, host bits cleared. A plain address is a prefix of its whole length. */
export function tryParsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  const address = tryParseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const longest = isIPv4(address) ? 32 : 128;
  const digits = slash < 0 ? String(longest) : text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits) || Number(digits) > longest) return undefined;
  return makePrefix(address, Number(digits));
}

/** Like tryParsePrefix. Throws ModelError BAD_PREFIX. */
export function parsePrefix(text: string): Prefix {
  const prefix = tryParsePrefix(text);
  if (prefix === undefined) throw new ModelError('BAD_PREFIX', text, `'${text}' is not an address prefix`);
  return prefix;
}

/** The prefix of `length` bits (of the family) that contains the address. */
export function makePrefix(address: Address, length: number): Prefix {
  const bytes = addressBytes(address);
  clearFrom(bytes, isIPv4(address) ? length + mappedBits : length);
  return `${prefixText(bytes, isIPv4(address))}/${length}` as Prefix;
}

/** The prefix of the address alone: /32 or /128. */
export function hostPrefix(address: Address): Prefix {
  return `${address}/${isIPv4(address) ? 32 : 128}` as Prefix;
}

/** The first address of a prefix. */
export function prefixAddress(prefix: Prefix): Address {
  return prefix.slice(0, prefix.indexOf('/')) as Address;
}

/** Length as written: 0 to 32, or 0 to 128. */
export function prefixLength(prefix: Prefix): number {
  return Number(prefix.slice(prefix.indexOf('/') + 1));
}

/** Length in the 16-byte form that the kernel uses: IPv4 /n is 96 + n. */
export function prefixBits(prefix: Prefix): number {
  return prefixLength(prefix) + (isIPv4(prefix) ? mappedBits : 0);
}

/** The form that PrefixIndex of @ciliate/tables takes. */
export function bitPrefix(prefix: Prefix): { readonly bytes: Uint8Array; readonly bits: number } {
  return { bytes: addressBytes(prefixAddress(prefix)), bits: prefixBits(prefix) };
}

/** True for IPv6 prefixes that hold the addresses as which IPv4 is written in maps: ::/0 and the like. They mean no IPv4. */
export function coversMapped(prefix: Prefix): boolean {
  return !isIPv4(prefix) && sameBits(addressBytes(prefixAddress(prefix)), mappedZero, prefixLength(prefix));
}

export function prefixContains(prefix: Prefix, address: Address): boolean {
  if (isIPv4(prefix) !== isIPv4(address)) return false;
  return sameBits(addressBytes(prefixAddress(prefix)), addressBytes(address), prefixBits(prefix));
}

/** True when some address is in both: prefixes overlap only when one contains the other. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  if (isIPv4(a) !== isIPv4(b)) return false;
  const bits = Math.min(prefixBits(a), prefixBits(b));
  return sameBits(addressBytes(prefixAddress(a)), addressBytes(prefixAddress(b)), bits);
}

/** How many addresses a prefix has. */
export function prefixSize(prefix: Prefix): bigint {
  return 1n << BigInt(128 - prefixBits(prefix));
}

/** The address at `n` of a prefix, counted from 0 (the network's own). Throws ModelError BAD_PREFIX when there is none. */
export function nthAddress(prefix: Prefix, n: number | bigint): Address {
  const offset = BigInt(n);
  if (offset < 0n || offset >= prefixSize(prefix)) {
    throw new ModelError('BAD_PREFIX', prefix, `${prefix} has no address number ${offset}`);
  }
  const bytes = addressBytes(prefixAddress(prefix));
  for (let i = 15, left = offset; i >= 0 && left > 0n; i -= 1) {
    const sum = BigInt(bytes[i] ?? 0) + (left & 0xffn);
    bytes[i] = Number(sum & 0xffn);
    left = (left >> 8n) + (sum >> 8n);
  }
  return addressFromBytes(bytes);
}

/** Position of an address in a prefix that contains it; the inverse of nthAddress. */
export function addressOffset(prefix: Prefix, address: Address): bigint {
  const start = addressBytes(prefixAddress(prefix));
  const bytes = addressBytes(address);
  let offset = 0n;
  for (let i = 0; i < 16; i += 1) offset = (offset << 8n) + BigInt((bytes[i] ?? 0) - (start[i] ?? 0));
  return offset;
}

/** 'address:port' with brackets around IPv6 (RFC 3986 3.2.2). */
export function hostPort(address: Address, port: number): string {
  return isIPv4(address) ? `${address}:${port}` : `[${address}]:${port}`;
}

/** ::/96 and shorter hold the mapped range but stay IPv6 text. */
function prefixText(bytes: Uint8Array, ipv4: boolean): string {
  return ipv4 ? showIPv4(bytes, 12) : showIPv6(bytes, 0);
}

function isMapped(bytes: Uint8Array, offset: number): boolean {
  for (let i = 0; i < 10; i += 1) if (bytes[offset + i] !== 0) return false;
  return bytes[offset + 10] === 0xff && bytes[offset + 11] === 0xff;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < 16; i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function clearFrom(bytes: Uint8Array, bits: number): void {
  for (let i = bits >> 3; i < 16; i += 1) {
    const keep = Math.max(0, bits - i * 8);
    bytes[i] = keep >= 8 ? (bytes[i] ?? 0) : (bytes[i] ?? 0) & (0xff00 >> keep) & 0xff;
  }
}

function sameBits(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i += 1) if (a[i] !== b[i]) return false;
  const mask = (0xff00 >> (bits & 7)) & 0xff;
  return ((a[whole] ?? 0) & mask) === ((b[whole] ?? 0) & mask);
}
