/** One frontend as map writes. */
import { LbServiceFlags } from '@ciliate/abi';
import {
  type Address,
  addressBytes,
  type FrontendBackend,
  type FrontendRow,
  type FrontendType,
  isIPv4,
  type LbRow,
  type LbWrite,
  type Prefix,
  portKey,
  prefixAddress,
  prefixBits,
  protocolNumbers,
} from '@ciliate/model';
import { pending } from '@ciliate/tables';
import { takers } from './compile-backends.ts';
import { maglevTable } from './maglev.ts';

export interface FrontendIds {
  /** Of the frontend: its revNat id, and what `service list` shows as ID. 1 to 65535. */
  readonly service: number;
  /** Of each backend, by portKey. */
  readonly backend: (key: string) => number;
}

export interface MaglevOptions {
  readonly maglevSize: number;
  readonly maglevSeed: number;
}

const typeFlags: Readonly<Record<FrontendType, number>> = {
  ClusterIP: LbServiceFlags.LB_SVC_CLUSTER_IP,
  NodePort: LbServiceFlags.LB_SVC_NODE_PORT,
  ExternalIPs: LbServiceFlags.LB_SVC_EXTERNAL_IP,
  LoadBalancer: LbServiceFlags.LB_SVC_LOAD_BALANCER,
  HostPort: LbServiceFlags.LB_SVC_HOST_PORT,
  LocalRedirect: LbServiceFlags.LB_SVC_LOCAL_REDIRECT,
};

/** A slot's number is 16 bits: a frontend with more backends is refused. */
export const maxSlots = 65_535;

/** Entries of lb_services that a frontend takes: its slots and masters. */
export function slotCount(frontend: FrontendRow): number {
  return scopesOf(frontend).reduce((sum, [, backends]) => sum + usable(backends).length + 1, 0);
}

/** Sets of backends by `scope` of struct lb_key, the one that a lookup begins with last. */
function scopesOf(frontend: FrontendRow): readonly (readonly [scope: number, backends: readonly FrontendBackend[]])[] {
  const { backends, internalBackends, notRedirected } = frontend;
  return [
    ...(notRedirected === undefined ? [] : [[2, notRedirected] as const]),
    ...(internalBackends === undefined ? [] : [[1, internalBackends] as const]),
    [0, backends] as const,
  ];
}

/** Backends that get a slot, those that take new flows first. */
export function usable(backends: readonly FrontendBackend[]): readonly FrontendBackend[] {
  const first = takers(backends);
  const rest = backends.filter(({ state }) => state === 'active' || state === 'terminating' || state === 'quarantined');
  return [...new Set([...first, ...rest])];
}

/** Every backend that any scope has, once: also those without a slot, which keep the flows that they have. */
export function backendsOf(frontend: FrontendRow): readonly FrontendBackend[] {
  const { backends, internalBackends = [], notRedirected = [] } = frontend;
  if (internalBackends.length + notRedirected.length === 0) return backends;
  const all = [...backends, ...internalBackends, ...notRedirected];
  return [...new Map(all.map(backend => [portKey(backend), backend])).values()];
}

/**
 * The map writes for one frontend, in the order that is safe to apply: backends, reverse NAT, what a lookup needs beside, slots, the other
 * scopes, master last. `backendFlags` are enum lb_backend_flags by where the backend is.
 */
export function compileFrontend(
  frontend: FrontendRow,
  ids: FrontendIds,
  backendFlags: (backend: FrontendBackend) => number,
  maglev: MaglevOptions,
  now: number,
): LbRow {
  // Shared by all writes: with 30,000 services the copies would be most of the agent's memory.
  const address = addressBytes(frontend.address);
  const backends = backendsOf(frontend);
  const idOf = (backend: FrontendBackend) => ids.backend(portKey(backend));
  const backendIds = backends.map(idOf);
  const writes: LbWrite[] = [
    ...backends.map((backend, i) => backendWrite(backend, backendIds[i] ?? 0, backendFlags(backend))),
    { map: 'lb_revnat', key: ids.service, value: { address, port: frontend.port } },
    ...(frontend.affinityTimeout > 0 ? affinityBackends(frontend).map(be => affinityWrite(ids.service, idOf(be))) : []),
    ...frontend.sourceRanges.map(range => sourceRangeWrite(ids.service, range)),
    ...maglevWrites(frontend, ids, maglev),
    ...scopesOf(frontend).flatMap(([scope, list]) =>
      scopeWrites(frontend, address, ids.service, usable(list), idOf, scope),
    ),
  ];
  return { key: portKey(frontend), serviceId: ids.service, backendIds, writes, status: pending(now) };
}

