import type { Address, Prefix } from '@ciliate/model';
import { contains, type Range, toAddress, toNumber, toRange } from './ip-number.ts';

/** Addresses of one pod CIDR. The network address, and IPv4's broadcast address, are never handed out. */
export class AddressPool {
  readonly prefix: Prefix;
  readonly family: 4 | 6;
  readonly capacity: bigint;
  readonly #first: bigint;
  readonly #range: Range;
  readonly #owners = new Map<bigint, string>();
  /** Freed addresses are used again as late as possible: peers may still know them. */
  #next: bigint;

  /** @throws RangeError for a prefix that holds no usable address */
  constructor(prefix: Prefix) {
    const range = toRange(prefix);
    if (range === undefined) throw new RangeError(`'${prefix}' is no pod CIDR: write it as 10.244.1.0/24 or fd00::/64`);
    const last = range.family === 4 ? range.last - 1n : range.last;
    this.prefix = prefix;
    this.family = range.family;
    this.#first = range.first + 1n;
    this.#range = { ...range, first: this.#first, last };
    this.capacity = last - this.#first + 1n;
    if (this.capacity < 3n)
      throw new RangeError(`pod CIDR ${prefix} is too small: router, health and one pod need 3 addresses`);
    this.#next = this.#first;
  }

  get allocated(): number {
    return this.#owners.size;
  }

  allocations(): readonly (readonly [Address, string])[] {
    return [...this.#owners].map(([value, owner]) => [toAddress(this.family, value), owner]);
  }

  has(address: string): boolean {
    const number = toNumber(address);
    return number !== undefined && contains(this.#range, number.family, number.value);
  }

  /** Undefined when every address is taken. */
  allocate(owner: string): Address | undefined {
    if (BigInt(this.#owners.size) >= this.capacity) return undefined;
    while (this.#owners.has(this.#next)) this.#advance();
    const value = this.#next;
    this.#owners.set(value, owner);
    this.#advance();
    return toAddress(this.family, value);
  }

  /** Takes a certain address. False when another owner has it or it is not of this pool. */
  reserve(address: string, owner: string): boolean {
    const number = toNumber(address);
    if (number === undefined || !contains(this.#range, number.family, number.value)) return false;
    const holder = this.#owners.get(number.value);
    if (holder !== undefined && holder !== owner) return false;
    this.#owners.set(number.value, owner);
    // Counting goes on behind what was restored, so that an address freed just before a restart is not reused first.
    if (number.value >= this.#next) this.#next = number.value;
    if (this.#next === number.value) this.#advance();
    return true;
  }

  release(address: string): void {
    const number = toNumber(address);
    if (number !== undefined && number.family === this.family) this.#owners.delete(number.value);
  }

  /** The n-th usable address, from 0. */
  nth(index: number): Address {
    return toAddress(this.family, this.#first + BigInt(index));
  }

  #advance(): void {
    this.#next = this.#next >= this.#range.last ? this.#first : this.#next + 1n;
  }
}
