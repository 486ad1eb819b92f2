/** Addresses inside DNS names. Pure. */
import { isIPv4, isIPv6 } from 'node:net';

/** '10-0-0-1' or 'fd00--1' as in pod names; undefined when it is neither. */
export function fromDashes(label: string): string | undefined {
  const v4 = label.replaceAll('-', '.');
  if (isIPv4(v4)) return v4;
  const v6 = label.replaceAll('-', ':');
  return isIPv6(v6) ? v6 : undefined;
}

export const toDashes = (address: string): string => address.replaceAll(/[.:]/g, '-');

/** The address that a reverse name (in-addr.arpa, ip6.arpa) is about, in canonical text; undefined = not a whole one. */
export function fromReverse(name: string): string | undefined {
  const v4 = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name)?.[1];
  if (v4 !== undefined) {
    const address = v4.split('.').slice(0, 4).toReversed().join('.');
    return isIPv4(address) ? address : undefined;
  }
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (v6 === undefined) return undefined;
  const digits = v6.split('.').slice(0, 32).toReversed().join('');
  return canonical6((digits.match(/.{4}/g) ?? []).join(':'));
}

/** RFC 5952, through the URL parser, which writes IPv6 hosts that way. */
export function canonical6(address: string): string {
  return new URL(`http://[${address}]`).hostname.slice(1, -1);
}
