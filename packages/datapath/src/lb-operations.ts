/** Operations of lbRows: frontends and the backends they share, into the load balancer's maps. */
import {
  type LbAffinityMatch,
  type LbBackend,
  LbBackendFlags,
  type LbKey,
  type LbRevnat,
  type LbService,
  type LbSourceRange,
  type LbSourceRangeKey,
} from '@ciliate/abi';
import type { BpfMap, Codec, MapOfMaps } from '@ciliate/kernel';
import type { LbRow, LbWrite } from '@ciliate/model';
import { deepEqual, type Operations } from '@ciliate/tables';

export interface LbMaps {
  readonly lb_services: BpfMap<LbKey, LbService>;
  readonly lb_backends: BpfMap<number, LbBackend>;
  readonly lb_revnat: BpfMap<number, LbRevnat>;
  readonly lb_affinity_match: BpfMap<LbAffinityMatch, LbSourceRange>;
  readonly lb_source_ranges: BpfMap<LbSourceRangeKey, LbSourceRange>;
  readonly lb_maglev: MapOfMaps<number, number, Uint32Array>;
}

/** Of the whole map, not of a frontend: who comes, and who goes or is not ready. */
export interface BackendEvents {
  readonly added?: (backend: LbBackend) => void;
  readonly removed?: (backend: LbBackend) => void;
}

/** The one entry of a Maglev table: backend ids in host order. */
export function maglevCodec(entries: number): Codec<Uint32Array> {
  return {
    name: `${entries} backend ids`,
    size: entries * 4,
    write: (value, target, offset) => {
      target.fill(0, offset, offset + entries * 4);
      target.set(new Uint8Array(value.buffer, value.byteOffset, Math.min(value.byteLength, entries * 4)), offset);
    },
    read: (source, offset) => new Uint32Array(source.slice(offset, offset + entries * 4).buffer),
  };
}

/**
 * Writes of a row go in its order: backends, reverse NAT, slots, master last, so that no packet finds a slot without
 * backend or a count without slots; what the row has no more goes after that. Backends are shared between rows and leave when no row
 * holds them; every other entry belongs to one row. A row holds what it may have put, also by an update that failed half-way, until
 * the entry is removed.
 */
export function lbOperations(maps: LbMaps, backends: BackendEvents = {}): Operations<LbRow> {
  /** By row: what it may have put. The row's own array, so that it costs nothing to keep. */
  const held = new Map<string, readonly LbWrite[]>();
  /** Rows whose last update has ended: of those an entry that is the same is in the kernel. */
  const complete = new Set<string>();
  const backendUsers = new Map<number, number>();

  /** One that is not ready counts as gone: who has asked it shall ask another. */
  const told = (backend: LbBackend): void => {
    if ((backend.flags & LbBackendFlags.LB_BACKEND_MAINTENANCE) === 0) backends.added?.(backend);
    else backends.removed?.(backend);
  };
  const countBackends = (writes: readonly LbWrite[], by: 1 | -1): void => {
    for (const write of writes) {
      if (write.map !== 'lb_backends') continue;
      const users = (backendUsers.get(write.key) ?? 0) + by;
      if (users > 0) backendUsers.set(write.key, users);
      else backendUsers.delete(write.key);
    }
  };
  /** Master first, backends last: the reverse of the order in which they were put. Each goes from `held` when it is gone. */
  const letGo = (key: string, kept: readonly LbWrite[], gone: readonly LbWrite[]): void => {
    const order = gone.toSorted(mastersFirst);
    for (const [i, write] of order.entries()) {
      if (write.map === 'lb_backends' && (backendUsers.get(write.key) ?? 0) > 1) countBackends([write], -1);
      else {
        removeWrite(maps, write);
        countBackends([write], -1);
        if (write.map === 'lb_backends') backends.removed?.(write.value);
      }
      held.set(key, [...kept, ...order.slice(i + 1)]);
    }
    if (kept.length === 0) held.delete(key);
    else held.set(key, kept);
  };

  return {
    update: row => {
      const before = new Map((held.get(row.key) ?? []).map(write => [nameOf(maps, write), write]));
      const wasComplete = complete.delete(row.key);
      const changed: LbWrite[] = [];
      const fresh: LbWrite[] = [];
      for (const write of row.writes) {
        const name = before.size === 0 ? '' : nameOf(maps, write);
        const old = before.get(name);
        before.delete(name);
        if (old === undefined) fresh.push(write);
        if (old === undefined || !wasComplete || !deepEqual(old, write)) changed.push(write);
      }
      const gone = [...before.values()];
      // Before the first put: whatever fails after it, the row knows what it may have put.
      held.set(row.key, gone.length === 0 ? row.writes : [...row.writes, ...gone]);
      countBackends(fresh, 1);
      for (const write of changed) {
        putWrite(maps, write);
        if (write.map === 'lb_backends') told(write.value);
      }
      letGo(row.key, row.writes, gone);
      complete.add(row.key);
    },
    delete: row => {
      complete.delete(row.key);
      // A row that this agent has not written yet: what an agent before it may have put.
      if (!held.has(row.key)) {
        held.set(row.key, row.writes);
        countBackends(row.writes, 1);
      }
      letGo(row.key, [], held.get(row.key) ?? []);
    },
    prune: rows => {
      const wanted = new Set(rows.flatMap(row => row.writes).map(write => nameOf(maps, write)));
      for (const writes of held.values()) for (const write of writes) wanted.add(nameOf(maps, write));
      for (const write of allWrites(maps)) {
        if (wanted.has(nameOf(maps, write))) continue;
        removeWrite(maps, write);
        if (write.map === 'lb_backends') backends.removed?.(write.value);
      }
    },
  };
}

