import { type FrontendRow, type LbRow, portKey } from '@ciliate/model';
import { IdAllocator } from '../id-allocator.ts';
import { backendsOf, slotCount } from './compile-frontend.ts';
import type { LbUse } from './lb-limits.ts';

/** Ids that the kernel's maps held when the agent started. Keys are those of portKey. */
export interface LbRestore {
  readonly services: Iterable<readonly [key: string, id: number]>;
  readonly backends: Iterable<readonly [key: string, id: number]>;
}

/** Ids and uses of what is (or shall be) in the load balancer's maps: frontends, and backends shared between them. */
export class LbState {
  readonly services = new IdAllocator({ min: 1, max: 65_535 });
  readonly backends = new IdAllocator({ min: 1, max: 0xffff_ffff });
  /** Frontend → keys of its backends. */
  readonly #held = new Map<string, readonly string[]>();
  readonly #references = new Map<string, number>();
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
    const keys = backendsOf(frontend).map(portKey);
    if (this.services.acquire(key) === undefined) return false;
    for (const backend of keys) {
      this.backends.acquire(backend);
      this.#references.set(backend, (this.#references.get(backend) ?? 0) + 1);
    }
    this.#forget(key);
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

  #forget(key: string): void {
    const keys = this.#held.get(key);
    if (keys === undefined) return;
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
