/** Operations of lbRows: frontends and the backends they share, into the load balancer's maps. */
import type {
  LbAffinityMatch,
  LbBackend,
  LbKey,
  LbRevnat,
  LbService,
  LbSourceRange,
  LbSourceRangeKey,
} from '@ciliate/abi';
import type { BpfMap, Codec, MapOfMaps } from '@ciliate/kernel';
import type { LbRow, LbWrite } from '@ciliate/model';
import type { Operations } from '@ciliate/tables';

export interface LbMaps {
  readonly lb_services: BpfMap<LbKey, LbService>;
  readonly lb_backends: BpfMap<number, LbBackend>;
  readonly lb_revnat: BpfMap<number, LbRevnat>;
  readonly lb_affinity_match: BpfMap<LbAffinityMatch, LbSourceRange>;
  readonly lb_source_ranges: BpfMap<LbSourceRangeKey, LbSourceRange>;
  readonly lb_maglev: MapOfMaps<number, number, Uint32Array>;
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
 * backend or a count without slots; what the row has no more goes after that. An entry leaves when no row holds it. A row
 * holds what it may have put, also by an update that failed half-way, until the entry is removed.
 */
export function lbOperations(maps: LbMaps): Operations<LbRow> {
  const held = new Map<string, Map<string, LbWrite>>();
  const holders = new Map<string, Set<string>>();

  const hold = (key: string, name: string, write: LbWrite): void => {
    const writes = held.get(key) ?? new Map<string, LbWrite>();
    held.set(key, writes.set(name, write));
    const keys = holders.get(name) ?? new Set<string>();
    holders.set(name, keys.add(key));
  };

  /** Master first, backends last: the reverse of the order in which they were put. */
  const letGo = (key: string, keep: ReadonlySet<string>): void => {
    for (const [name, write] of [...(held.get(key) ?? [])].sort(mastersFirst)) {
      if (keep.has(name)) continue;
      if (holders.get(name)?.size === 1) removeWrite(maps, write);
      held.get(key)?.delete(name);
      holders.get(name)?.delete(key);
      if (holders.get(name)?.size === 0) holders.delete(name);
    }
    if (held.get(key)?.size === 0) held.delete(key);
  };

  return {
    update: row => {
      const names = row.writes.map(write => nameOf(maps, write));
      row.writes.forEach((write, i) => {
        hold(row.key, names[i] ?? '', write);
        putWrite(maps, write);
      });
      letGo(row.key, new Set(names));
    },
    delete: row => {
      // A row that this agent has not written yet: what an agent before it may have put.
      for (const write of row.writes) hold(row.key, nameOf(maps, write), write);
      letGo(row.key, new Set());
    },
    prune: rows => {
      const wanted = new Set(rows.flatMap(row => row.writes).map(write => nameOf(maps, write)));
      for (const write of allWrites(maps)) {
        const name = nameOf(maps, write);
        if (!wanted.has(name) && !holders.has(name)) removeWrite(maps, write);
      }
    },
  };
}

const removalOrder = ['lb_services', 'lb_maglev', 'lb_source_ranges', 'lb_affinity_match', 'lb_revnat', 'lb_backends'];

function mastersFirst([, a]: readonly [string, LbWrite], [, b]: readonly [string, LbWrite]): number {
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
