/** Addresses of this node's pod CIDRs, both families. Owners are texts: 'router', 'health', 'namespace/pod'. */
import { type Address, type Prefix, prefixesOverlap, tryParsePrefix } from '@ciliate/model';
import { CniErrorCode, type IpamPool, type IpamStatus } from '@ciliate/protocol';
import { CniFailure } from '../cni/error.ts';
import { AddressPool } from './pool.ts';

export interface IpamOptions {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Only to refuse pod CIDRs that overlap. */
  readonly serviceCIDRs: readonly string[];
}

/** reserveFixed: router and health. */
const fixedPlaces = [0, 1];
/** Holds the fixed places of a pool that is not the first. */
const spare = 'reserved';

const inUse = (pool: AddressPool): boolean => pool.allocations().some(([, owner]) => owner !== spare);

export class IpamError extends Error {
  override readonly name = 'IpamError';
  readonly code: 'POD_CIDR_OVERLAPS_SERVICES' | 'POD_CIDR_INVALID';

  constructor(code: IpamError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export class Ipam {
  readonly #options: IpamOptions;
  #pools: readonly AddressPool[] = [];
  #withdrawn: readonly AddressPool[] = [];

  constructor(options: IpamOptions) {
    this.#options = options;
  }

  /** Those that give addresses first, then those that were taken from the node and are still in use. */
  get podCIDRs(): readonly Prefix[] {
    return [...this.#pools, ...this.#withdrawn].map(pool => pool.prefix);
  }

  /** Taken from this node while addresses of it are in use: nothing new comes from it. */
  get withdrawn(): readonly Prefix[] {
    return this.#withdrawn.map(pool => pool.prefix);
  }

  /**
   * What is not named any more gives no new addresses; those in use stay valid until their pods are gone. No CIDR at all changes
   * nothing: the node's object is not complete yet.
   * @throws IpamError when a CIDR overlaps the services' or is none
   */
  setPodCIDRs(prefixes: readonly Prefix[]): void {
    const wanted = prefixes.filter(prefix => (prefix.includes(':') ? this.#options.ipv6 : this.#options.ipv4));
    if (wanted.length === 0) return;
    const known = [...this.#pools, ...this.#withdrawn];
    const pools = wanted.map(prefix => known.find(pool => pool.prefix === prefix) ?? this.#newPool(prefix));
    if (known.length > 0) {
      // After a restart such a pool may be the first: router and health must find their places free. Those of the pools that
      // were there from the beginning are in use, or were handed out already.
      for (const pool of pools.filter(one => !this.#pools.includes(one))) {
        for (const index of fixedPlaces) pool.reserve(pool.nth(index), spare);
      }
    }
    this.#withdrawn = known.filter(pool => !pools.includes(pool) && inUse(pool));
    this.#pools = pools;
  }

  /** One address of each enabled family that has a pool. @throws CniFailure POOL_EXHAUSTED, 11 without any pool */
  allocate(owner: string): readonly Address[] {
    const taken: Address[] = [];
    for (const family of [4, 6] as const) {
      const pools = this.#pools.filter(pool => pool.family === family);
      if (pools.length === 0) continue;
      const address = firstOf(pools, pool => pool.allocate(owner));
      if (address === undefined) {
        for (const other of taken) this.release(other);
        throw exhausted(pools);
      }
      taken.push(address);
    }
    if (taken.length === 0) {
      throw new CniFailure(
        CniErrorCode.tryAgainLater,
        'this node has no pod CIDR yet',
        'waiting for Node.spec.podCIDRs or CiliumNode.spec.ipam.podCIDRs: is the allocating controller running?',
      );
    }
    return taken;
  }

  /** Addresses with a fixed place in each family's first pool: 0 router, 1 health. */
  reserveFixed(index: number, owner: string): readonly Address[] {
    return ([4, 6] as const).flatMap(family => {
      const pool = this.#pools.find(candidate => candidate.family === family);
      if (pool === undefined) return [];
      const address = pool.nth(index);
      return pool.reserve(address, owner) ? [address] : [];
    });
  }

  /** What a restored endpoint holds. False when no pool has it: a pod CIDR that is gone; the pod keeps its address. */
  restore(address: Address, owner: string): boolean {
    return [...this.#pools, ...this.#withdrawn].some(pool => pool.reserve(address, owner));
  }

  release(address: Address): void {
    for (const pool of [...this.#pools, ...this.#withdrawn]) pool.release(address);
    this.#withdrawn = this.#withdrawn.filter(inUse);
  }

  status(): Omit<IpamStatus, 'status'> & { readonly status: string } {
    const all = [...this.#pools, ...this.#withdrawn];
    const allocations = all.flatMap(pool => pool.allocations());
    const pools = all.map(describePool);
    return {
      status: pools
        .map(pool => `${pool.family}: ${pool.allocated}/${pool.capacity} allocated from ${pool.prefix}`)
        .join(', '),
      ipv4: allocations.map(([address]) => address).filter(address => !address.includes(':')),
      ipv6: allocations.map(([address]) => address).filter(address => address.includes(':')),
      allocations: Object.fromEntries(allocations),
      pools,
    };
  }

  #newPool(prefix: Prefix): AddressPool {
    const clash = this.#options.serviceCIDRs.find(cidr => overlap(cidr, prefix));
    if (clash !== undefined) {
      throw new IpamError(
        'POD_CIDR_OVERLAPS_SERVICES',
        `pod CIDR ${prefix} overlaps the service CIDR ${clash}: give pods and services ranges of their own`,
      );
    }
    try {
      return new AddressPool(prefix);
    } catch (cause) {
      throw new IpamError('POD_CIDR_INVALID', cause instanceof Error ? cause.message : String(cause), { cause });
    }
  }
}

function firstOf<T, R>(items: readonly T[], pick: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const result = pick(item);
    if (result !== undefined) return result;
  }
  return undefined;
}

const describePool = (pool: AddressPool): IpamPool => ({
  prefix: pool.prefix,
  family: pool.family === 4 ? 'IPv4' : 'IPv6',
  capacity: String(pool.capacity),
  allocated: pool.allocated,
});

function exhausted(pools: readonly AddressPool[]): CniFailure {
  const numbers = pools.map(pool => `${pool.prefix}: ${pool.allocated} of ${pool.capacity} in use`).join(', ');
  return new CniFailure(
    CniErrorCode.poolExhausted,
    `no free pod address (${numbers})`,
    'delete pods of this node, or give the node a larger pod CIDR',
  );
}

/** What is no prefix overlaps nothing: it is refused elsewhere. */
function overlap(a: string, b: string): boolean {
  const [one, other] = [tryParsePrefix(a), tryParsePrefix(b)];
  return one !== undefined && other !== undefined && prefixesOverlap(one, other);
}
