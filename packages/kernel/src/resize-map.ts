/** Other sizes for maps that are pinned. */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { basename } from 'node:path';
import { type MapInfo, mapInfo } from './info.ts';
import { KernelMap, mapTypeName } from './map.ts';
import { createMap } from './map-of-maps.ts';
import { closeFd, openPin, pinObject } from './object.ts';
import type { Codec } from './types.ts';

/** Undefined: nothing is pinned there. */
export function pinnedMapInfo(path: string): MapInfo | undefined {
  if (!existsSync(path)) return undefined;
  const fd = openPin(path);
  try {
    return mapInfo(fd);
  } finally {
    closeFd(fd);
  }
}

/**
 * Another map of the same kind, with the same entries, takes the place of the one at `path`: programs that are loaded go on with the old
 * one. For maps that nobody writes meanwhile. Of a map that becomes too small as many entries stay as there is room for.
 */
export function resizePinned(path: string, maxEntries: number): void {
  const fd = openPin(path);
  const { type, flags, keySize, valueSize } = mapInfo(fd);
  const codecs = { key: bytes(keySize), value: bytes(valueSize) };
  const spec = { name: basename(path), type: mapTypeName(type), flags, maxEntries, ...codecs };
  const [before, after] = [new KernelMap(fd, spec), new KernelMap(createMap(spec), spec)];
  try {
    after.putBatch([...before.entries()].slice(0, maxEntries));
    // Names of bpffs have no dots.
    const place = `${path}_new`;
    rmSync(place, { force: true });
    pinObject(after.fd, place);
    renameSync(place, path);
  } finally {
    before.close();
    after.close();
  }
}

function bytes(size: number): Codec<Uint8Array> {
  return {
    name: `${size} bytes`,
    size,
    write: (value, target, offset) => target.set(value, offset),
    read: (source, offset) => source.slice(offset, offset + size),
  };
}
