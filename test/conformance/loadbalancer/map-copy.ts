/** What maps hold, taken and put back as a former agent may have left it; and what of it nobody has asked for. */
import type { LbBackend, LbKey, LbRevnat, LbService } from '@ciliate/abi';
import { LbBackendFlags } from '@ciliate/abi';
import type { Tables } from '@ciliate/model';
import type { ScriptMaps } from '../../script/map-text.ts';

export interface MapCopy {
  readonly services: readonly (readonly [LbKey, LbService])[];
  readonly backends: readonly (readonly [number, LbBackend])[];
  readonly revnats: readonly (readonly [number, LbRevnat])[];
}

export function copyMaps({ lb_services, lb_backends, lb_revnat }: ScriptMaps): MapCopy {
  return {
    services: [...lb_services.entries()],
    backends: [...lb_backends.entries()],
    revnats: [...lb_revnat.entries()],
  };
}

/** `withoutProtocol`: every entry is of protocol 0. */
export function putCopy(maps: ScriptMaps, copy: MapCopy, withoutProtocol: boolean): void {
  const protocol = withoutProtocol ? { proto: 0 } : {};
  for (const [key, value] of copy.backends) maps.lb_backends.put(key, { ...value, ...protocol });
  for (const [key, value] of copy.revnats) maps.lb_revnat.put(key, value);
  for (const [key, value] of copy.services) maps.lb_services.put({ ...key, ...protocol }, value);
}

/** Ids in the maps that no row has, in the words of the data. */
export function leftovers({ lbRows }: Tables, { lb_services, lb_backends }: ScriptMaps): string {
  const rows = lbRows.all();
  const [services, backends] = [new Set(rows.map(row => row.serviceId)), new Set(rows.flatMap(row => row.backendIds))];
  const lost = [...lb_backends.entries()].filter(([id]) => !backends.has(id));
  const quarantined = lost.filter(([, { flags }]) => (flags & LbBackendFlags.LB_BACKEND_QUARANTINED) !== 0);
  const ids = new Set([...lb_services.entries()].map(([, value]) => value.revNatId).filter(id => !services.has(id)));
  return [
    `restoredServiceIDs: ${ids.size}`,
    `restoredBackendIDs: ${lost.length}`,
    `restoredQuarantines: ${quarantined.length}`,
    '',
  ].join('\n');
}