const removalOrder = ['lb_services', 'lb_maglev', 'lb_source_ranges', 'lb_affinity_match', 'lb_revnat', 'lb_backends'];

function mastersFirst(a: LbWrite, b: LbWrite): number {
  return removalRank(a) - removalRank(b);
}

function removalRank(write: LbWrite): number {
  const isSlot = write.map === 'lb_services' && write.key.backendSlot > 0;
  return removalOrder.indexOf(write.map) * 2 + Number(isSlot);
}

/** Equal for writes of the same entry. */
function nameOf(maps: LbMaps, write: LbWrite): string {
  switch (write.map) {
    case 'lb_services':
      return keyText(maps.lb_services.key, write.key);
    case 'lb_affinity_match':
      return `${write.map} ${write.key.revNatId} ${write.key.backendId}`;
    case 'lb_source_ranges':
      return `${write.map} ${keyText(maps.lb_source_ranges.key, write.key)}`;
    default:
      return `${write.map} ${write.key}`;
  }
}

function keyText<K>(codec: Codec<K>, key: K): string {
  const bytes = Buffer.alloc(codec.size);
  codec.write(key, bytes, 0);
  return bytes.toString('latin1');
}

function* allWrites(maps: LbMaps): IterableIterator<LbWrite> {
  for (const [key, value] of [...maps.lb_services.entries()]) yield { map: 'lb_services', key, value };
  for (const key of [...maps.lb_maglev.keys()]) yield { map: 'lb_maglev', key, value: new Uint32Array() };
  for (const [key, value] of [...maps.lb_source_ranges.entries()]) yield { map: 'lb_source_ranges', key, value };
  for (const [key, value] of [...maps.lb_affinity_match.entries()]) yield { map: 'lb_affinity_match', key, value };
  for (const [key, value] of [...maps.lb_revnat.entries()]) yield { map: 'lb_revnat', key, value };
  for (const [key, value] of [...maps.lb_backends.entries()]) yield { map: 'lb_backends', key, value };
}

function putWrite(maps: LbMaps, write: LbWrite): void {
  if (write.map === 'lb_services') maps.lb_services.put(write.key, write.value);
  else if (write.map === 'lb_backends') maps.lb_backends.put(write.key, write.value);
  else if (write.map === 'lb_revnat') maps.lb_revnat.put(write.key, write.value);
  else if (write.map === 'lb_affinity_match') maps.lb_affinity_match.put(write.key, write.value);
  else if (write.map === 'lb_source_ranges') maps.lb_source_ranges.put(write.key, write.value);
  else maps.lb_maglev.replace(write.key, [[0, write.value]]);
}

function removeWrite(maps: LbMaps, write: LbWrite): void {
  switch (write.map) {
    case 'lb_services':
      maps.lb_services.remove(write.key);
      break;
    case 'lb_affinity_match':
      maps.lb_affinity_match.remove(write.key);
      break;
    case 'lb_source_ranges':
      maps.lb_source_ranges.remove(write.key);
      break;
    default:
      maps[write.map].remove(write.key);
  }
}
