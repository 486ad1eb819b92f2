/** The smallest Operations that bring rows to maps, for script tests of what stands before them. */
import type { LbBackend, LbKey, LbRevnat, LbService } from '@ciliate/abi';
import type { BpfMap } from '@ciliate/kernel';
import { addressFromBytes, type LbRow, type LbWrite } from '@ciliate/model';
import type { Operations, Reconcilable } from '@ciliate/tables';

export interface LbMaps {
  readonly lb_services: BpfMap<LbKey, LbService>;
  readonly lb_backends: BpfMap<number, LbBackend>;
  readonly lb_revnat: BpfMap<number, LbRevnat>;
}

interface EntryRow<K, V> extends Reconcilable {
  readonly key: K;
  readonly value: V;
}

/** A map that has one entry a row. */
export function entryOperations<K, V>(map: BpfMap<K, V>, text: (key: K) => string): Operations<EntryRow<K, V>> {
  return {
    update: row => map.put(row.key, row.value),
    delete: row => void map.remove(row.key),
    prune: rows => {
      const wanted = new Set(rows.map(row => text(row.key)));
      for (const key of [...map.keys()]) if (!wanted.has(text(key))) map.remove(key);
    },
  };
}

export function lbOperations(maps: LbMaps): Operations<LbRow> {
  /** What each row has put, so that what its next version lacks is removed. */
  const written = new Map<string, readonly LbWrite[]>();
  const isNeeded = (name: string) =>
    [...written.values()].some(writes => writes.some(write => writeName(write) === name));
  const removeStale = (before: readonly LbWrite[]) => {
    for (const write of before.toReversed()) if (!isNeeded(writeName(write))) removeWrite(maps, write);
  };
  return {
    update: row => {
      const before = written.get(row.key) ?? [];
      // Until the end both versions count: a fault in the middle leaves nothing unaccounted for.
      written.set(row.key, [...before, ...row.writes]);
      for (const write of row.writes) putWrite(maps, write);
      written.set(row.key, row.writes);
      try {
        removeStale(before);
      } catch (error) {
        written.set(row.key, [...before, ...row.writes]);
        throw error;
      }
    },
    delete: row => {
      const before = written.get(row.key) ?? row.writes;
      written.delete(row.key);
      try {
        removeStale(before);
      } catch (error) {
        written.set(row.key, before);
        throw error;
      }
    },
    prune: rows => {
      const wanted = new Set(rows.flatMap(row => row.writes).map(writeName));
      for (const write of allWrites(maps)) if (!wanted.has(writeName(write))) removeWrite(maps, write);
    },
  };
}

function allWrites(maps: LbMaps): readonly LbWrite[] {
  return [
    ...[...maps.lb_services.entries()].map(([key, value]) => ({ map: 'lb_services' as const, key, value })),
    ...[...maps.lb_backends.entries()].map(([key, value]) => ({ map: 'lb_backends' as const, key, value })),
    ...[...maps.lb_revnat.entries()].map(([key, value]) => ({ map: 'lb_revnat' as const, key, value })),
  ];
}

function writeName(write: LbWrite): string {
  if (write.map !== 'lb_services') return `${write.map} ${write.key}`;
  const { address, dport, backendSlot, proto, scope } = write.key;
  return `${addressFromBytes(address)} ${dport} ${backendSlot} ${proto} ${scope}`;
}

function putWrite(maps: LbMaps, write: LbWrite): void {
  if (write.map === 'lb_services') maps.lb_services.put(write.key, write.value);
  else if (write.map === 'lb_backends') maps.lb_backends.put(write.key, write.value);
  else maps.lb_revnat.put(write.key, write.value);
}

function removeWrite(maps: LbMaps, write: LbWrite): void {
  if (write.map === 'lb_services') maps.lb_services.remove(write.key);
  else if (write.map === 'lb_backends') maps.lb_backends.remove(write.key);
  else maps.lb_revnat.remove(write.key);
}
