/** Policies that are not in force as asked, to those who can change it: a line of the log, and the agent is degraded while it is so. */
import { type PolicyGroupRow, type PolicyRow, policyKey } from '@ciliate/model';
import type { ChangeCursor, Table } from '@ciliate/tables';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface PolicyReporterModules {
  readonly policies: Table<PolicyRow>;
  readonly ciliumPolicies: Table<PolicyRow>;
  readonly clusterwidePolicies: Table<PolicyRow>;
  readonly policyGroups: Table<PolicyGroupRow>;
  readonly log: Pick<Log, 'info' | 'warn' | 'error'>;
}

export class PolicyReporter implements Service {
  readonly name = 'policy-reporter';
  readonly #modules: PolicyReporterModules;
  readonly #policies: readonly ChangeCursor<PolicyRow>[];
  readonly #groups: ChangeCursor<PolicyGroupRow>;
  /** Policy → why it is not enforced. */
  readonly #refused = new Map<string, string>();
  /** Group → why its map holds another policy than is asked. */
  readonly #unfit = new Map<string, string>();
  #unsubscribe: readonly (() => void)[] = [];
  #changes = { success: 0, fail: 0 };

  constructor(modules: PolicyReporterModules) {
    this.#modules = modules;
    this.#policies = [modules.policies, modules.ciliumPolicies, modules.clusterwidePolicies].map(one => one.changes());
    this.#groups = modules.policyGroups.changes();
  }

  start(): void {
    const { policies, ciliumPolicies, clusterwidePolicies, policyGroups } = this.#modules;
    const tables = [policies, ciliumPolicies, clusterwidePolicies, policyGroups];
    this.#unsubscribe = tables.map(table => table.subscribe(() => this.#changed()));
    this.#changed();
  }

  stop(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const cursor of [...this.#policies, this.#groups]) cursor.close();
  }

  /** A policy that waits for a feature is its author's matter (its Valid condition); one that does not fit is the node's. */
  degraded(): readonly string[] {
    const [first] = this.#unfit.values();
    if (first === undefined) return [];
    const more = this.#unfit.size === 1 ? '' : ` (and ${this.#unfit.size - 1} more)`;
    return [`a policy is not in force, what was before it still is: ${first}${more}`];
  }

  /** Policies that came, changed or went since the start; `fail`: those that cannot be enforced. */
  get changes(): { readonly success: number; readonly fail: number } {
    return this.#changes;
  }

  #changed(): void {
    for (const { key, row, deleted } of this.#policies.flatMap(cursor => cursor.next())) {
      const why = deleted || row.refused.length === 0 ? undefined : row.refused.join('; ');
      this.#changes[why === undefined ? 'success' : 'fail'] += 1;
      if (!this.#isNews(this.#refused, key, why)) continue;
      if (why === undefined) this.#modules.log.info('policy can be enforced again, or is gone', { policy: key });
      else this.#modules.log.warn('policy is not enforced', { policy: policyKey(row), why });
    }
    for (const { key, row, deleted } of this.#groups.next()) {
      const failed = row.status.kind === 'error' ? row.status.error : row.unfit;
      const why = deleted ? undefined : failed;
      if (!this.#isNews(this.#unfit, key, why)) continue;
      if (why === undefined) this.#modules.log.info('policy map is as asked again', { group: key });
      else this.#modules.log.error('policy is not in force', { group: key, why });
    }
  }

  #isNews(known: Map<string, string>, key: string, why: string | undefined): boolean {
    if (known.get(key) === why) return false;
    if (why === undefined) known.delete(key);
    else known.set(key, why);
    return true;
  }
}
