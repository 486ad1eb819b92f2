/** Policies with the audit of their namespaces, and when each ends. */
import { type AuditMode, auditedBy, type NamespaceRow, type PolicyRow, policyKey, type Tables } from '@ciliate/model';
import type { Change, Clock } from '@ciliate/tables';

type AuditTables = Pick<Tables, 'policies' | 'ciliumPolicies' | 'clusterwidePolicies' | 'namespaces'>;

export interface PolicyChanges {
  readonly policies: readonly Change<PolicyRow>[];
  readonly ciliumPolicies: readonly Change<PolicyRow>[];
  readonly clusterwidePolicies: readonly Change<PolicyRow>[];
  readonly namespaces: readonly Change<NamespaceRow>[];
}

export class AuditedPolicies {
  readonly #tables: AuditTables;
  readonly #clock: Clock;
  /** Policy key → when its audit ends. */
  readonly #ends = new Map<string, number>();
  readonly #namespaces = new Map<string, AuditMode>();

  constructor(tables: AuditTables, clock: Clock) {
    this.#tables = tables;
    this.#clock = clock;
  }

  /** Policies that are to be compiled anew: changed, in a namespace that is audited otherwise now, or no longer tried out only. */
  read(changes: PolicyChanges): ReadonlyMap<string, PolicyRow | undefined> {
    const touched = new Map<string, PolicyRow | undefined>();
    for (const source of ['policies', 'ciliumPolicies', 'clusterwidePolicies'] as const) {
      for (const { key, row, deleted } of changes[source]) touched.set(key, deleted ? undefined : row);
    }
    const moved = changes.namespaces.filter(({ row, deleted }) => this.#isMoved(row, deleted));
    const names = new Set(moved.map(({ row }) => row.name));
    const now = this.#clock.now();
    const over = new Set([...this.#ends].filter(([, until]) => until <= now).map(([key]) => key));
    if (names.size + over.size > 0) {
      for (const row of this.#all()) {
        const key = policyKey(row);
        if (over.has(key) || (row.namespace !== '' && names.has(row.namespace))) touched.set(key, row);
      }
    }
    return new Map([...touched].map(([key, row]) => [key, this.#audited(key, row)]));
  }

  /** When audits end, ms since 1970. */
  ends(): IterableIterator<number> {
    return this.#ends.values();
  }

  #all(): readonly PolicyRow[] {
    const { policies, ciliumPolicies, clusterwidePolicies } = this.#tables;
    return [...policies.all(), ...ciliumPolicies.all(), ...clusterwidePolicies.all()];
  }

  /** True when the namespace is audited otherwise than before. */
  #isMoved({ name, audit = 'off' }: NamespaceRow, deleted: boolean): boolean {
    const before = JSON.stringify(this.#namespaces.get(name) ?? 'off');
    if (deleted) this.#namespaces.delete(name);
    else this.#namespaces.set(name, audit);
    return before !== JSON.stringify(this.#namespaces.get(name) ?? 'off');
  }

  #audited(key: string, row: PolicyRow | undefined): PolicyRow | undefined {
    const policy = row === undefined ? undefined : auditedBy(row, this.#tables.namespaces.get(row.namespace));
    this.#ends.delete(key);
    if (typeof policy?.audit === 'object' && policy.audit.until > this.#clock.now()) {
      this.#ends.set(key, policy.audit.until);
    }
    return policy;
  }
}
