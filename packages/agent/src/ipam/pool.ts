import {
  type Address,
  addressOffset,
  isIPv4,
  nthAddress,
  type Prefix,
  prefixContains,
  prefixSize,
  tryParseAddress,
  tryParsePrefix,
} from '@ciliate/model';

/** Addresses of one pod CIDR. The network address, and IPv4's broadcast address, are never handed out. */
export class AddressPool {
  readonly prefix: Prefix;
  readonly family: 4 | 6;
  /** Usable addresses. */
  readonly capacity: bigint;
  /** Offset in the prefix → owner. */
  readonly #owners = new Map<bigint, string>();
  /** Freed addresses are used again as late as possible: peers may still know them. */
  #next = 1n;

  /** @throws RangeError for a text that is no prefix, or one that holds too few addresses */
  constructor(text: string) {
    const prefix = tryParsePrefix(text);
    if (prefix === undefined) throw new RangeError(`'${text}' is no pod CIDR: write it as 10.244.1.0/24 or fd00::/64`);
    this.prefix = prefix;
    this.family = isIPv4(prefix) ? 4 : 6;
    this.capacity = prefixSize(prefix) - (this.family === 4 ? 2n : 1n);
    if (this.capacity < 3n) {
      throw new RangeError(`pod CIDR ${prefix} is too small: router, health and one pod need 3 addresses`);
    }
  }

  get allocated(): number {
    return this.#owners.size;
  }

  allocations(): readonly (readonly [Address, string])[] {
    return [...this.#owners].map(([offset, owner]) => [nthAddress(this.prefix, offset), owner]);
  }

  has(address: Address): boolean {
    return prefixContains(this.prefix, address);
  }

  /** Undefined when every address is taken. */
  allocate(owner: string): Address | undefined {
    if (BigInt(this.#owners.size) >= this.capacity) return undefined;
    while (this.#owners.has(this.#next)) this.#advance();
    const offset = this.#next;
    this.#owners.set(offset, owner);
    this.#advance();
    return nthAddress(this.prefix, offset);
  }

  /** Takes a certain address. False when another owner has it or it is not of this pool. */
  reserve(text: string, owner: string): boolean {
    const offset = this.#usableOffset(text);
    if (offset === undefined) return false;
    const holder = this.#owners.get(offset);
    if (holder !== undefined && holder !== owner) return false;
    this.#owners.set(offset, owner);
    // Counting goes on behind what was restored, so that an address freed just before a restart is not reused first.
    if (offset > this.#next) this.#next = offset;
    if (this.#next === offset) this.#advance();
    return true;
  }

  release(address: Address): void {
    const offset = this.#usableOffset(address);
    if (offset !== undefined) this.#owners.delete(offset);
  }

  /** The n-th usable address, from 0. */
  nth(index: number): Address {
    return nthAddress(this.prefix, index + 1);
  }

  #usableOffset(text: string): bigint | undefined {
    const address = tryParseAddress(text);
    if (address === undefined || !this.has(address)) return undefined;
    const offset = addressOffset(this.prefix, address);
    return offset >= 1n && offset <= this.capacity ? offset : undefined;
  }

  #advance(): void {
    this.#next = this.#next >= this.capacity ? 1n : this.#next + 1n;
  }
}
