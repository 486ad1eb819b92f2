/** What a policy map holds, by the identity that entries are about: equal parts are shared from one content to the next. */
import { type PolicyEntry, PolicyFlags, type PolicyKey } from '@ciliate/abi';

export type PolicyMapEntry = readonly [key: PolicyKey, value: PolicyEntry];

/** Entries about one identity. */
type Part = readonly [identity: number, entries: readonly PolicyMapEntry[]];
/** By identity. */
type Bucket = readonly Part[];

const bucketCount = 64;
const none: readonly PolicyMapEntry[] = [];
const empty: Bucket = [];

/** Steps from one content to another in a map that is in use: first `puts`, then `removes`, each in its order. */
export interface ContentChange {
  readonly puts: readonly PolicyMapEntry[];
  readonly removes: readonly PolicyKey[];
}

export class PolicyContent {
  /** Entries. */
  readonly size: number;
  readonly #buckets: readonly Bucket[];

  private constructor(buckets: readonly Bucket[], size: number) {
    this.#buckets = buckets;
    this.size = size;
  }

  static readonly empty = new PolicyContent(
    Array.from({ length: bucketCount }, () => empty),
    0,
  );

  /** The entries of each identity; those without any are left out. */
  static of(parts: Iterable<Part>): PolicyContent {
    return PolicyContent.empty.with(parts);
  }

  /** Of entries in any order, as a map holds them. */
  static ofEntries(entries: Iterable<PolicyMapEntry>): PolicyContent {
    const parts = new Map<number, PolicyMapEntry[]>();
    for (const entry of entries) {
      const part = parts.get(entry[0].identity);
      if (part === undefined) parts.set(entry[0].identity, [entry]);
      else part.push(entry);
    }
    return PolicyContent.of(parts);
  }

  part(identity: number): readonly PolicyMapEntry[] {
    return this.#bucket(identity).find(([id]) => id === identity)?.[1] ?? none;
  }

  /** These parts in the place of what was there; the rest is shared. */
  with(parts: Iterable<Part>): PolicyContent {
    const changed = new Map<number, Map<number, readonly PolicyMapEntry[]>>();
    let { size } = this;
    for (const [identity, entries] of parts) {
      const index = identity % bucketCount;
      const bucket = changed.get(index) ?? new Map(this.#buckets[index]);
      changed.set(index, bucket);
      size += entries.length - (bucket.get(identity)?.length ?? 0);
      if (entries.length > 0) bucket.set(identity, entries);
      else bucket.delete(identity);
    }
    const buckets = [...this.#buckets];
    for (const [index, bucket] of changed) buckets[index] = [...bucket].toSorted(([a], [b]) => a - b);
    return new PolicyContent(buckets, size);
  }

  /** In an order that depends on the content alone. */
  *entries(): IterableIterator<PolicyMapEntry> {
    for (const bucket of this.#buckets) for (const [, entries] of bucket) yield* entries;
  }

  /** Identities whose entries are other ones than in `before`. */
  changedSince(before: PolicyContent): readonly number[] {
    const changed: number[] = [];
    this.#buckets.forEach((bucket, index) => {
      const old = before.#buckets[index] ?? empty;
      if (old === bucket) return;
      const known = new Map(old);
      for (const [id, entries] of bucket) {
        const its = known.get(id);
        known.delete(id);
        if (its === undefined || !sameEntries(its, entries)) changed.push(id);
      }
      changed.push(...known.keys());
    });
    return changed;
  }

  equals(other: PolicyContent): boolean {
    return this.size === other.size && this.changedSince(other).length === 0;
  }

  toJSON(): unknown {
    return [...this.entries()];
  }

  #bucket(identity: number): Bucket {
    return this.#buckets[identity % bucketCount] ?? empty;
  }
}

/** One that is only tried out is none: it stands where something is allowed, and says that it would deny it. */
export function isDenyEntry({ flags }: PolicyEntry): boolean {
  return (flags & (PolicyFlags.POLICY_DENY | PolicyFlags.POLICY_DEFAULT | PolicyFlags.POLICY_AUDIT)) === 1;
}

/**
 * From one identity's entries to others. Denies come before allows, and go after them: so what the map says to a packet is at each step what it
 * said before or what it will say, never a third thing (what is let through by audit may go unreported meanwhile). It rests on what the
 * compiler holds to: no allow under a deny that is broader.
 */
