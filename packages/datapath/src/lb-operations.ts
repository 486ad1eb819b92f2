/** Operations of lbRows: frontends and the backends they share, into the load balancer's maps. */
import { type LbBackend, LbBackendFlags } from '@ciliate/abi';
import type { LbRow, LbWrite } from '@ciliate/model';
import { errorText, type Operations } from '@ciliate/tables';
import { IdCounts } from './id-counts.ts';
import {
  entriesOf,
  LbBatch,
  type LbMapName,
  type LbMaps,
  lbMapNames,
  nameInRow,
  nameOf,
  putRank,
  putWrite,
  removeEntry,
  sameValue,
} from './lb-maps.ts';

/** Of the whole map, not of a frontend: who comes, and who goes or is not ready. */
export interface BackendEvents {
  readonly added?: (backend: LbBackend) => void;
  readonly removed?: (backend: LbBackend) => void;
}

/** What takes the maps from what a row had to what it shall have. */
interface Difference {
  readonly writes: readonly LbWrite[];
  /** Of the writes: what the maps do not have, or have with another value. */
  readonly changed: readonly LbWrite[];
  /** Of the changed: entries that the row did not have. */
  readonly fresh: readonly LbWrite[];
  /** Entries that it has no more, in the order in which they are to go. */
  readonly gone: LbWrite[];
}

const none: ReadonlySet<LbRow> = new Set();

/** Pure, and in the order that is safe to apply: lbWrites of @ciliate/control. */
export type WritesOf = (row: LbRow) => readonly LbWrite[];

export const lbOperations = (maps: LbMaps, writesOf: WritesOf, events: BackendEvents = {}): Operations<LbRow> =>
  new LbOperations(maps, writesOf, events);

/**
 * Writes of a row go in its order: backends, reverse NAT, slots, master last, so that no packet finds a slot without
 * backend or a count without slots; what the row has no more goes after that. Backends are shared between rows and leave when no row
 * holds them; every other entry belongs to one row. A row holds what it may have put, also by an update that failed half-way, until
 * the entry is removed.
 */
class LbOperations implements Operations<LbRow> {
  readonly #maps: LbMaps;
  readonly #writesOf: WritesOf;
  readonly #events: BackendEvents;
  /** Rows of which the maps have all writes, and nothing else. The row says which: writes are made again when it changes. */
  readonly #complete = new Map<string, LbRow>();
  /** Rows whose last operation has failed: what they may have put. */
  readonly #unfinished = new Map<string, readonly LbWrite[]>();
  readonly #backendUsers = new IdCounts();
  /** Entries that rows may have put, backends aside. */
  readonly #entries = new Map<LbMapName, number>();

  constructor(maps: LbMaps, writesOf: WritesOf, events: BackendEvents) {
    this.#maps = maps;
    this.#writesOf = writesOf;
    this.#events = events;
  }

