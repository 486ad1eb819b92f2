/** Reconciler operations: desired rows into kernel maps. Idempotent; the engine retries, they do not. */
import type { EndpointEntry, EndpointKey, IpcacheEntry, IpcacheKey, LbBackend, LbKey, LbRevnat, LbService, NetdevEntry, NetdevKey, NodeEntry, NodeKey } from '@ciliate/abi';
import type { BpfMap } from '@ciliate/kernel';
import type { EndpointMapRow, IpcacheRow, LbRow, LbWrite, NetdevRow, NodeMapRow } from '@ciliate/model';
import type { Operations } from '@ciliate/tables';

export interface LbMaps {
  readonly lb_services: BpfMap<LbKey, LbService>;
  readonly lb_backends: BpfMap<number, LbBackend>;
  readonly lb_revnat: BpfMap<number, LbRevnat>;
}

function bytesOf<K>(map: BpfMap<K, unknown>, key: K): string {
  const bytes = Buffer.alloc(map.key.size);
  map.key.write(key, bytes, 0);
  return bytes.toString('latin1');
}

/** Removes every key that `wanted` does not have. */
function removeAllExcept<K, V>(map: BpfMap<K, V>, wanted: ReadonlySet<string>): void {
  map.removeBatch([...map.keys()].filter(key => !wanted.has(bytesOf(map, key))));
}

/**
 * One key and one value per row. A row without conflicts with others is written and removed alone.
 */
function mapOperations<Row extends { readonly key: K; readonly value: V }, K, V>(map: BpfMap<K, V>): Operations<Row> {
  return {
    update: row => map.put(row.key, row.value),
    delete: row => {
      map.remove(row.key);
    },
    prune: rows => removeAllExcept(map, new Set(rows.map(row => bytesOf(map, row.key)))),
  };
}

export const ipcacheOperations = (map: BpfMap<IpcacheKey, IpcacheEntry>): Operations<IpcacheRow> => mapOperations(map);
export const endpointMapOperations = (map: BpfMap<EndpointKey, EndpointEntry>): Operations<EndpointMapRow> => mapOperations(map);
export const netdevOperations = (map: BpfMap<NetdevKey, NetdevEntry>): Operations<NetdevRow> => mapOperations(map);
export const nodeMapOperations = (map: BpfMap<NodeKey, NodeEntry>): Operations<NodeMapRow> => mapOperations(map);

type ServiceWrite = Extract<LbWrite, { readonly map: 'lb_services' }>;

function isService(write: LbWrite): write is ServiceWrite {
  return write.map === 'lb_services';
}

/** A frontend's service rows: master (slot 0) and slots. */
function slotsOf(row: LbRow): readonly ServiceWrite[] {
  return row.writes.filter(isService);
}

/**
 * Frontends. Order of a row's writes: backends, reverse NAT, slots, master last, so that no packet finds a slot without backend
 * or a count without slots. Slots beyond the new count go after the master. Backends are shared: one leaves when its last
 * frontend does.
 */
export function lbOperations(maps: LbMaps): Operations<LbRow> {
  const written = new Map<string, LbRow>();
  const users = new Map<number, Set<string>>();

  const release = (row: LbRow, ids: readonly number[]): void => {
    for (const id of ids) {
      const names = users.get(id);
      names?.delete(row.key);
      if (names !== undefined && names.size > 0) continue;
      maps.lb_backends.remove(id);
      users.delete(id);
    }
  };
  const put = (write: LbWrite): void => {
    if (write.map === 'lb_services') maps.lb_services.put(write.key, write.value);
    else if (write.map === 'lb_backends') maps.lb_backends.put(write.key, write.value);
    else maps.lb_revnat.put(write.key, write.value);
  };
  const removeSurplusSlots = (before: LbRow | undefined, row: LbRow): void => {
    const kept = new Set(slotsOf(row).map(write => bytesOf(maps.lb_services, write.key)));
    for (const write of slotsOf(before ?? row).toReversed()) {
      if (!kept.has(bytesOf(maps.lb_services, write.key))) maps.lb_services.remove(write.key);
    }
  };

  return {
    update(row) {
      const before = written.get(row.key);
      for (const id of row.backendIds) users.set(id, (users.get(id) ?? new Set()).add(row.key));
      for (const write of row.writes) put(write);
      removeSurplusSlots(before, row);
      written.set(row.key, row);
      const kept = new Set(row.backendIds);
      if (before !== undefined) release(before, before.backendIds.filter(id => !kept.has(id)));
      if (before !== undefined && before.serviceId !== row.serviceId) maps.lb_revnat.remove(before.serviceId);
    },
    delete(row) {
      const last = written.get(row.key) ?? row;
      for (const write of last.writes.toReversed()) if (write.map === 'lb_services') maps.lb_services.remove(write.key);
      maps.lb_revnat.remove(last.serviceId);
      release(last, last.backendIds);
      written.delete(row.key);
    },
    prune(rows) {
      const writes = rows.flatMap(row => row.writes);
      const wanted = (name: LbWrite['map']): ReadonlySet<string> =>
        new Set(writes.filter(write => write.map === name).map(write => (write.map === 'lb_services' ? bytesOf(maps.lb_services, write.key) : bytesOf(maps[write.map], write.key))));
      removeAllExcept(maps.lb_services, wanted('lb_services'));
      removeAllExcept(maps.lb_backends, wanted('lb_backends'));
      removeAllExcept(maps.lb_revnat, wanted('lb_revnat'));
    },
  };
}
