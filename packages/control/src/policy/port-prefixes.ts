/** The first `bits` bits of a port. */
export interface PortPrefix {
  readonly port: number;
  readonly bits: number;
}

/** The fewest prefixes that are exactly the ports from `first` to `last`; at most 30. */
export function portPrefixes(first: number, last: number): readonly PortPrefix[] {
  const found: PortPrefix[] = [];
  for (let port = first; port <= last; ) {
    let free = 0;
    while (free < 16 && port % (2 << free) === 0 && port + (2 << free) - 1 <= last) free += 1;
    found.push({ port, bits: 16 - free });
    port += 1 << free;
  }
  return found;
}