/** The entry that drops what no port of the address serves. */
export function unservedRow(address: Address, type: FrontendType, now: number): LbRow {
  const key = { address: addressBytes(address), dport: 0, backendSlot: 0, proto: 0, scope: 0 };
  const flags = typeFlags[type] | LbServiceFlags.LB_SVC_UNSERVED;
  const value = { backendId: 0, count: 0, qcount: 0, revNatId: 0, flags };
  return {
    key: unservedKey(address),
    serviceId: 0,
    backendIds: [],
    writes: [{ map: 'lb_services', key, value }],
    status: pending(now),
  };
}

export function unservedKey(address: Address): string {
  return `${isIPv4(address) ? address : `[${address}]`}:0/ANY`;
}

function scopeWrites(
  frontend: FrontendRow,
  address: Uint8Array,
  revNatId: number,
  backends: readonly FrontendBackend[],
  idOf: (backend: FrontendBackend) => number,
  scope: number,
): readonly LbWrite[] {
  const flags = flagsOf(frontend) | (scope === 0 && frontend.internalBackends !== undefined ? twoScopes : 0);
  const count = takers(backends).length;
  const slots = backends.map((backend, i): LbWrite => {
    const value = { backendId: idOf(backend), count: 0, revNatId, flags, qcount: 0 };
    return { map: 'lb_services', key: lbKey(frontend, address, i + 1, scope), value };
  });
  const master = {
    backendId: frontend.affinityTimeout,
    count,
    revNatId,
    flags,
    qcount: backends.length - count,
  };
  return [...slots, { map: 'lb_services', key: lbKey(frontend, address, 0, scope), value: master }];
}

const twoScopes = LbServiceFlags.LB_SVC_TWO_SCOPES;

function backendWrite(backend: FrontendBackend, id: number, flags: number): LbWrite {
  const address = addressBytes(backend.address);
  const value = { address, port: backend.port, proto: protocolNumbers[backend.protocol], flags };
  return { map: 'lb_backends', key: id, value };
}

/** Clients stay with a backend as long as it takes new flows. */
function affinityBackends(frontend: FrontendRow): readonly FrontendBackend[] {
  const all = scopesOf(frontend).flatMap(([, backends]) => takers(backends));
  return [...new Map(all.map(backend => [portKey(backend), backend])).values()];
}

function affinityWrite(revNatId: number, backendId: number): LbWrite {
  return { map: 'lb_affinity_match', key: { backendId, revNatId }, value: { present: 1 } };
}

function sourceRangeWrite(revNatId: number, range: Prefix): LbWrite {
  const key = { prefixlen: 32 + prefixBits(range), revNatId, address: addressBytes(prefixAddress(range)) };
  return { map: 'lb_source_ranges', key, value: { present: 1 } };
}

function maglevWrites(frontend: FrontendRow, ids: FrontendIds, options: MaglevOptions): readonly LbWrite[] {
  const chosen = takers(frontend.backends);
  if (!frontend.maglev || chosen.length === 0) return [];
  const keys = chosen.map(backend => ({ key: portKey(backend), weight: 1 }));
  const backendIds = chosen.map(backend => ids.backend(portKey(backend)));
  const table = maglevTable(keys, options.maglevSize, options.maglevSeed);
  return [{ map: 'lb_maglev', key: ids.service, value: table.map(index => backendIds[index] ?? 0) }];
}

/** enum lb_service_flags of all slots of a frontend. */
export function flagsOf(frontend: FrontendRow): number {
  const flags = LbServiceFlags;
  const type = frontend.redirectTo === '' ? frontend.type : 'LocalRedirect';
  return (
    typeFlags[type] |
    (frontend.routable && type !== 'LocalRedirect' ? flags.LB_SVC_ROUTABLE : 0) |
    (frontend.affinityTimeout > 0 ? flags.LB_SVC_AFFINITY : 0) |
    (frontend.externalTrafficPolicy === 'Local' ? flags.LB_SVC_EXT_LOCAL_SCOPE : 0) |
    (frontend.internalTrafficPolicy === 'Local' ? flags.LB_SVC_INT_LOCAL_SCOPE : 0) |
    (frontend.sourceRanges.length > 0 ? flags.LB_SVC_SOURCE_RANGE : 0) |
    (frontend.sourceRanges.length > 0 && frontend.sourceRangesDeny ? flags.LB_SVC_SOURCE_RANGE_DENY : 0) |
    (frontend.maglev && takers(frontend.backends).length > 0 ? flags.LB_SVC_MAGLEV : 0) |
    (frontend.dsr ? flags.LB_SVC_DSR : 0)
  );
}

function lbKey(frontend: FrontendRow, address: Uint8Array, backendSlot: number, scope: number) {
  return {
    address,
    dport: frontend.port,
    backendSlot,
    proto: protocolNumbers[frontend.protocol],
    scope,
  };
}
