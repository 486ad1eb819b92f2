/** Text of addresses, both ways. All bytes are in network order. */

/** 16 bytes ::ffff:a.b.c.d; undefined unless the text is four decimals without leading zeros. */
export function readIPv4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16);
  bytes[10] = 0xff;
  bytes[11] = 0xff;
  return readQuad(text, bytes, 12) ? bytes : undefined;
}

/** 16 bytes of an IPv6 address in any form of RFC 4291 2.2; zones are refused. */
export function readIPv6(text: string): Uint8Array | undefined {
  const gap = text.indexOf('::');
  if (gap < 0) {
    const bytes = readGroups(text);
    return bytes?.length === 16 ? bytes : undefined;
  }
  const head = readGroups(text.slice(0, gap));
  const tail = readGroups(text.slice(gap + 2));
  // '::' stands for at least one group (RFC 4291 2.2).
  if (head === undefined || tail === undefined || head.length + tail.length > 14) return undefined;
  if (gap > 0 && text.slice(0, gap).includes('.')) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(head, 0);
  bytes.set(tail, 16 - tail.length);
  return bytes;
}

export function showIPv4(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as '::'. */
export function showIPv6(bytes: Uint8Array, offset: number): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[offset + i] ?? 0) << 8) | (bytes[offset + i + 1] ?? 0));
  const { start, length } = longestZeroRun(groups);
  const show = (part: readonly number[]) => part.map(group => group.toString(16)).join(':');
  if (length < 2) return show(groups);
  return `${show(groups.slice(0, start))}::${show(groups.slice(start + length))}`;
}

function longestZeroRun(groups: readonly number[]): { readonly start: number; readonly length: number } {
  let best = { start: 0, length: 0 };
  let length = 0;
  groups.forEach((group, i) => {
    length = group === 0 ? length + 1 : 0;
    if (length > best.length) best = { start: i - length + 1, length };
  });
  return best;
}

const dot = 0x2e;
const zero = 0x30;

function readQuad(text: string, bytes: Uint8Array, offset: number): boolean {
  let part = 0;
  let value = 0;
  let digits = 0;
  for (let i = 0; i <= text.length; i += 1) {
    const code = i === text.length ? dot : text.charCodeAt(i);
    if (code === dot) {
      if (digits === 0 || part > 3) return false;
      bytes[offset + part] = value;
      part += 1;
      value = 0;
      digits = 0;
      continue;
    }
    const digit = code - zero;
    // A leading zero would be octal to some.
    if (digit < 0 || digit > 9 || (digits > 0 && value === 0)) return false;
    value = value * 10 + digit;
    digits += 1;
    if (value > 255) return false;
  }
  return part === 4;
}

/** Groups between ':', the last of which may be a dotted quad. */
function readGroups(text: string): Uint8Array | undefined {
  if (text === '') return new Uint8Array(0);
  const bytes: number[] = [];
  const groups = text.split(':');
  for (const [i, group] of groups.entries()) {
    if (group.includes('.') && i === groups.length - 1) {
      const quad = new Uint8Array(4);
      if (!readQuad(group, quad, 0)) return undefined;
      bytes.push(...quad);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    }
  }
  return bytes.length > 16 ? undefined : Uint8Array.from(bytes);
}
