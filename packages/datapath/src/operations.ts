/** Reconciler operations: desired rows into kernel maps. Idempotent; the engine retries, they do not. */
import type {
  EndpointEntry,
  EndpointKey,
  IpcacheEntry,
  IpcacheKey,
  NetdevEntry,
  NetdevKey,
  NodeEntry,
  NodeKey,
} from '@ciliate/abi';
import type { BpfMap } from '@ciliate/kernel';
import type { EndpointMapRow, IpcacheRow, NetdevRow, NodeMapRow } from '@ciliate/model';
import type { Operations } from '@ciliate/tables';

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
export const endpointMapOperations = (map: BpfMap<EndpointKey, EndpointEntry>): Operations<EndpointMapRow> =>
  mapOperations(map);
export const netdevOperations = (map: BpfMap<NetdevKey, NetdevEntry>): Operations<NetdevRow> => mapOperations(map);
export const nodeMapOperations = (map: BpfMap<NodeKey, NodeEntry>): Operations<NodeMapRow> => mapOperations(map);
