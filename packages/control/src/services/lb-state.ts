import { type Address, type FrontendBackend, type FrontendRow, type LbRow, portKey } from '@ciliate/model';
import { intern } from '@ciliate/tables';
import { IdAllocator } from '../id-allocator.ts';
import { backendStates } from './compile-backends.ts';
import { answerCount, backendsOf, emptyRow, slotCount } from './compile-frontend.ts';
import type { LbUse } from './lb-limits.ts';
import { type PortAt, PortMap } from './port-map.ts';

/** Ids that the kernel's maps held when the agent started. Keys of services are those of portKey. */
export interface LbRestore {
  readonly services: Iterable<readonly [key: string, id: number]>;
  readonly backends: Iterable<readonly [backend: PortAt, id: number]>;
}

type BackendState = FrontendBackend['state'];

/** Ids and uses of what is (or shall be) in the load balancer's maps: frontends, and backends shared between them. */
export class LbState {
  readonly services = new IdAllocator({ min: 1, max: 65_535 });
  /** A backend has its id as long as a frontend uses it. */
  readonly backends = new IdAllocator<PortAt>({ min: 1, max: 0xffff_ffff }, new PortMap());
  readonly #held = new Map<string, FrontendRow>();
  /** Uses of a backend beside the first; most have no other. */
  readonly #moreUses = new PortMap<number>();
  /** How often backends are used as ones that take no new flows, by state; few at any time. */
  readonly #leaving = new PortMap<Map<BackendState, number>>();
  readonly #touched = new Set<Address>();
  /** Entries of lb_services, without those that drop what an address does not serve; entries of lb_source_ranges; of lb_dsr at most. */
  #slots = 0;
  #sourceRanges = 0;
  #answers = 0;
  /** Frontends of an address that serves nothing but services: such an address has one entry more. */
  readonly #owned = new Map<Address, number>();
  readonly #unservedDropped: boolean;

  constructor({ unservedDropped }: { readonly unservedDropped: boolean }) {
    this.#unservedDropped = unservedDropped;
  }

  restore({ services, backends }: LbRestore): void {
    this.services.restore(services);
    this.backends.restore(backends);
  }

  /** No less than useWith says, and cheap: it does not know what is there already. */
  useAtMostWith(frontends: readonly FrontendRow[]): LbUse {
    const sum = (count: (frontend: FrontendRow) => number) => frontends.reduce((all, one) => all + count(one), 0);
    return {
      services: this.serviceEntries + sum(slotCount) + frontends.length,
      backends: this.backends.claimed + sum(frontend => backendsOf(frontend).length),
      revnats: this.#held.size + frontends.length,
      sourceRanges: this.#sourceRanges + sum(frontend => frontend.sourceRanges.length),
      answers: this.#answers + sum(answerCount),
    };
  }

