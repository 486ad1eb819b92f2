/** Keeps the policy map of each group of endpoints: a change costs the groups that it touches. */
import {
  type AddressBlockRow,
  type AddressClassRow,
  type CidrGroupRow,
  type IdentityRow,
  type Peer,
  PolicyContent,
  type PolicyMapEntry,
  type PolicyRow,
  type RuleReference,
  ruleReferenceKey,
} from '@ciliate/model';
import { IdAllocator } from '../id-allocator.ts';
import { type AppliedRule, appliedRules, type EnforcementMode, type PolicySubject, partsOf } from './compile-group.ts';
import { GroupCompiler } from './group-compiler.ts';
import { blockIdentity, classIdentity, noPeerContext, type PeerContext, type PeerIdentity } from './peers.ts';
import { peerKey, SelectorCache } from './selector-cache.ts';

export interface PolicyCompilerOptions {
  readonly mode: EnforcementMode;
  readonly allowLocalHost: boolean;
  /** world-ipv4 and world-ipv6 instead of world. */
  readonly dualStack: boolean;
  /** Blocks of Cilium's policies hold nodes too. */
  readonly cidrMatchesNodes: boolean;
}

/** What a group's map shall hold. */
export interface CompiledContent {
  readonly content: PolicyContent;
  readonly ingress: boolean;
  readonly egress: boolean;
  readonly usesClasses: boolean;
  /**
   * Another number for other rules. Under one number contents differ by who is selected alone: what an identity's entries are does not
   * depend on other identities, so each step of such a change is a whole policy.
   */
  readonly rules: number;
}

interface Group {
  readonly subject: PolicySubject;
  readonly applied: Map<string, readonly AppliedRule[]>;
  selections: Set<string>;
  ruleIds: readonly number[];
  /** Undefined: never compiled. */
  compiler: GroupCompiler | undefined;
  /** Rules that have come or gone since it was compiled. */
  changed: AppliedRule[];
  isStale: boolean;
  compiled: CompiledContent;
  /** Identities whose entries may be others now. */
  readonly touched: Set<number>;
}

export class PolicyCompiler {
  readonly #options: PolicyCompilerOptions;
  readonly #selectors: SelectorCache;
  readonly #policies = new Map<string, PolicyRow>();
  readonly #groups = new Map<string, Group>();
  readonly #usersOf = new Map<string, Set<string>>();
  readonly #rules = new IdAllocator({ min: 1, max: 0xffff_ffff });
  readonly #references = new Map<number, { readonly reference: RuleReference; users: number }>();
  readonly #peerKeys = new WeakMap<Peer, string>();
  readonly #namedPorts = new Map<number, PeerIdentity['namedPorts']>();
  readonly #dirty = new Set<string>();
  #context: PeerContext;

  constructor(options: PolicyCompilerOptions) {
    this.#options = options;
    this.#context = { ...noPeerContext, cidrMatchesNodes: options.cidrMatchesNodes };
    this.#selectors = new SelectorCache(this.#context);
  }

