/** Contents of the kernel's maps as text, for maps/cmp: one sorted line an entry. */
import {
  type EndpointEntry,
  EndpointFlags,
  type EndpointKey,
  type IpcacheEntry,
  type IpcacheKey,
  LbBackendFlags,
  LbServiceFlags,
  type LbSkip,
  type LbSkipKey,
  type PolicyEntry,
  type PolicyKey,
} from '@ciliate/abi';
import type { LbMaps } from '@ciliate/datapath';
import type { BpfMap, MapOfMaps } from '@ciliate/kernel';
import { addressFromBytes, hostPort, isIPv4, protocolOf } from '@ciliate/model';

export interface ScriptMaps extends LbMaps {
  readonly lb_skip: BpfMap<LbSkipKey, LbSkip>;
  readonly ipcache: BpfMap<IpcacheKey, IpcacheEntry>;
  readonly endpoints: BpfMap<EndpointKey, EndpointEntry>;
  readonly policy: MapOfMaps<number, PolicyKey, PolicyEntry>;
}

const views: Readonly<Record<string, (maps: ScriptMaps) => readonly string[]>> = {
  lb: maps => [...lbServices(maps), ...lbBackends(maps), ...lbRevnats(maps), ...lbMore(maps)],
  skip: maps => [...maps.lb_skip.keys()].map(skipLine),
  ipcache: maps => [...maps.ipcache.entries()].map(([key, value]) => ipcacheLine(key, value)),
  endpoints: maps => [...maps.endpoints.entries()].map(([key, value]) => endpointLine(key, value)),
};

/** Throws for a name that is none of 'lb', 'skip', 'ipcache', 'endpoints'. */
export function mapText(name: string, maps: ScriptMaps): string {
  const view = views[name];
  if (view === undefined) throw new Error(`no map ${name}: use ${Object.keys(views).join(', ')}`);
  return view(maps)
    .toSorted()
    .map(line => `${line.trimEnd()}\n`)
    .join('');
}

function flagNames(flags: number, names: Readonly<Record<string, number>>, prefix: string): string {
  const set = Object.entries(names).filter(([, bit]) => (flags & bit) !== 0);
  return set.length === 0 ? '' : ` ${set.map(([name]) => name.slice(prefix.length)).join('|')}`;
}

function at(address: Uint8Array, port: number, proto: number): string {
  return `${hostPort(addressFromBytes(address), port)}/${protocolOf(proto) ?? 'ANY'}`;
}

function lbServices({ lb_services }: ScriptMaps): readonly string[] {
  return [...lb_services.entries()].map(([key, value]) => {
    const scope = ['', ' inner', ' not-redirected'][key.scope];
    const where = `service ${at(key.address, key.dport, key.proto)}${scope}`;
    const flags = flagNames(value.flags, LbServiceFlags, 'LB_SVC_');
    if (key.backendSlot > 0) return `${where} slot ${key.backendSlot} backend ${value.backendId}`;
    if ((value.flags & LbServiceFlags.LB_SVC_UNSERVED) !== 0) return `${where} unserved`;
    const affinity = value.backendId > 0 ? ` affinity ${value.backendId} s` : '';
    return `${where} master revnat ${value.revNatId} count ${value.count}+${value.qcount}${affinity}${flags}`;
  });
}

function lbBackends({ lb_backends }: ScriptMaps): readonly string[] {
  return [...lb_backends.entries()].map(
    ([id, { address, port, proto, flags }]) =>
      `backend ${id} ${at(address, port, proto)}${flagNames(flags, LbBackendFlags, 'LB_BACKEND_')}`,
  );
}

/** What lookups need beside services and backends. */
function lbMore({ lb_affinity_match, lb_source_ranges, lb_dsr, lb_maglev }: ScriptMaps): readonly string[] {
  return [
    ...[...lb_affinity_match.keys()].map(({ revNatId, backendId }) => `affinity ${revNatId} backend ${backendId}`),
    ...[...lb_source_ranges.keys()].map(key => {
      const address = addressFromBytes(key.address);
      return `source-range ${key.revNatId} ${address}/${key.prefixlen - 32 - (isIPv4(address) ? 96 : 0)}`;
    }),
    ...[...lb_dsr.entries()].map(
      ([key, { backendPort }]) =>
        `dsr ${at(key.frontend, key.port, key.proto)} by ${at(key.backend, backendPort, key.proto)}`,
    ),
    ...[...lb_maglev.keys()].map(id => {
      const counts = new Map<number, number>();
      for (const backend of lb_maglev.read(id)?.[0]?.[1] ?? []) counts.set(backend, (counts.get(backend) ?? 0) + 1);
      return `maglev ${id} ${[...counts]
        .sort(([a], [b]) => a - b)
        .map(([backend, n]) => `${backend}:${n}`)
        .join(' ')}`;
    }),
  ];
}

function lbRevnats({ lb_revnat }: ScriptMaps): readonly string[] {
  return [...lb_revnat.entries()].map(
    ([id, { address, port }]) => `revnat ${id} ${hostPort(addressFromBytes(address), port)}`,
  );
}

function skipLine({ netnsCookie, endpointId, address, port, proto }: LbSkipKey): string {
  return `${endpointId === 0 ? `cookie ${netnsCookie}` : `endpoint ${endpointId}`} passes ${at(address, port, proto)}`;
}

function ipcacheLine({ prefixlen, address }: IpcacheKey, { identity, tunnelEndpoint }: IpcacheEntry): string {
  const text = addressFromBytes(address);
  const tunnel = tunnelEndpoint.some(byte => byte !== 0) ? ` tunnel ${addressFromBytes(tunnelEndpoint)}` : '';
  return `${text}/${isIPv4(text) ? prefixlen - 96 : prefixlen} identity ${identity}${tunnel}`;
}

function endpointLine({ address }: EndpointKey, { id, identity, ifindex, flags }: EndpointEntry): string {
  const what = `endpoint ${id} identity ${identity} ifindex ${ifindex}`;
  return `${addressFromBytes(address)} ${what}${flagNames(flags, EndpointFlags, 'ENDPOINT_')}`;
}
