/** Reconciler operations: desired rows into kernel maps. Idempotent; the engine retries, they do not. */
import type {
  EndpointEntry,
  EndpointKey,
  IpcacheEntry,
  IpcacheKey,
  LbSkip,
  LbSkipKey,
  NetdevEntry,
  NetdevKey,
  NodeEntry,
  NodeKey,
  PolicyClass,
  PolicyEntry,
  PolicyKey,
} from '@ciliate/abi';
import { PolicyDirection, PolicyFlags } from '@ciliate/abi';
import type { BpfMap, MapOfMaps } from '@ciliate/kernel';
import type {
  EndpointMapRow,
  IpcacheRow,
  LbSkipRow,
  NetdevRow,
  NodeClassRow,
  NodeMapRow,
  PolicyClassRow,
  PolicyGroupRow,
} from '@ciliate/model';
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

/** Judged in both directions, and everything allowed: what a group holds whose endpoints no policy selects any more. */
const freeEntries: PolicyGroupRow['entries'] = [PolicyDirection.POLICY_INGRESS, PolicyDirection.POLICY_EGRESS].map(
  direction => [
    { prefixlen: 40, identity: 0, direction, proto: 0, dport: 0 },
    { ruleId: 0, proxyPort: 0, flags: PolicyFlags.POLICY_DEFAULT, packets: 0n, bytes: 0n },
  ],
);

/** Policy maps by group. A group without policy has no map, unless endpoints may still be judged by the one that it had. */
export function policyGroupOperations(map: MapOfMaps<number, PolicyKey, PolicyEntry>): Operations<PolicyGroupRow> {
  const held = new Set(map.keys());
  const content = (row: PolicyGroupRow) => ({
    key: row.id,
    entries: row.ingress || row.egress ? row.entries : freeEntries,
  });
  const needsMap = (row: PolicyGroupRow) => row.ingress || row.egress || held.has(row.id);
  const updateBatch = (rows: readonly PolicyGroupRow[]): readonly (Error | undefined)[] => {
    const wanted = rows.filter(needsMap);
    map.replaceAll(wanted.map(content));
    for (const row of wanted) held.add(row.id);
    return rows.map(() => undefined);
  };
  return {
    update: row => {
      updateBatch([row]);
    },
    updateBatch,
    delete: row => {
      map.remove(row.id);
      held.delete(row.id);
    },
    prune: rows => {
      const wanted = new Set(rows.map(row => row.id));
      for (const id of [...map.keys()]) {
        if (wanted.has(id)) continue;
        map.remove(id);
        held.delete(id);
      }
    },
  };
}

export const lbSkipOperations = (map: BpfMap<LbSkipKey, LbSkip>): Operations<LbSkipRow> => mapOperations(map);
export const policyClassOperations = (map: BpfMap<IpcacheKey, PolicyClass>): Operations<PolicyClassRow> =>
  mapOperations(map);
export const nodeClassOperations = (map: BpfMap<EndpointKey, PolicyClass>): Operations<NodeClassRow> =>
  mapOperations(map);
export const ipcacheOperations = (map: BpfMap<IpcacheKey, IpcacheEntry>): Operations<IpcacheRow> => mapOperations(map);
export const endpointMapOperations = (map: BpfMap<EndpointKey, EndpointEntry>): Operations<EndpointMapRow> =>
  mapOperations(map);
export const netdevOperations = (map: BpfMap<NetdevKey, NetdevEntry>): Operations<NetdevRow> => mapOperations(map);
export const nodeMapOperations = (map: BpfMap<NodeKey, NodeEntry>): Operations<NodeMapRow> => mapOperations(map);