export function changeOfPart(before: readonly PolicyMapEntry[], now: readonly PolicyMapEntry[]): ContentChange {
  return inOrder(differenceOf(before, now));
}

/**
 * From one content to another at once. Undefined: it cannot be done step by step. A packet is judged by three parts (of its identity, of its
 * address, of everybody), so steps are safe only when all of them move one way: entries are added, denies first; or taken away, denies last; or
 * only allows change, or only denies, and what comes comes before what goes.
 */
export function changeOfContent(before: PolicyContent, now: PolicyContent): ContentChange | undefined {
  const each = now.changedSince(before).map(id => differenceOf(before.part(id), now.part(id)));
  const all = {
    added: each.flatMap(({ added }) => added),
    renamed: each.flatMap(({ renamed }) => renamed),
    turned: each.flatMap(({ turned }) => turned),
    gone: each.flatMap(({ gone }) => gone),
  };
  const denies = [...all.added, ...all.gone].filter(([, value]) => isDenyEntry(value)).length;
  const isOneKind = denies === 0 || denies === all.added.length + all.gone.length;
  const isOneWay = all.added.length === 0 || all.gone.length === 0;
  return all.turned.length === 0 && (isOneWay || isOneKind) ? inOrder(all) : undefined;
}

/** Nothing that passed is kept from passing: allows are added, and rules get other names. */
export function onlyLetsIn(before: PolicyContent, now: PolicyContent): boolean {
  return now.changedSince(before).every(id => {
    const { added, turned, gone } = differenceOf(before.part(id), now.part(id));
    return turned.length + gone.length === 0 && !added.some(([, value]) => isDenyEntry(value));
  });
}

interface PartDifference {
  readonly added: readonly PolicyMapEntry[];
  /** The same verdict by another rule. */
  readonly renamed: readonly PolicyMapEntry[];
  /** Another verdict under the same key. */
  readonly turned: readonly PolicyMapEntry[];
  readonly gone: readonly PolicyMapEntry[];
}

function differenceOf(before: readonly PolicyMapEntry[], now: readonly PolicyMapEntry[]): PartDifference {
  const old = new Map(before.map(entry => [keyText(entry), entry]));
  const [added, renamed, turned]: PolicyMapEntry[][] = [[], [], []];
  for (const entry of now) {
    const its = old.get(keyText(entry));
    old.delete(keyText(entry));
    if (its === undefined) added?.push(entry);
    else if (verdictFlags(its) !== verdictFlags(entry)) turned?.push(entry);
    else if (!sameMapEntry(its, entry)) renamed?.push(entry);
  }
  return { added: added ?? [], renamed: renamed ?? [], turned: turned ?? [], gone: [...old.values()] };
}

function inOrder({ added, renamed, turned, gone }: PartDifference): ContentChange {
  const isDeny = ([, value]: PolicyMapEntry) => isDenyEntry(value);
  const puts = [...renamed, ...turned, ...added];
  return {
    puts: [...puts.filter(isDeny), ...puts.filter(entry => !isDeny(entry))],
    removes: [...gone.filter(entry => !isDeny(entry)), ...gone.filter(isDeny)].map(([key]) => key),
  };
}

/** All but whether it is logged. */
const verdictFlags = ([, { flags, proxyPort }]: PolicyMapEntry): string =>
  `${flags & ~PolicyFlags.POLICY_LOG} ${proxyPort}`;

/** But for counters, which grow in the kernel. */
export function sameMapEntry(a: PolicyMapEntry | undefined, b: PolicyMapEntry | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  const [[key, value], [other, its]] = [a, b];
  return (
    value.ruleId === its.ruleId &&
    value.flags === its.flags &&
    value.proxyPort === its.proxyPort &&
    key.prefixlen === other.prefixlen &&
    key.identity === other.identity &&
    key.direction === other.direction &&
    key.proto === other.proto &&
    key.dport === other.dport
  );
}

function sameEntries(a: readonly PolicyMapEntry[], b: readonly PolicyMapEntry[]): boolean {
  return a === b || (a.length === b.length && a.every((entry, i) => sameMapEntry(entry, b[i])));
}

const keyText = ([{ direction, proto, dport, prefixlen }]: PolicyMapEntry): string =>
  `${direction}/${proto}/${dport}/${prefixlen}`;