  /** Groups to compile again, since it was last asked. */
  takeDirty(): readonly string[] {
    const keys = [...this.#dirty];
    this.#dirty.clear();
    return keys.filter(key => this.#groups.has(key));
  }

  get policies(): number {
    return this.#policies.size;
  }

  setPolicy(key: string, policy: PolicyRow | undefined): void {
    const hadNone = this.#policies.size === 0;
    if (policy === undefined) this.#policies.delete(key);
    else this.#policies.set(key, policy);
    for (const [name, group] of this.#groups) {
      const applied = policy === undefined ? [] : appliedRules([policy], group.subject);
      const before = group.applied.get(key);
      if (applied.length > 0) group.applied.set(key, applied);
      else if (!group.applied.delete(key) && hadNone === (this.#policies.size === 0)) continue;
      group.changed.push(...(before ?? []), ...applied);
      group.isStale = true;
      this.#dirty.add(name);
    }
  }

  setIdentity(row: Pick<IdentityRow, 'id' | 'labels'>): void {
    this.#put({
      id: row.id,
      labels: row.labels,
      prefix: undefined,
      kind: 'labels',
      namedPorts: this.#namedPorts.get(row.id) ?? noPorts,
    });
  }

  removeIdentity(id: number): void {
    this.#touch(this.#selectors.remove(id), id);
  }

  setBlock(block: AddressBlockRow): void {
    this.#put(blockIdentity(block, this.#options.dualStack));
  }

  /** Named ports of the pods that have the identity: what a port name means to those who call them. */
  setNamedPorts(id: number, namedPorts: PeerIdentity['namedPorts']): void {
    const before = this.#namedPorts.get(id) ?? noPorts;
    if (namedPorts.size === 0) this.#namedPorts.delete(id);
    else this.#namedPorts.set(id, namedPorts);
    if (samePorts(before, namedPorts)) return;
    const identity = this.#selectors.identity(id);
    if (identity !== undefined) this.#put({ ...identity, namedPorts });
  }

  setClass(row: AddressClassRow): void {
    this.#put(classIdentity(row));
  }

  setCidrGroups(cidrGroups: readonly CidrGroupRow[]): void {
    this.#setContext({ ...this.#context, cidrGroups }, 'cidr-group');
  }

  setServiceTargets(serviceTargets: PeerContext['serviceTargets']): void {
    this.#setContext({ ...this.#context, serviceTargets }, 'service');
  }

  #setContext(context: PeerContext, kind: Peer['kind']): void {
    this.#context = context;
    for (const [key, ids] of this.#selectors.setContext(context, [kind])) for (const id of ids) this.#touch([key], id);
  }

  #put(identity: PeerIdentity): void {
    this.#touch(this.#selectors.put(identity), identity.id);
  }

  #touch(keys: readonly string[], id: number): void {
    for (const key of keys) {
      for (const name of this.#usersOf.get(key) ?? []) {
        this.#groups.get(name)?.touched.add(id);
        this.#dirty.add(name);
      }
    }
  }

  addGroup(name: string, subject: PolicySubject): void {
    if (this.#groups.has(name)) return;
    const group: Group = {
      ...{ subject, applied: new Map(), selections: new Set(), ruleIds: [], touched: new Set() },
      ...{ compiler: undefined, changed: [], isStale: false, compiled: nothing },
    };
    for (const [key, policy] of this.#policies) {
      const applied = appliedRules([policy], subject);
      if (applied.length > 0) group.applied.set(key, applied);
    }
    this.#groups.set(name, group);
    this.#dirty.add(name);
  }

  removeGroup(name: string): void {
    const group = this.#groups.get(name);
    if (group === undefined) return;
    this.#groups.delete(name);
    this.#use(name, group, new Set());
    this.#keepRules(group, []);
  }

  /** The group's map as it shall be now: what has changed since it was last asked, anew. `now` in milliseconds since 1970. */
  compile(name: string, now: number): CompiledContent {
    const group = this.#groups.get(name);
    if (group === undefined) return nothing;
    const { compiler, touched, isStale } = group;
    if (compiler === undefined || isStale) this.#renew(name, group, now);
    else if (touched.size > 0) group.compiled = { ...group.compiled, content: this.#parts(group, compiler, touched) };
    touched.clear();
    group.changed = [];
    group.isStale = false;
    return group.compiled;
  }

  /** The rules are others now. Of a group that goes on being judged only those are looked at whom the changed ones name. */
  #renew(name: string, group: Group, now: number): void {
    const ruleIds: number[] = [];
    const { compiler: before, compiled } = group;
    const compiler = this.#compilerOf(group, ruleIds, now);
    const keys = new Set([...compiler.peers()].map(([key]) => key));
    const { ingress, egress, usesClasses } = compiler;
    const sameJudging = compiled.ingress === ingress && compiled.egress === egress;
    const isPart = before !== undefined && sameJudging && !before.hasAudits && !compiler.hasAudits;
    const select = (key: string, peer: Peer) => this.#selectors.select(key, peer);
    if (isPart) {
      const known = new Set([...group.selections, ...keys]);
      const named = this.#selectedBy(group.changed, known);
      for (const id of [...compiler.standing(), ...before.standing(), ...named]) group.touched.add(id);
    }
    this.#use(name, group, keys);
    this.#keepRules(group, ruleIds);
    group.compiler = compiler;
    const content = isPart ? this.#parts(group, compiler, group.touched) : PolicyContent.of(partsOf(compiler, select));
    this.#generation += 1;
    group.compiled = { content, ingress, egress, usesClasses, rules: this.#generation };
  }

  #compilerOf(group: Group, ruleIds: number[], now: number): GroupCompiler {
    const { allowLocalHost, cidrMatchesNodes } = this.#options;
    return new GroupCompiler(group.subject, this.#ordered(group), {
      // Without any policy nobody is isolated, not even who has no identity yet.
      mode: this.#policies.size === 0 && this.#options.mode === 'default' ? 'never' : this.#options.mode,
      ...{ allowLocalHost, cidrMatchesNodes, now },
      keyOf: peer => this.#keyOf(peer),
      ruleId: reference => {
        const id = this.#ruleId(reference);
        ruleIds.push(id);
        return id;
      },
    });
  }

