/** Addresses of which policies ask more than their block, and the class of each: alike in all that is asked, alike in number. */
import { type Address, type AddressClassRow, firstClassIdentity, labelList } from '@ciliate/model';
import { IdAllocator } from '../id-allocator.ts';

export type ClassContent = Pick<AddressClassRow, 'of' | 'labels' | 'block' | 'namedPorts'>;
/** What one source (a node, a pod) says of its addresses. */
export type ClassClaims = readonly (readonly [Address, ClassContent])[];

interface Held {
  readonly id: number;
  readonly content: ClassContent;
  /** Address → the sources that have it so. */
  readonly addresses: Map<Address, number>;
  /** ms since 1970 from which no address had it; undefined: some has. */
  emptySince: number | undefined;
}

/** Numbers of the upper half; blocks have the lower one. */
const firstExact = firstClassIdentity + 0x80_0000;

export const isExactClass = (id: number): boolean => id >= firstExact;

export class ExactClasses {
  readonly #restored: ReadonlyMap<Address, number>;
  readonly #numbers = new IdAllocator({ min: firstExact, max: firstClassIdentity + 0xff_fffe });
  readonly #held = new Map<string, Held>();
  readonly #claims = new Map<string, ClassClaims>();
  readonly #dirty = new Set<string>();

  /** `restored`: what the kernel held before this agent started. */
  constructor(restored: Iterable<readonly [Address, number]>) {
    this.#restored = new Map([...restored].filter(([, id]) => id >= firstExact));
    const highest = Math.max(0, ...this.#restored.values());
    this.#numbers.restore(highest > 0 ? [['restored', highest]] : []);
  }

  /** Replaces what the source has said. `now` in ms since 1970. */
  set(source: string, claims: ClassClaims, now: number): void {
    for (const [address, content] of this.#claims.get(source) ?? []) this.#drop(keyOf(content), address, now);
    if (claims.length === 0) this.#claims.delete(source);
    else this.#claims.set(source, claims);
    for (const [address, content] of claims) this.#add(keyOf(content), address, content);
  }

  sources(): readonly string[] {
    return [...this.#claims.keys()];
  }

  /** Rows that are other than when it was last asked, by key; undefined: gone. Empty ones go after `linger` ms. */
  takeDirty(now: number, linger: number): readonly (readonly [string, AddressClassRow | undefined])[] {
    for (const [key, { emptySince }] of this.#held) {
      if (emptySince !== undefined && now - emptySince >= linger) this.#forget(key);
    }
    const dirty = [...this.#dirty].map(key => [key, this.#row(key)] as const);
    this.#dirty.clear();
    return dirty;
  }

  /** When the next row is to go. */
  nextExpiry(linger: number): number | undefined {
    const times = [...this.#held.values()].flatMap(({ emptySince }) => emptySince ?? []);
    return times.length === 0 ? undefined : Math.min(...times) + linger;
  }

  #add(key: string, address: Address, content: ClassContent): void {
    const held = this.#held.get(key) ?? this.#make(key, address, content);
    if (held === undefined) return;
    held.addresses.set(address, (held.addresses.get(address) ?? 0) + 1);
    held.emptySince = undefined;
    this.#dirty.add(key);
  }

  #make(key: string, address: Address, content: ClassContent): Held | undefined {
    const restored = this.#restored.get(address);
    const isFree = restored !== undefined && ![...this.#held.values()].some(({ id }) => id === restored);
    const id = isFree ? restored : this.#numbers.acquire(key);
    if (id === undefined) return undefined;
    const held: Held = { id, content, addresses: new Map(), emptySince: undefined };
    this.#held.set(key, held);
    return held;
  }

  #drop(key: string, address: Address, now: number): void {
    const held = this.#held.get(key);
    if (held === undefined) return;
    const count = (held.addresses.get(address) ?? 0) - 1;
    if (count > 0) held.addresses.set(address, count);
    else held.addresses.delete(address);
    if (held.addresses.size === 0) held.emptySince = now;
    this.#dirty.add(key);
  }

  #forget(key: string): void {
    this.#held.delete(key);
    this.#numbers.release(key);
    this.#dirty.add(key);
  }

  #row(key: string): AddressClassRow | undefined {
    const held = this.#held.get(key);
    if (held === undefined) return undefined;
    return { key, id: held.id, ...held.content, addresses: [...held.addresses.keys()].toSorted() };
  }
}

function keyOf({ of, labels, block, namedPorts }: ClassContent): string {
  return [of, labelList(labels).join(','), block ?? '', JSON.stringify(namedPorts)].join(' ');
}