  /** What the maps would hold with these frontends in place of their older versions. */
  useWith(frontends: readonly FrontendRow[]): LbUse {
    const uses = new PortMap<{ readonly before: number; readonly after: number }>();
    const count = (backend: FrontendBackend, by: number): void => {
      const known = uses.get(backend);
      const before = known?.before ?? this.#uses(backend);
      uses.set(backend, { before, after: (known?.after ?? before) + by });
    };
    const owned = new Map<Address, number>();
    const countOwned = ({ address }: FrontendRow, by: number) =>
      owned.set(address, (owned.get(address) ?? this.#owned.get(address) ?? 0) + by);
    let services = this.serviceEntries;
    let revnats = this.#held.size;
    let sourceRanges = this.#sourceRanges;
    let answers = this.#answers;
    for (const frontend of frontends) {
      const before = this.#held.get(portKey(frontend));
      services += slotCount(frontend) - (before === undefined ? 0 : slotCount(before));
      revnats += before === undefined ? 1 : 0;
      sourceRanges += frontend.sourceRanges.length - (before?.sourceRanges.length ?? 0);
      answers += answerCount(frontend) - (before === undefined ? 0 : answerCount(before));
      if (before !== undefined && this.#hasOwn(before)) countOwned(before, -1);
      if (this.#hasOwn(frontend)) countOwned(frontend, 1);
      for (const backend of before === undefined ? [] : backendsOf(before)) count(backend, -1);
      for (const backend of backendsOf(frontend)) count(backend, 1);
    }
    let backends = this.backends.claimed;
    for (const { before, after } of uses.values()) backends += Number(after > 0) - Number(before > 0);
    for (const [address, total] of owned) services += Number(total > 0) - Number(this.owns(address));
    return { services, backends, revnats, sourceRanges, answers };
  }

  /** Of lb_services. */
  get serviceEntries(): number {
    return this.#slots + this.#owned.size;
  }

  /** The address has room for the entry that drops what it does not serve. */
  owns(address: Address): boolean {
    return this.#owned.has(address);
  }

  #hasOwn(frontend: FrontendRow): boolean {
    return this.#unservedDropped && frontend.ownsAddress;
  }

  /** Counts a frontend in place of its older version; false when the ids are used up. */
  hold(frontend: FrontendRow): boolean {
    const key = intern(portKey(frontend));
    const backends = backendsOf(frontend);
    if (this.services.acquire(key) === undefined) return false;
    for (const backend of backends) {
      this.#use(backend);
      if (backend.state !== 'active') this.#countLeaving(backend, 1);
    }
    this.#forget(key);
    this.#touch(backends);
    this.#held.set(key, frontend);
    this.#slots += slotCount(frontend);
    this.#sourceRanges += frontend.sourceRanges.length;
    this.#answers += answerCount(frontend);
    if (this.#hasOwn(frontend)) this.#owned.set(frontend.address, (this.#owned.get(frontend.address) ?? 0) + 1);
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

  backendId(backend: FrontendBackend): number {
    return this.backends.get(backend) ?? 0;
  }

  /**
   * What the backend's one entry says of it, whichever frontend asks: frontends may see a backend in different states, and one that
   * takes flows for any of them is active.
   */
  backendState(backend: FrontendBackend): BackendState {
    if (this.#leaving.size === 0) return 'active';
    const states = this.#leaving.get(backend);
    if (states === undefined) return 'active';
    const uses = [...states.values()].reduce((sum, count) => sum + count, 0);
    if (uses < this.#uses(backend)) return 'active';
    return backendStates.find(state => states.has(state)) ?? 'active';
  }

  /** Addresses of backends whose state may read otherwise since the last call. */
  takeTouched(): readonly Address[] {
    const touched = [...this.#touched];
    this.#touched.clear();
    return touched;
  }

  #touch(backends: readonly FrontendBackend[]): void {
    if (this.#leaving.size === 0) return;
    for (const backend of backends) if (this.#leaving.has(backend)) this.#touched.add(backend.address);
  }

  #countLeaving(backend: FrontendBackend, by: 1 | -1): void {
    const states = this.#leaving.get(backend) ?? new Map<BackendState, number>();
    const count = (states.get(backend.state) ?? 0) + by;
    if (count > 0) states.set(backend.state, count);
    else states.delete(backend.state);
    if (states.size > 0) this.#leaving.set(backend, states);
    else this.#leaving.delete(backend);
    this.#touched.add(backend.address);
  }

  #forget(key: string): void {
    const frontend = this.#held.get(key);
    if (frontend === undefined) return;
    const backends = backendsOf(frontend);
    this.#touch(backends);
    this.#held.delete(key);
    this.#slots -= slotCount(frontend);
    this.#sourceRanges -= frontend.sourceRanges.length;
    this.#answers -= answerCount(frontend);
    if (this.#hasOwn(frontend)) this.#disown(frontend.address);
    for (const backend of backends) {
      if (backend.state !== 'active') this.#countLeaving(backend, -1);
      this.#leave(backend);
    }
  }

  #disown(address: Address): void {
    const others = (this.#owned.get(address) ?? 0) - 1;
    if (others > 0) this.#owned.set(address, others);
    else this.#owned.delete(address);
  }

  #uses(backend: FrontendBackend): number {
    return this.backends.isClaimed(backend) ? 1 + (this.#moreUses.get(backend) ?? 0) : 0;
  }

  #use(backend: FrontendBackend): void {
    if (!this.backends.claim(backend)) this.#moreUses.set(backend, (this.#moreUses.get(backend) ?? 0) + 1);
  }

  #leave(backend: FrontendBackend): void {
    const more = this.#moreUses.get(backend);
    if (more === undefined) this.backends.release(backend);
    else if (more > 1) this.#moreUses.set(backend, more - 1);
    else this.#moreUses.delete(backend);
  }
}

/** A row that says why a frontend is not served; what the kernel held before stays. */
export function refusedRow(key: string, before: LbRow | undefined, status: LbRow['status']): LbRow {
  return { ...(before ?? emptyRow(key, status)), status };
}
