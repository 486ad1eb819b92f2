/** Rows of the load balancer as writes of its maps. Made when they are needed: kept, they would be half of the agent's memory. */
import { LbServiceFlags } from '@ciliate/abi';
import {
  addressBytes,
  type FrontendBackend,
  type FrontendRow,
  type FrontendType,
  type LbRow,
  type LbWrite,
  type Prefix,
  portKey,
  prefixAddress,
  prefixBits,
  protocolNumbers,
  type UnservedAddress,
} from '@ciliate/model';
import { takers } from './compile-backends.ts';
import { backendsOf, scopesOf, usable } from './compile-frontend.ts';
import { maglevTable } from './maglev.ts';

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

/** The map writes of a row, in the order that is safe to apply; equal rows give equal writes. */
export function lbWrites(row: LbRow, maglev: MaglevOptions): readonly LbWrite[] {
  const { serves } = row;
  if (serves === undefined) return [];
  return 'unserved' in serves ? [unservedWrite(serves)] : frontendWrites(serves, row, maglev);
}

/** Backends, reverse NAT, what a lookup needs beside, slots, the other scopes, master last. */
function frontendWrites(
  frontend: FrontendRow,
  { serviceId, backendIds, backendFlags, answering = [] }: LbRow,
  maglev: MaglevOptions,
): readonly LbWrite[] {
  const address = addressBytes(frontend.address);
  const backends = backendsOf(frontend);
  const idOf = idsOf(backends, backendIds);
  return [
    ...backends.map((backend, i) => backendWrite(backend, backendIds[i] ?? 0, backendFlags[i] ?? 0)),
    { map: 'lb_revnat', key: serviceId, value: { address, port: frontend.port } },
    ...(frontend.affinityTimeout > 0 ? affinityBackends(frontend).map(be => affinityWrite(serviceId, idOf(be))) : []),
    ...frontend.sourceRanges.map(range => sourceRangeWrite(serviceId, range)),
    ...answering.map(backend => dsrWrite(frontend, address, backend)),
    ...maglevWrites(frontend, serviceId, idOf, maglev),
    ...scopesOf(frontend).flatMap(([scope, list]) =>
      scopeWrites(frontend, address, serviceId, usable(list), idOf, scope),
    ),
  ];
}

/** A backend of several scopes may be an object in each of them. */
function idsOf(backends: readonly FrontendBackend[], ids: readonly number[]): (backend: FrontendBackend) => number {
  const known = new Map(backends.map((backend, i) => [backend, ids[i] ?? 0]));
  let byKey: ReadonlyMap<string, number> | undefined;
  return backend => {
    const id = known.get(backend);
    if (id !== undefined) return id;
    byKey ??= new Map(backends.map((one, i) => [portKey(one), ids[i] ?? 0]));
    return byKey.get(portKey(backend)) ?? 0;
  };
}

/** Drops what no port of the address serves. */
function unservedWrite({ address, type }: UnservedAddress): LbWrite {
  const key = { address: addressBytes(address), dport: 0, backendSlot: 0, proto: 0, scope: 0 };
  const flags = typeFlags[type] | LbServiceFlags.LB_SVC_UNSERVED;
  return { map: 'lb_services', key, value: { backendId: 0, count: 0, qcount: 0, revNatId: 0, flags } };
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

/** What other nodes may say of their packets to the backend. */
function dsrWrite({ port, protocol }: FrontendRow, frontend: Uint8Array, backend: FrontendBackend): LbWrite {
  const key = { frontend, backend: addressBytes(backend.address), port, proto: protocolNumbers[protocol] };
  return { map: 'lb_dsr', key, value: { backendPort: backend.port } };
}

function maglevWrites(
  frontend: FrontendRow,
  serviceId: number,
  idOf: (backend: FrontendBackend) => number,
  { maglevSize, maglevSeed }: MaglevOptions,
): readonly LbWrite[] {
  const chosen = takers(frontend.backends);
  if (!frontend.maglev || chosen.length === 0) return [];
  const keys = chosen.map(backend => ({ key: portKey(backend), weight: 1 }));
  const ids = chosen.map(idOf);
  const of = `${maglevSize} ${maglevSeed} ${keys.map(({ key }, i) => `${key}=${ids[i]}`).join(' ')}`;
  const table = () => maglevTable(keys, maglevSize, maglevSeed).map(index => ids[index] ?? 0);
  return [{ map: 'lb_maglev', key: serviceId, of, table }];
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
    (frontend.dsr ? flags.LB_SVC_DSR : 0) |
    (frontend.delegatesToProxy ? flags.LB_SVC_DELEGATED : 0)
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
