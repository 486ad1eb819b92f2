/**
 * Which numbers of blocks and classes the kernel's policy maps know. An address gets its number after that, never before: a deny that the
 * maps do not have yet for it would let it through, and an allow would cut what is open.
 */
import type { PolicyGroupRow, PolicyPeerRow } from '@ciliate/model';
import type { Change } from '@ciliate/tables';

export interface PeerChanges {
  readonly policyPeers: readonly Change<PolicyPeerRow>[];
  readonly policyGroups: readonly Change<PolicyGroupRow>[];
}

export class PeersInForce {
  readonly #known = new Set<number>();
  readonly #restored: Set<number>;
  /** Number → the revision with which the maps know it. */
  readonly #waiting = new Map<number, number>();
  /** Group → the oldest revision that is not in the kernel yet. */
  readonly #pending = new Map<number, number>();

  /** `restored`: numbers that addresses had in the kernel before this agent started, and its policy maps with them. */
  constructor(restored: Iterable<number>) {
    this.#restored = new Set(restored);
  }

  has(id: number): boolean {
    return this.#known.has(id) || this.#restored.has(id);
  }

  /** Numbers that have become known. */
  read({ policyPeers, policyGroups }: PeerChanges): readonly number[] {
    for (const { row, deleted } of policyPeers) {
      this.#waiting.delete(row.id);
      this.#known.delete(row.id);
      if (deleted) continue;
      if (this.#restored.delete(row.id)) this.#known.add(row.id);
      else this.#waiting.set(row.id, row.revision);
    }
    for (const { row, deleted } of policyGroups) {
      // One that is refused, or fails, keeps what it had: the others must not wait for it.
      if (deleted || row.status.kind !== 'pending') this.#pending.delete(row.id);
      // Changed again before it was written: the kernel has neither the one nor the other.
      else this.#pending.set(row.id, Math.min(row.revision, this.#pending.get(row.id) ?? row.revision));
    }
    const oldest = Math.min(...this.#pending.values());
    const ready = [...this.#waiting].filter(([, revision]) => revision < oldest).map(([id]) => id);
    for (const id of ready) {
      this.#waiting.delete(id);
      this.#known.add(id);
    }
    return ready;
  }
}
