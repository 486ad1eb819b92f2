/** Pod CIDRs for nodes, cut from the cluster's pools. Pure: what nodes hold comes in, what they get goes out. */
import {
  addressOffset,
  makePrefix,
  nthAddress,
  type Prefix,
  prefixAddress,
  prefixContains,
  prefixesOverlap,
  prefixLength,
  prefixSize,
} from '@ciliate/model';

export interface PoolOptions {
  readonly cidrs: readonly Prefix[];
  /** Prefix length of one node's CIDR. */
  readonly maskSize: number;
}

export class ClusterPoolError extends Error {
  override readonly name = 'ClusterPoolError';
  readonly code: 'POOL_EXHAUSTED' | 'POOL_OVERLAPS_SERVICES' | 'POOL_TOO_SMALL';

  constructor(code: ClusterPoolError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** One family. */
export class ClusterPool {
  readonly #options: PoolOptions;
  /** CIDR → node. */
  readonly #owners = new Map<Prefix, string>();

  /** @throws ClusterPoolError when a pool overlaps a service CIDR, or is smaller than one node's part */
  constructor(options: PoolOptions, serviceCIDRs: readonly Prefix[]) {
    this.#options = options;
    for (const cidr of options.cidrs) {
      const clash = serviceCIDRs.find(service => prefixesOverlap(service, cidr));
      if (clash !== undefined) {
        throw new ClusterPoolError(
          'POOL_OVERLAPS_SERVICES',
          `cluster pool ${cidr} overlaps the service CIDR ${clash}: choose another --cluster-pool CIDR`,
        );
      }
      if (prefixLength(cidr) > options.maskSize) {
        throw new ClusterPoolError(
          'POOL_TOO_SMALL',
          `cluster pool ${cidr} is smaller than one node's /${options.maskSize}: change --cluster-pool-*-mask-size`,
        );
      }
    }
  }

  get enabled(): boolean {
    return this.#options.cidrs.length > 0;
  }

  /** What a node already has. Returns the other node that holds (a part of) it, undefined when it is free or its own. */
  adopt(node: string, cidr: Prefix): string | undefined {
    for (const [held, owner] of this.#owners) if (owner !== node && prefixesOverlap(held, cidr)) return owner;
    this.#owners.set(cidr, node);
    return undefined;
  }

  /** The first free part. @throws ClusterPoolError POOL_EXHAUSTED */
  allocate(node: string): Prefix {
    for (const cidr of this.#options.cidrs) {
      const free = this.#firstFree(cidr);
      if (free === undefined) continue;
      this.#owners.set(free, node);
      return free;
    }
    const pools = this.#options.cidrs
      .map(cidr => `${cidr} (${this.#usedIn(cidr)} of ${this.#partsOf(cidr)} in use)`)
      .join(', ');
    throw new ClusterPoolError(
      'POOL_EXHAUSTED',
      `no pod CIDR left for node ${node}: ${pools}: add a --cluster-pool CIDR`,
    );
  }

  release(node: string): void {
    for (const [cidr, owner] of this.#owners) if (owner === node) this.#owners.delete(cidr);
  }

  #firstFree(pool: Prefix): Prefix | undefined {
    const size = prefixSize(makePrefix(prefixAddress(pool), this.#options.maskSize));
    const taken = [...this.#owners.keys()].filter(cidr => prefixesOverlap(pool, cidr));
    const parts = this.#partsOf(pool);
    for (let index = 0n; index < parts; index++) {
      const part = makePrefix(nthAddress(pool, index * size), this.#options.maskSize);
      const clash = taken.find(cidr => prefixesOverlap(cidr, part));
      if (clash === undefined) return part;
      // A foreign CIDR larger than a part covers the ones after it too.
      const end = prefixContains(pool, prefixAddress(clash))
        ? addressOffset(pool, prefixAddress(clash)) + prefixSize(clash)
        : 0n;
      if (end / size - 1n > index) index = end / size - 1n;
    }
    return undefined;
  }

  #partsOf(pool: Prefix): bigint {
    return 1n << BigInt(this.#options.maskSize - prefixLength(pool));
  }

  #usedIn(pool: Prefix): number {
    return [...this.#owners.keys()].filter(cidr => prefixesOverlap(pool, cidr)).length;
  }
}
