/** The load balancer's maps, and single writes of them. */
import type {
  LbAffinityMatch,
  LbBackend,
  LbDsr,
  LbDsrKey,
  LbKey,
  LbRevnat,
  LbService,
  LbSourceRange,
  LbSourceRangeKey,
} from '@ciliate/abi';
import { type BpfMap, type Codec, EntryBatch, type MapOfMaps } from '@ciliate/kernel';
import type { LbWrite } from '@ciliate/model';
import { deepEqual } from '@ciliate/tables';

export interface LbMaps {
  readonly lb_services: BpfMap<LbKey, LbService>;
  readonly lb_backends: BpfMap<number, LbBackend>;
  readonly lb_revnat: BpfMap<number, LbRevnat>;
  readonly lb_affinity_match: BpfMap<LbAffinityMatch, LbSourceRange>;
  readonly lb_source_ranges: BpfMap<LbSourceRangeKey, LbSourceRange>;
  readonly lb_dsr: BpfMap<LbDsrKey, LbDsr>;
  readonly lb_maglev: MapOfMaps<number, number, Uint32Array>;
}

export type LbMapName = LbWrite['map'];

/** In the order in which entries are put: what a lookup finds first comes last. */
export const lbMapNames: readonly LbMapName[] = [
  'lb_backends',
  'lb_revnat',
  'lb_affinity_match',
  'lb_source_ranges',
  'lb_dsr',
  'lb_maglev',
  'lb_services',
];

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

const slotRank = lbMapNames.indexOf('lb_services') * 2;

/** Lower is put earlier: of services slots, then masters of other scopes, then those with which a lookup begins. */
export function putRank(write: LbWrite): number {
  const rank = lbMapNames.indexOf(write.map) * 2;
  if (write.map !== 'lb_services' || write.key.backendSlot > 0) return rank;
  return write.key.scope === 0 ? rank + 2 : rank + 1;
}

/** Of two writes of one entry. */
export function sameValue(a: LbWrite, b: LbWrite): boolean {
  if (a.map === 'lb_maglev') return b.map === 'lb_maglev' && a.of === b.of;
  return b.map !== 'lb_maglev' && deepEqual(a.value, b.value);
}

/** An entry, whatever its value. */
export type LbEntry = LbWrite extends infer Write
  ? Write extends LbWrite
    ? Pick<Write, 'map' | 'key'>
    : never
  : never;

/** Equal for the same entry. */
export function nameOf(maps: LbMaps, entry: LbEntry): string {
  switch (entry.map) {
    case 'lb_services':
      return keyText(maps.lb_services.key, entry.key);
    case 'lb_affinity_match':
      return `${entry.map} ${entry.key.revNatId} ${entry.key.backendId}`;
    case 'lb_source_ranges':
      return `${entry.map} ${keyText(maps.lb_source_ranges.key, entry.key)}`;
    case 'lb_dsr':
      return `${entry.map} ${keyText(maps.lb_dsr.key, entry.key)}`;
    default:
      return `${entry.map} ${entry.key}`;
  }
}

/** Equal for the same entry of one row: its services have one address and port. Cheaper than a name, for the many. */
export function nameInRow(maps: LbMaps, entry: LbEntry): string | number {
  if (entry.map === 'lb_services') return entry.key.backendSlot * scopes + entry.key.scope;
  return entry.map === 'lb_backends' ? -1 - entry.key : nameOf(maps, entry);
}

/** More than there are: `scope` of struct lb_key. */
const scopes = 256;

function keyText<K>(codec: Codec<K>, key: K): string {
  const bytes = Buffer.alloc(codec.size);
  codec.write(key, bytes, 0);
  return bytes.toString('latin1');
}

