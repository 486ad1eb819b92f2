/** Addresses as numbers, for counting through a prefix. */
import { isIP } from 'node:net';
import type { Address, Prefix } from '@ciliate/model';

export interface Range {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
}

/** Undefined when `text` is no address. */
export function toNumber(text: string): { readonly family: 4 | 6; readonly value: bigint } | undefined {
  const family = isIP(text);
  if (family === 4) return { family, value: dotted(text) };
  return family === 6 ? { family, value: colons(text) } : undefined;
}

export function toAddress(family: 4 | 6, value: bigint): Address {
  if (family === 4) return [24n, 16n, 8n, 0n].map(shift => (value >> shift) & 0xffn).join('.') as Address;
  const groups = Array.from({ length: 8 }, (_, index) => ((value >> BigInt((7 - index) * 16)) & 0xffffn).toString(16));
  return compress(groups) as Address;
}

/** Undefined when `prefix` is no prefix. Host bits are ignored. */
export function toRange(prefix: Prefix | string): Range | undefined {
  const [address, length] = prefix.split('/');
  const number = toNumber(address ?? '');
  const bits = number?.family === 4 ? 32 : 128;
  if (number === undefined || length === undefined || !/^\d+$/.test(length) || Number(length) > bits) return undefined;
  const size = 1n << BigInt(bits - Number(length));
  const first = number.value - (number.value % size);
  return { family: number.family, first, last: first + size - 1n };
}

export const contains = (range: Range, family: 4 | 6, value: bigint): boolean =>
  range.family === family && value >= range.first && value <= range.last;

/** True when two prefixes share an address. What is no prefix overlaps nothing. */
export function overlaps(a: string, b: string): boolean {
  const [one, other] = [toRange(a), toRange(b)];
  if (one === undefined || other === undefined || one.family !== other.family) return false;
  return one.first <= other.last && other.first <= one.last;
}

function dotted(text: string): bigint {
  return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function colons(text: string): bigint {
  const plain = text.replace(/(\d+\.\d+\.\d+\.\d+)$/, tail => {
    const value = dotted(tail);
    return `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
  });
  const [head = '', tail] = plain.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

/** RFC 5952: the longest run of two or more zero groups, the first of equal ones, becomes '::'. */
function compress(groups: readonly string[]): string {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === '0') length++;
    if (length > best.length) best = { start, length };
  }
  if (best.length < 2) return groups.join(':');
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`;
}
