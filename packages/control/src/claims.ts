import { intern } from '@ciliate/tables';

/** A row that an owner wants under a key. Of several owners the lowest rank wins, then the first owner by name. */
export interface Claim<Row> {
  readonly key: string;
  readonly rank: number;
  readonly row: Row;
}

/** Who wants what under which key, so that two inputs that give the same output key do not fight over it. */
export class Claims<Row> {
  /** Most keys have one owner, and a list for it would be most of the index. */
  readonly #owners = new Map<string, string | readonly string[]>();
  readonly #claims = new Map<string, readonly Claim<Row>[]>();
  readonly #dirty = new Set<string>();

  /** Replaces all claims of an owner. Of two claims of one owner for one key the lower rank stays. */
  set(owner: string, claims: readonly Claim<Row>[]): void {
    for (const { key } of this.#claims.get(owner) ?? []) this.#drop(owner, key);
    if (claims.length === 0) this.#claims.delete(owner);
    else this.#claims.set(intern(owner), claims);
    for (const { key } of claims) this.#add(owner, key);
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
    return this.#first(key)?.claim.row;
  }

  /** Rows of the owners that did not win, by owner. */
  losers(key: string): readonly Row[] {
    const owners = this.#ownersOf(key);
    if (owners.length < 2) return [];
    const best = this.#first(key)?.owner;
    return owners
      .filter(owner => owner !== best)
      .toSorted((a, b) => (a < b ? -1 : 1))
      .map(owner => this.#claimOf(owner, key)?.row)
      .filter(row => row !== undefined);
  }

  #first(key: string): Entry<Row> | undefined {
    let best: Entry<Row> | undefined;
    for (const owner of this.#ownersOf(key)) {
      const claim = this.#claimOf(owner, key);
      if (claim !== undefined && (best === undefined || isBefore({ owner, claim }, best))) best = { owner, claim };
    }
    return best;
  }

  #ownersOf(key: string): readonly string[] {
    const owners = this.#owners.get(key);
    return typeof owners === 'string' ? [owners] : (owners ?? []);
  }

  #claimOf(owner: string, key: string): Claim<Row> | undefined {
    let best: Claim<Row> | undefined;
    for (const claim of this.#claims.get(owner) ?? []) {
      if (claim.key === key && (best === undefined || claim.rank < best.rank)) best = claim;
    }
    return best;
  }

  #add(owner: string, key: string): void {
    const owners = this.#owners.get(key);
    if (owners === undefined) this.#owners.set(intern(key), owner);
    else if (!this.#ownersOf(key).includes(owner)) this.#owners.set(key, [...this.#ownersOf(key), owner]);
    this.#dirty.add(key);
  }

  #drop(owner: string, key: string): void {
    const owners = this.#ownersOf(key).filter(name => name !== owner);
    const [only] = owners;
    if (only === undefined) this.#owners.delete(key);
    else this.#owners.set(key, owners.length === 1 ? only : owners);
    this.#dirty.add(key);
  }
}

interface Entry<Row> {
  readonly owner: string;
  readonly claim: Claim<Row>;
}

function isBefore<Row>(a: Entry<Row>, b: Entry<Row>): boolean {
  return a.claim.rank === b.claim.rank ? a.owner < b.owner : a.claim.rank < b.claim.rank;
}
