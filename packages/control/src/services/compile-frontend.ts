/** What frontends shall have in the load balancer's maps. */
import { LbBackendFlags } from '@ciliate/abi';
import {
  type Address,
  type FrontendBackend,
  type FrontendRow,
  type FrontendType,
  isIPv4,
  type LbRow,
  portKey,
} from '@ciliate/model';
import { Pool, pending } from '@ciliate/tables';
import { takers } from './compile-backends.ts';
import { isSurrogate } from './compile-frontends.ts';

export interface FrontendIds {
  /** Of the frontend: its revNat id, and what `service list` shows as ID. 1 to 65535. */
  readonly service: number;
  readonly backend: (backend: FrontendBackend) => number;
}

const none: readonly never[] = [];

/** A slot's number is 16 bits: a frontend with more backends is refused. */
export const maxSlots = 65_535;

/** Entries of lb_services that a frontend takes: its slots and masters. */
export function slotCount(frontend: FrontendRow): number {
  return scopesOf(frontend).reduce((sum, [, backends]) => sum + usable(backends).length + 1, 0);
}

/**
 * Backends that other nodes may forward to in the frontend's name. Whatever their state: another node may know already that one is ready, or not
 * yet that it is not. A NodePort is dialled at any node's address: that for all of them stands for it.
 */
function sharedBackends(frontend: FrontendRow): readonly FrontendBackend[] {
  const { address, type, dsr, routable, externalTrafficPolicy, backends, dsrBackends = backends } = frontend;
  const isDialled = type === 'NodePort' ? isSurrogate(address) : routable;
  return dsr && isDialled && externalTrafficPolicy !== 'Local' ? dsrBackends : none;
}

/** Entries of lb_dsr that a frontend takes when all of its backends are of this node. */
export function answerCount(frontend: FrontendRow): number {
  return sharedBackends(frontend).length;
}

/** Sets of backends by `scope` of struct lb_key, the one that a lookup begins with last. */
export function scopesOf(
  frontend: FrontendRow,
): readonly (readonly [scope: number, backends: readonly FrontendBackend[]])[] {
  const { backends, internalBackends, notRedirected } = frontend;
  return [
    ...(notRedirected === undefined ? [] : [[2, notRedirected] as const]),
    ...(internalBackends === undefined ? [] : [[1, internalBackends] as const]),
    [0, backends] as const,
  ];
}

/** Backends that get a slot, those that take new flows first. */
export function usable(backends: readonly FrontendBackend[]): readonly FrontendBackend[] {
  if (backends.every(({ state }) => state === 'active')) return backends;
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

/** Most frontends have the same few lists of flags. */
const flagLists = new Pool<readonly number[]>();

/** What one frontend shall have in the maps. `backendFlags` are enum lb_backend_flags by where the backend is. */
export function compileFrontend(
  frontend: FrontendRow,
  ids: FrontendIds,
  backendFlags: (backend: FrontendBackend) => number,
  now: number,
): LbRow {
  const backends = backendsOf(frontend);
  const flags = backends.map(backendFlags);
  const answering = answeringBackends(frontend, backendFlags);
  return {
    key: portKey(frontend),
    serviceId: ids.service,
    backendIds: backends.map(ids.backend),
    backendFlags: flagLists.share(flags.join(), flags),
    ...(answering.length > 0 ? { answering } : {}),
    serves: frontend,
    status: pending(now),
  };
}

/** Those of them that this node has. One that serves by several ports has one entry: any of them is right. */
function answeringBackends(
  frontend: FrontendRow,
  backendFlags: (backend: FrontendBackend) => number,
): readonly FrontendBackend[] {
  const shared = sharedBackends(frontend);
  if (shared.length === 0) return none;
  const own = shared.filter(backend => (backendFlags(backend) & LbBackendFlags.LB_BACKEND_LOCAL) !== 0);
  return [...new Map(own.toReversed().map(backend => [backend.address, backend])).values()];
}

/** The entry that drops what no port of the address serves. */
export function unservedRow(address: Address, type: FrontendType, now: number): LbRow {
  const serves = { address, type, unserved: true } as const;
  return { ...emptyRow(unservedKey(address), pending(now)), serves };
}

/** A row that has nothing in the maps. */
export function emptyRow(key: string, status: LbRow['status']): LbRow {
  return { key, serviceId: 0, backendIds: none, backendFlags: none, serves: undefined, status };
}

export function unservedKey(address: Address): string {
  return `${isIPv4(address) ? address : `[${address}]`}:0/ANY`;
}