  /** Whom rules name, those that have gone too. */
  *#selectedBy(rules: readonly AppliedRule[], known: ReadonlySet<string>): IterableIterator<number> {
    const traffic = rules.flatMap(({ rule }) => [...rule.ingress, ...rule.egress]);
    for (const peer of traffic.flatMap(({ peers }) => peers ?? [anybody])) {
      const key = this.#keyOf(peer);
      if (known.has(key)) for (const { id } of this.#selectors.select(key, peer)) yield id;
    }
  }

  #parts(group: Group, compiler: GroupCompiler, ids: Iterable<number>): PolicyContent {
    const parts = [...ids].map(id => [id, this.#part(compiler, group, id)] as const);
    return group.compiled.content.with(parts);
  }

  #part(compiler: GroupCompiler, { selections }: Group, id: number): readonly PolicyMapEntry[] {
    const namedPorts = this.#selectors.identity(id)?.namedPorts ?? noPorts;
    const keys = [...this.#selectors.selectedBy(id)].filter(key => selections.has(key));
    return compiler.part({ id, namedPorts }, keys);
  }

  #generation = 0;

  /** Rules that begin or cease (undefined) to be named, since it was asked the time before the last: what was said once may not have been kept. */
  takeRuleChanges(): readonly (readonly [id: number, reference: RuleReference | undefined])[] {
    const ids = new Set([...this.#changedBefore, ...this.#changedRules]);
    this.#changedBefore = this.#changedRules;
    this.#changedRules = new Set();
    return [...ids].map(id => [id, this.#references.get(id)?.reference] as const);
  }

  #changedRules = new Set<number>();
  #changedBefore: ReadonlySet<number> = new Set();

  /** Rules that entries name, by id. */
  rules(): ReadonlyMap<number, RuleReference> {
    return new Map([...this.#references].map(([id, { reference }]) => [id, reference]));
  }

  /** Of two rules for one key the first counts: policies by name, so that it is always the same. */
  #ordered(group: Group): readonly AppliedRule[] {
    return [...group.applied].toSorted(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, rules]) => rules);
  }

  #keyOf(peer: Peer): string {
    const known = this.#peerKeys.get(peer);
    if (known !== undefined) return known;
    const key = peerKey(peer);
    this.#peerKeys.set(peer, key);
    return key;
  }

  #ruleId(reference: RuleReference): number {
    const id = this.#rules.acquire(ruleReferenceKey(reference)) ?? 0;
    const held = this.#references.get(id);
    if (held === undefined) {
      this.#references.set(id, { reference, users: 0 });
      this.#changedRules.add(id);
    }
    return id;
  }

  #keepRules(group: Group, ruleIds: readonly number[]): void {
    for (const id of ruleIds) this.#count(id, 1);
    for (const id of group.ruleIds) this.#count(id, -1);
    group.ruleIds = ruleIds;
  }

  #count(id: number, by: number): void {
    const held = this.#references.get(id);
    if (held === undefined) return;
    held.users += by;
    if (held.users > 0) return;
    this.#references.delete(id);
    this.#changedRules.add(id);
    this.#rules.release(ruleReferenceKey(held.reference));
  }

  #use(name: string, group: Group, selections: Set<string>): void {
    for (const key of selections) {
      const users = this.#usersOf.get(key) ?? new Set<string>();
      this.#usersOf.set(key, users.add(name));
    }
    for (const key of group.selections) {
      if (selections.has(key)) continue;
      const users = this.#usersOf.get(key);
      users?.delete(name);
      if (users?.size !== 0) continue;
      this.#usersOf.delete(key);
      this.#selectors.forget([key]);
    }
    group.selections = selections;
  }
}

function samePorts(a: PeerIdentity['namedPorts'], b: PeerIdentity['namedPorts']): boolean {
  if (a.size !== b.size) return false;
  return [...a].every(([name, numbers]) => b.get(name)?.join(' ') === numbers.join(' '));
}

const noPorts: PeerIdentity['namedPorts'] = new Map();
const anybody: Peer = { kind: 'everybody' };
const nothing: CompiledContent = {
  content: PolicyContent.empty,
  ...{ ingress: false, egress: false, usesClasses: false, rules: 0 },
};
