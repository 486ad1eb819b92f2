/** Tells when the policy maps know a block or a class: its number is for addresses from then on. */
import type { PolicyPeerRow } from '@ciliate/model';
import { type RWTable, upsert, type WriteTxn } from '@ciliate/tables';

export class PolicyPeers {
  readonly #table: RWTable<PolicyPeerRow>;
  readonly #known = new Set<number>();
  readonly #new = new Set<number>();
  readonly #gone = new Set<number>();

  constructor(table: RWTable<PolicyPeerRow>) {
    this.#table = table;
  }

  has(id: number): boolean {
    return this.#known.has(id);
  }

  note(id: number, isThere: boolean): void {
    if (isThere && !this.#known.has(id)) this.#new.add(id);
    if (!isThere) this.#gone.add(id);
    if (isThere) this.#known.add(id);
    else this.#known.delete(id);
  }

  /** `revision`: of the newest group that has been compiled with them. */
  write(revision: number, txn: WriteTxn): void {
    for (const id of this.#gone) if (!this.#known.has(id)) this.#table.delete(txn, String(id));
    for (const id of this.#new) if (this.#known.has(id)) upsert(this.#table, txn, { id, revision });
    this.#gone.clear();
    this.#new.clear();
  }
}
