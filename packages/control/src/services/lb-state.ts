import { type Address, type FrontendBackend, type FrontendRow, type LbRow, portKey } from '@ciliate/model';
import { IdAllocator } from '../id-allocator.ts';
import { backendStates } from './compile-backends.ts';
import { backendsOf, slotCount } from './compile-frontend.ts';
import type { LbUse } from './lb-limits.ts';

/** Ids that the kernel's maps held when the agent started. Keys are those of portKey. */
export interface LbRestore {
  readonly services: Iterable<readonly [key: string, id: number]>;
  readonly backends: Iterable<readonly [key: string, id: number]>;
}

type BackendState = FrontendBackend['state'];

/** How often a backend is used as one that takes no new flows. */
interface LeavingUses {
  readonly address: Address;
  readonly states: Map<BackendState, number>;
}

/** Ids and uses of what is (or shall be) in the load balancer's maps: frontends, and backends shared between them. */
export class LbState {
  readonly services = new IdAllocator({ min: 1, max: 65_535 });
  readonly backends = new IdAllocator({ min: 1, max: 0xffff_ffff });
  /** Frontend → keys of its backends. */
  readonly #held = new Map<string, readonly string[]>();
  readonly #references = new Map<string, number>();
  /** Backends that at least one frontend uses as leaving; few at any time. */
  readonly #leaving = new Map<string, LeavingUses>();
  /** Frontend → what it uses as leaving; only those that do. */
  readonly #leavingOf = new Map<string, readonly FrontendBackend[]>();
  readonly #touched = new Set<Address>();
  /** Entries of lb_services, by frontend. */
  readonly #slotsOf = new Map<string, number>();
  #slots = 0;

  restore({ services, backends }: LbRestore): void {
    this.services.restore(services);
    this.backends.restore(backends);
  }

  /** What the maps would hold with these frontends in place of their older versions. */
  useWith(frontends: readonly FrontendRow[]): LbUse {
    const references = new Map<string, number>();
    const count = (key: string, by: number) =>
      references.set(key, (references.get(key) ?? this.#references.get(key) ?? 0) + by);
    let services = this.#slots;
    let revnats = this.#held.size;
    for (const frontend of frontends) {
      const before = this.#held.get(portKey(frontend));
      services += slotCount(frontend) - (this.#slotsOf.get(portKey(frontend)) ?? 0);
      revnats += before === undefined ? 1 : 0;
      for (const key of before ?? []) count(key, -1);
      for (const backend of backendsOf(frontend)) count(portKey(backend), 1);
    }
    let backends = this.#references.size;
    for (const [key, total] of references) backends += Number(total > 0) - Number(this.#references.has(key));
    return { services, backends, revnats };
  }

  /** Counts a frontend in place of its older version; false when the ids are used up. */
  hold(frontend: FrontendRow): boolean {
    const key = portKey(frontend);
    const backends = backendsOf(frontend);
    const keys = backends.map(portKey);
    if (this.services.acquire(key) === undefined) return false;
    for (const backend of keys) {
      this.backends.acquire(backend);
      this.#references.set(backend, (this.#references.get(backend) ?? 0) + 1);
    }
    const leaving = backends.filter(({ state }) => state !== 'active');
    for (const backend of leaving) this.#countLeaving(backend, 1);
    this.#forget(key);
    this.#touch(keys);
    if (leaving.length > 0) this.#leavingOf.set(key, leaving);
    this.#held.set(key, keys);
    this.#slotsOf.set(key, slotCount(frontend));
    this.#slots += slotCount(frontend);
    return true;
  }

  release(key: string): void {
    this.#forget(key);
    this.services.release(key);
  }

  has(key: string): boolean {
    return this.#held.has(key);
  }

  serviceId(key: string): number {
    return this.services.get(key) ?? 0;
  }

  backendId(key: string): number {
    return this.backends.get(key) ?? 0;
  }

  /**
   * What the backend's one entry says of it, whichever frontend asks: frontends may see a backend in different states, and one that
   * takes flows for any of them is active.
   */
  backendState(key: string): BackendState {
    const leaving = this.#leaving.get(key);
    if (leaving === undefined) return 'active';
    const uses = [...leaving.states.values()].reduce((sum, count) => sum + count, 0);
    if (uses < (this.#references.get(key) ?? 0)) return 'active';
    return backendStates.find(state => leaving.states.has(state)) ?? 'active';
  }

  /** Addresses of backends whose state may read otherwise since the last call. */
  takeTouched(): readonly Address[] {
    const touched = [...this.#touched];
    this.#touched.clear();
    return touched;
  }

  #touch(keys: readonly string[]): void {
    if (this.#leaving.size === 0) return;
    for (const key of keys) {
      const leaving = this.#leaving.get(key);
      if (leaving !== undefined) this.#touched.add(leaving.address);
    }
  }

  #countLeaving(backend: FrontendBackend, by: 1 | -1): void {
    const key = portKey(backend);
    const { address, states } = this.#leaving.get(key) ?? { address: backend.address, states: new Map() };
    const count = (states.get(backend.state) ?? 0) + by;
    if (count > 0) states.set(backend.state, count);
    else states.delete(backend.state);
    if (states.size > 0) this.#leaving.set(key, { address, states });
    else this.#leaving.delete(key);
    this.#touched.add(address);
  }

  #forget(key: string): void {
    const keys = this.#held.get(key);
    if (keys === undefined) return;
    this.#touch(keys);
    for (const backend of this.#leavingOf.get(key) ?? []) this.#countLeaving(backend, -1);
    this.#leavingOf.delete(key);
    this.#held.delete(key);
    this.#slots -= this.#slotsOf.get(key) ?? 0;
    this.#slotsOf.delete(key);
    for (const backend of keys) {
      const left = (this.#references.get(backend) ?? 0) - 1;
      if (left > 0) this.#references.set(backend, left);
      else {
        this.#references.delete(backend);
        this.backends.release(backend);
      }
    }
  }
}

/** A row that says why a frontend is not served; what the kernel held before stays. */
export function refusedRow(key: string, before: LbRow | undefined, status: LbRow['status']): LbRow {
  return { ...(before ?? { key, serviceId: 0, backendIds: [], writes: [] }), status };
}
