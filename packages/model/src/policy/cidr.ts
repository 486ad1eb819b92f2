/** Address blocks of policies. */
import {
  isIPv4,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixContains,
  prefixLength,
  tryParsePrefix,
} from '../address.ts';
import type { Reader } from '../k8s/reader.ts';

export interface Block {
  readonly cidr: Prefix;
  readonly except: readonly Prefix[];
}

/** True when every address of `inner` is in `outer`. */
export function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  return (
    isIPv4(outer) === isIPv4(inner) &&
    prefixLength(outer) <= prefixLength(inner) &&
    prefixContains(outer, prefixAddress(inner))
  );
}

/** An address without length is one host. Bits after the length are cleared. */
export function readCidr(reader: Reader): Prefix {
  const text = reader.text();
  const bits = text.includes(':') ? 128 : 32;
  const found = tryParsePrefix(text.includes('/') ? text : `${text}/${bits}`);
  if (found === undefined) throw reader.bad(`'${text}' is not an address prefix`, 'write it as 10.0.0.0/8 or fd00::/8');
  return makePrefix(prefixAddress(found), prefixLength(found));
}

/** A block with its length: where lists of addresses are not meant. */
export function readBlock(reader: Reader): Prefix {
  if (reader.text().includes('/')) return readCidr(reader);
  throw reader.bad(`'${reader.text()}' has no length`, 'write it as 10.0.0.0/8; for one address as 10.1.2.3/32');
}

/** `cidr` and `except` of an object; what an except takes away must be inside. */
export function readExcept(object: Reader): readonly Block[] {
  const cidr = readBlock(object.at('cidr'));
  const except = object
    .at('except')
    .list()
    .map(item => {
      const prefix = readBlock(item);
      if (prefixCovers(cidr, prefix)) return prefix;
      throw item.bad(`${prefix} is not inside ${cidr}`, 'name a part of cidr, or remove it');
    });
  return [{ cidr, except }];
}