  update(row: LbRow): void {
    const { writes, changed, fresh, gone } = this.#difference(row);
    for (const write of fresh) this.#use(write, 1);
    try {
      for (const write of changed) {
        putWrite(this.#maps, write);
        this.#told(write);
      }
      this.#letGo(gone);
    } catch (error) {
      this.#failed(row.key, [...writes, ...gone]);
      throw error;
    }
    this.#unfinished.delete(row.key);
    this.#complete.set(row.key, row);
  }

  /** Rows that take nothing out of the maps go to them together; one that fails then goes again by itself. */
  updateBatch(rows: readonly LbRow[]): readonly (Error | undefined)[] {
    const put = rows.length < 2 ? none : this.#putTogether(rows);
    return rows.map(row => {
      try {
        if (!put.has(row)) this.update(row);
        return undefined;
      } catch (thrown) {
        return thrown instanceof Error ? thrown : new Error(errorText(thrown));
      }
    });
  }

  delete(row: LbRow): void {
    const { key } = row;
    // A row that this agent has not written yet: what an agent before it may have put.
    const isKnown = this.#complete.has(key) || this.#unfinished.has(key);
    const held = (isKnown ? this.#held(key) : this.#writesOf(row)).toSorted(mastersFirst);
    if (!isKnown) for (const write of held) this.#use(write, 1);
    try {
      this.#letGo(held);
    } catch (error) {
      this.#failed(key, held);
      throw error;
    }
    this.#unfinished.delete(key);
    this.#complete.delete(key);
  }

  prune(rows: readonly LbRow[]): void {
    // As many entries as rows have put: they are these, and there is nothing to look for.
    const doubtful = lbMapNames.filter(
      map => this.#unfinished.size > 0 || this.#maps[map].count() !== this.#count(map),
    );
    if (doubtful.length === 0) return;
    const wanted = new Set<string>();
    const want = (writes: readonly LbWrite[]): void => {
      for (const write of writes) if (doubtful.includes(write.map)) wanted.add(nameOf(this.#maps, write));
    };
    for (const row of [...rows, ...this.#complete.values()]) want(this.#writesOf(row));
    for (const writes of this.#unfinished.values()) want(writes);
    for (const map of doubtful.toReversed()) {
      for (const entry of entriesOf(this.#maps, map)) {
        if (wanted.has(nameOf(this.#maps, entry))) continue;
        const backend = entry.map === 'lb_backends' ? this.#maps.lb_backends.lookup(entry.key) : undefined;
        removeEntry(this.#maps, entry);
        if (backend !== undefined) this.#events.removed?.(backend);
      }
    }
  }

  /** Those that are in the maps now. What a failed batch may have put, its rows hold. */
  #putTogether(rows: readonly LbRow[]): ReadonlySet<LbRow> {
    const batch = new LbBatch(this.#maps);
    const together = new Set<LbRow>();
    // One row after the other, and nothing kept of it: the writes of all would outlive several collections of the young generation.
    for (const row of rows) {
      if (this.#unfinished.has(row.key)) continue;
      const { changed, fresh, gone } = this.#difference(row);
      if (gone.length > 0) continue;
      for (const write of fresh) this.#use(write, 1);
      for (const write of changed) {
        batch.add(write);
        this.#told(write);
      }
      together.add(row);
    }
    try {
      batch.put();
    } catch {
      for (const row of together) this.#failed(row.key, this.#writesOf(row));
      return none;
    }
    for (const row of together) this.#complete.set(row.key, row);
    return together;
  }

  #difference(row: LbRow): Difference {
    const writes = this.#writesOf(row);
    const held = this.#held(row.key);
    if (held.length === 0) return { writes, changed: writes, fresh: writes, gone: [] };
    const wasComplete = this.#complete.has(row.key);
    const before = new Map(held.map(write => [nameInRow(this.#maps, write), write]));
    const changed: LbWrite[] = [];
    const fresh: LbWrite[] = [];
    for (const write of writes) {
      const name = nameInRow(this.#maps, write);
      const old = before.get(name);
      before.delete(name);
      if (old === undefined) fresh.push(write);
      if (old === undefined || !wasComplete || !sameValue(old, write)) changed.push(write);
    }
    return { writes, changed, fresh, gone: [...before.values()].toSorted(mastersFirst) };
  }

  #held(key: string): readonly LbWrite[] {
    const row = this.#complete.get(key);
    return row === undefined ? (this.#unfinished.get(key) ?? []) : this.#writesOf(row);
  }

  /** An operation that ended half-way: whatever the row may have put it holds, until the entry is removed. */
  #failed(key: string, held: readonly LbWrite[]): void {
    this.#complete.delete(key);
    this.#unfinished.set(key, held);
  }

  /** Takes out of the list what is gone. */
  #letGo(left: LbWrite[]): void {
    for (let [write] = left; write !== undefined; [write] = left) {
      const isShared = write.map === 'lb_backends' && this.#backendUsers.get(write.key) > 1;
      if (!isShared) {
        removeEntry(this.#maps, write);
        if (write.map === 'lb_backends') this.#events.removed?.(write.value);
      }
      this.#use(write, -1);
      left.shift();
    }
  }

  #use(write: LbWrite, by: 1 | -1): void {
    if (write.map === 'lb_backends') this.#backendUsers.add(write.key, by);
    else this.#entries.set(write.map, this.#count(write.map) + by);
  }

  #count(map: LbMapName): number {
    return map === 'lb_backends' ? this.#backendUsers.size : (this.#entries.get(map) ?? 0);
  }

  /** One that is not ready counts as gone: who has asked it shall ask another. */
  #told(write: LbWrite): void {
    if (write.map !== 'lb_backends') return;
    const isReady = (write.value.flags & LbBackendFlags.LB_BACKEND_MAINTENANCE) === 0;
    if (isReady) this.#events.added?.(write.value);
    else this.#events.removed?.(write.value);
  }
}

/** The reverse of the order in which they were put. */
function mastersFirst(a: LbWrite, b: LbWrite): number {
  return putRank(b) - putRank(a);
}
