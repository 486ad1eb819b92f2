/** A row that an owner wants under a key. Of several owners the lowest rank wins, then the first owner by name. */
export interface Claim<Row> {
  readonly key: string;
  readonly rank: number;
  readonly row: Row;
}

/** Who wants what under which key, so that two inputs that give the same output key do not fight over it. */
export class Claims<Row> {
  /** A key has one owner, or a few. */
  readonly #byKey = new Map<string, readonly Entry<Row>[]>();
  readonly #byOwner = new Map<string, readonly Claim<Row>[]>();
  readonly #dirty = new Set<string>();

  /** Replaces all claims of an owner. Of two claims of one owner for one key the lower rank stays. */
  set(owner: string, claims: readonly Claim<Row>[]): void {
    for (const { key } of this.#byOwner.get(owner) ?? []) this.#drop(owner, key);
    if (claims.length === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, claims);
    for (const claim of claims) this.#add(owner, claim);
  }

  /** Keys whose winner may differ since they were last `settle`d. */
  get dirty(): ReadonlySet<string> {
    return this.#dirty;
  }

  /** Call when the winners of the dirty keys have been written for good. */
  settle(): void {
    this.#dirty.clear();
  }

  winner(key: string): Row | undefined {
    return this.#first(key)?.[1].row;
  }

  /** Rows of the owners that did not win, by owner. */
  losers(key: string): readonly Row[] {
    const owners = this.#byKey.get(key);
    if (owners === undefined || owners.length < 2) return [];
    const best = this.#first(key)?.[0];
    return owners
      .filter(([owner]) => owner !== best)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, claim]) => claim.row);
  }

  #first(key: string): Entry<Row> | undefined {
    let best: Entry<Row> | undefined;
    for (const entry of this.#byKey.get(key) ?? []) if (best === undefined || isBefore(entry, best)) best = entry;
    return best;
  }

  #add(owner: string, claim: Claim<Row>): void {
    const owners = this.#byKey.get(claim.key) ?? [];
    const own = owners.find(([name]) => name === owner)?.[1];
    if (own === undefined || claim.rank < own.rank) {
      this.#byKey.set(claim.key, [...owners.filter(([name]) => name !== owner), [owner, claim]]);
    }
    this.#dirty.add(claim.key);
  }

  #drop(owner: string, key: string): void {
    const owners = this.#byKey.get(key)?.filter(([name]) => name !== owner) ?? [];
    if (owners.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, owners);
    this.#dirty.add(key);
  }
}

type Entry<Row> = readonly [owner: string, claim: Claim<Row>];

function isBefore<Row>([ownerA, a]: Entry<Row>, [ownerB, b]: Entry<Row>): boolean {
  return a.rank === b.rank ? ownerA < ownerB : a.rank < b.rank;
}