/** What a map holds; taken before anything of it changes. */
export function entriesOf(maps: LbMaps, map: LbMapName): readonly LbEntry[] {
  switch (map) {
    case 'lb_services':
      return [...maps.lb_services.keys()].map(key => ({ map, key }));
    case 'lb_affinity_match':
      return [...maps.lb_affinity_match.keys()].map(key => ({ map, key }));
    case 'lb_source_ranges':
      return [...maps.lb_source_ranges.keys()].map(key => ({ map, key }));
    case 'lb_dsr':
      return [...maps.lb_dsr.keys()].map(key => ({ map, key }));
    default:
      return [...maps[map].keys()].map(key => ({ map, key }));
  }
}

export function putWrite(maps: LbMaps, write: LbWrite): void {
  if (write.map === 'lb_services') maps.lb_services.put(write.key, write.value);
  else if (write.map === 'lb_backends') maps.lb_backends.put(write.key, write.value);
  else if (write.map === 'lb_revnat') maps.lb_revnat.put(write.key, write.value);
  else if (write.map === 'lb_affinity_match') maps.lb_affinity_match.put(write.key, write.value);
  else if (write.map === 'lb_source_ranges') maps.lb_source_ranges.put(write.key, write.value);
  else if (write.map === 'lb_dsr') maps.lb_dsr.put(write.key, write.value);
  else maps.lb_maglev.replace(write.key, [[0, write.table()]]);
}

/** Writes of many rows, to be put together: those of the lowest rank first, whatever row they are of. */
export class LbBatch {
  readonly #maps: LbMaps;
  readonly #backends;
  readonly #revnats;
  readonly #affinities;
  readonly #ranges;
  readonly #dsr;
  /** Slots, masters of other scopes, masters with which a lookup begins. */
  readonly #services;
  readonly #maglev: LbWrite[] = [];

  constructor(maps: LbMaps) {
    this.#maps = maps;
    this.#backends = new EntryBatch(maps.lb_backends);
    this.#revnats = new EntryBatch(maps.lb_revnat);
    this.#affinities = new EntryBatch(maps.lb_affinity_match);
    this.#ranges = new EntryBatch(maps.lb_source_ranges);
    this.#dsr = new EntryBatch(maps.lb_dsr);
    this.#services = [0, 1, 2].map(() => new EntryBatch(maps.lb_services));
  }

  add(write: LbWrite): void {
    if (write.map === 'lb_services') this.#services[putRank(write) - slotRank]?.add(write.key, write.value);
    else if (write.map === 'lb_backends') this.#backends.add(write.key, write.value);
    else if (write.map === 'lb_revnat') this.#revnats.add(write.key, write.value);
    else if (write.map === 'lb_affinity_match') this.#affinities.add(write.key, write.value);
    else if (write.map === 'lb_source_ranges') this.#ranges.add(write.key, write.value);
    else if (write.map === 'lb_dsr') this.#dsr.add(write.key, write.value);
    else this.#maglev.push(write);
  }

  /** A failure leaves some of them. */
  put(): void {
    this.#maps.lb_backends.putBatch(this.#backends);
    this.#maps.lb_revnat.putBatch(this.#revnats);
    this.#maps.lb_affinity_match.putBatch(this.#affinities);
    this.#maps.lb_source_ranges.putBatch(this.#ranges);
    this.#maps.lb_dsr.putBatch(this.#dsr);
    for (const write of this.#maglev) putWrite(this.#maps, write);
    for (const batch of this.#services) this.#maps.lb_services.putBatch(batch);
  }
}

export function removeEntry(maps: LbMaps, entry: LbEntry): void {
  switch (entry.map) {
    case 'lb_services':
      maps.lb_services.remove(entry.key);
      break;
    case 'lb_affinity_match':
      maps.lb_affinity_match.remove(entry.key);
      break;
    case 'lb_source_ranges':
      maps.lb_source_ranges.remove(entry.key);
      break;
    case 'lb_dsr':
      maps.lb_dsr.remove(entry.key);
      break;
    default:
      maps[entry.map].remove(entry.key);
  }
}
