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
import {
  type ContentChange,
  changeOfContent,
  changeOfPart,
  type EndpointMapRow,
  type IpcacheRow,
  type LbSkipRow,
  type NetdevRow,
  type NodeClassRow,
  type NodeMapRow,
  type PolicyClassRow,
  type PolicyContent,
  type PolicyGroupRow,
  type PolicyMapEntry,
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
const freeEntries: readonly PolicyMapEntry[] = [PolicyDirection.POLICY_INGRESS, PolicyDirection.POLICY_EGRESS].map(
  direction => [
    { prefixlen: 40, identity: 0, direction, proto: 0, dport: 0 },
    { ruleId: 0, proxyPort: 0, flags: PolicyFlags.POLICY_DEFAULT, packets: 0n, bytes: 0n },
  ],
);

/** As the kernel's map of a group is, since this process wrote it. */
type Held = Pick<PolicyGroupRow, 'content' | 'rules'> & { readonly judged: boolean };

/** Entries that are changed in place at most: beyond it a new map is faster. */
const patchLimit = 256;

const sizeOf = ({ puts, removes }: ContentChange): number => puts.length + removes.length;

const byIdentity = (before: PolicyContent, now: PolicyContent): readonly ContentChange[] =>
  now.changedSince(before).map(id => changeOfPart(before.part(id), now.part(id)));

/**
 * Policy maps by group. A group without policy has no map, unless endpoints may still be judged by the one that it had. A change is a new map in
 * the place of the old one, or few steps in the one that is in use where each of them leaves a whole policy: identities come or go, under the
 * same rules, each for itself (changeOfPart); or rules do that only add, or only take away (changeOfContent).
 */
export function policyGroupOperations(map: MapOfMaps<number, PolicyKey, PolicyEntry>): Operations<PolicyGroupRow> {
  /** Undefined: there is one, and what is in it is not known. */
  const held = new Map<number, Held | undefined>([...map.keys()].map(id => [id, undefined]));
  const isJudged = (row: PolicyGroupRow) => row.ingress || row.egress;
  const content = (row: PolicyGroupRow) => ({
    key: row.id,
    entries: isJudged(row) ? [...row.content.entries()] : freeEntries,
  });
  const patched = (row: PolicyGroupRow): boolean => {
    const before = held.get(row.id);
    if (before === undefined || !before.judged || !isJudged(row)) return false;
    const changes =
      before.rules === row.rules
        ? byIdentity(before.content, row.content)
        : [changeOfContent(before.content, row.content)];
    const size = changes.reduce((sum, change) => sum + (change === undefined ? patchLimit + 1 : sizeOf(change)), 0);
    if (size > patchLimit) return false;
    held.set(row.id, undefined);
    return changes.every(change => change === undefined || map.patch(row.id, change.puts, change.removes));
  };
  const updateBatch = (rows: readonly PolicyGroupRow[]): readonly (Error | undefined)[] => {
    const wanted = rows.filter(row => isJudged(row) || held.has(row.id));
    map.replaceAll(wanted.filter(row => !patched(row)).map(content));
    for (const row of wanted) held.set(row.id, { content: row.content, rules: row.rules, judged: isJudged(row) });
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
