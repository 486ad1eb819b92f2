/** Walks the kernel's policy maps against the compiler, a slice at a time; a difference that stays is alarmed. */
import type { EndpointEntry, EndpointKey, PolicyEntry, PolicyKey } from '@ciliate/abi';
import {
  compareTexts,
  GroupCheck,
  groupOf,
  type PolicyDifference,
  type PolicyScene,
  type Somebody,
  verifyEndpoint,
  verifyGroup,
} from '@ciliate/control';
import { addressFromBytes, type PolicyGroupRow, ruleReferenceKey, type Tables } from '@ciliate/model';
import type { Clock } from '@ciliate/tables';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

/** What is loaded. */
export interface LoadedPolicy {
  readonly policyMap: (group: number) => readonly (readonly [PolicyKey, PolicyEntry])[] | undefined;
  /** As policyMap, entry by entry. */
  readonly scanPolicyMap: (group: number) => IterableIterator<readonly [PolicyKey, PolicyEntry]> | undefined;
  readonly endpoints: () => Iterable<readonly [EndpointKey, EndpointEntry]>;
}

export interface VerifyHealth {
  /** Maps that have been compared since the start. */
  readonly checked: number;
  /** Differences that are there now. */
  readonly differences: readonly PolicyDifference[];
  /** Milliseconds since 1970; undefined: not once through yet. */
  readonly lastRound: number | undefined;
}

export interface VerifierModules {
  readonly tables: Tables;
  readonly loaded: LoadedPolicy;
  /** Everything compiled anew. */
  readonly scene: () => PolicyScene;
  readonly clock: Clock;
  readonly log: Log;
}

export class PolicyVerifier implements Service {
  readonly name = 'policy-verifier';
  readonly #options: { readonly interval: number; readonly slice: number; readonly pause: number };
  readonly #modules: VerifierModules;
  /** By group, or 'endpoints'. */
  readonly #found = new Map<string, readonly PolicyDifference[]>();
  /** Seen once: what is just being written is no alarm. */
  readonly #suspects = new Map<string, string>();
  #waiting: string[] = [];
  #check: GroupCheck | undefined;
  #checked = 0;
  #lastRound: number | undefined;
  #cancel: (() => void) | undefined;

  /** A tick each `interval` ms looks at `slice` entries; ms between rounds. */
  constructor(
    options: { readonly interval: number; readonly slice: number; readonly pause: number },
    modules: VerifierModules,
  ) {
    this.#options = options;
    this.#modules = modules;
  }

  start(): void {
    const { interval, pause } = this.#options;
    const isBetween = this.#waiting.length === 0 && this.#check === undefined;
    this.#cancel = this.#modules.clock.after(isBetween ? pause : interval, () => {
      this.#tick();
      this.start();
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#check?.close();
    this.#check = undefined;
  }

  health(): VerifyHealth {
    return { checked: this.#checked, differences: [...this.#found.values()].flat(), lastRound: this.#lastRound };
  }

  /** All maps now, and each against rules compiled from the start instead of change by change. */
  verifyAll(): {
    readonly maps: number;
    readonly endpoints: number;
    readonly differences: readonly PolicyDifference[];
  } {
    const { tables } = this.#modules;
    const groups = tables.policyGroups.all().filter(isApplied);
    const rows = tables.endpointMapRows.all().filter(row => row.status.kind === 'done');
    const differences = [
      ...groups.flatMap(row => verifyGroup(row, this.#modules.loaded.policyMap(row.id))),
      ...this.#endpoints(),
      ...this.#anew(),
    ];
    return { maps: groups.length, endpoints: rows.length, differences };
  }

  #tick(): void {
    if (this.#waiting.length === 0 && this.#check === undefined) {
      this.#waiting = [...this.#modules.tables.policyGroups.all().map(row => String(row.id)), 'endpoints'];
    }
    for (let left = this.#options.slice; left > 0; ) {
      const read = this.#goOn(left) ?? this.#begin();
      if (read === undefined) break;
      left -= read;
    }
    if (this.#waiting.length === 0 && this.#check === undefined) this.#endRound();
  }

  /** The next group or the endpoints; entries read. Undefined: the round is over. */
  #begin(): number | undefined {
    const key = this.#waiting.shift();
    if (key === undefined) return undefined;
    const row = this.#modules.tables.policyGroups.get(key);
    const isJudging = row !== undefined && isApplied(row) && (row.ingress || row.egress);
    const loaded = isJudging ? this.#modules.loaded.scanPolicyMap(row.id) : undefined;
    if (row !== undefined && loaded !== undefined) this.#check = new GroupCheck(row, loaded);
    else this.#tell(key, key === 'endpoints' ? this.#endpoints() : this.#group(key));
    return 1;
  }

  /** Some more of the map that is being read; entries read. Undefined: there is none. */
  #goOn(entries: number): number | undefined {
    const check = this.#check;
    if (check === undefined) return undefined;
    const key = String(check.row.id);
    const isMoved = this.#modules.tables.policyGroups.get(key) !== check.row;
    const found = isMoved ? undefined : check.step(entries);
    if (found === undefined && !isMoved) return entries;
    check.close();
    this.#check = undefined;
    // One that has changed meanwhile has its turn again in the next round.
    if (found !== undefined) this.#tell(key, found === 'same' ? [] : this.#group(key));
    return Math.min(entries, check.row.content.size);
  }

  #tell(key: string, differences: readonly PolicyDifference[]): void {
    this.#checked += 1;
    const text = JSON.stringify(differences);
    const isAlarm = differences.length > 0 && this.#suspects.get(key) === text;
    if (differences.length === 0) {
      if (this.#found.delete(key)) this.#modules.log.info('policy map is as it shall be again', { map: key });
      this.#suspects.delete(key);
      return;
    }
    this.#suspects.set(key, text);
    if (!isAlarm || JSON.stringify(this.#found.get(key)) === text) return;
    this.#found.set(key, differences);
    const [first] = differences;
    this.#modules.log.error('the kernel holds another policy than it shall', { count: differences.length, first });
  }

  #group(key: string): readonly PolicyDifference[] {
    const row = this.#modules.tables.policyGroups.get(key);
    if (row === undefined || !isApplied(row)) return [];
    return verifyGroup(row, this.#modules.loaded.policyMap(row.id));
  }

  #endpoints(): readonly PolicyDifference[] {
    const loaded = new Map(
      [...this.#modules.loaded.endpoints()].map(([key, value]) => [addressFromBytes(key.address), value]),
    );
    const rows = this.#modules.tables.endpointMapRows.all().filter(row => row.status.kind === 'done');
    return rows.flatMap(row => verifyEndpoint(row, loaded.get(row.address)));
  }

  #endRound(): void {
    this.#lastRound = this.#modules.clock.now();
    const { policyGroups } = this.#modules.tables;
    for (const key of this.#found.keys()) {
      if (key !== 'endpoints' && policyGroups.get(key) === undefined) this.#found.delete(key);
    }
  }

  #anew(): readonly PolicyDifference[] {
    const scene = this.#modules.scene();
    const done = new Set<number>();
    return [...scene.input.pods, scene.reservedOne('host')].flatMap(somebody => {
      const group = groupOf(this.#modules.tables, somebody);
      const row = group === undefined ? undefined : this.#modules.tables.policyGroups.get(String(group));
      if (row === undefined || done.has(row.id) || !isApplied(row) || (!row.ingress && !row.egress)) return [];
      // Another policy is asked for than is in force, and the agent says so.
      if (row.unfit !== undefined) return [];
      done.add(row.id);
      return this.#compareAnew(scene, somebody, row);
    });
  }

  #compareAnew(scene: PolicyScene, somebody: Somebody, row: PolicyGroupRow): readonly PolicyDifference[] {
    const { entries, rule } = scene.mapOf(somebody);
    const { policyRules } = this.#modules.tables;
    const wanted = entries.map(([key, value]) => {
      const reference = rule(value.ruleId);
      return line(key, value, reference === undefined ? '' : ruleReferenceKey(reference));
    });
    const loaded = this.#modules.loaded.policyMap(row.id) ?? [];
    const found = loaded.map(([key, value]) => {
      const reference = policyRules.get(String(value.ruleId))?.reference;
      return line(key, value, reference === undefined ? '' : ruleReferenceKey(reference));
    });
    return compareTexts(`policy map ${row.id} compiled anew for ${somebody.name}`, new Map(wanted), new Map(found));
  }
}

function isApplied(row: PolicyGroupRow): boolean {
  return row.status.kind === 'done';
}

function line(key: PolicyKey, { flags }: PolicyEntry, rule: string): readonly [string, string] {
  const { identity, direction, proto, dport, prefixlen } = key;
  return [`${identity}/${direction}/${proto}/${dport}/${prefixlen}`, `${rule} ${flags}`];
}

/** Why the agent is degraded; nothing when the maps are as they shall be. */
export function verifyProblem(verifier: PolicyVerifier): readonly string[] {
  const { differences } = verifier.health();
  const [first] = differences;
  if (first === undefined) return [];
  const count = differences.length === 1 ? 'differs in one entry' : `differs in ${differences.length} entries`;
  return [
    `the policy in the kernel ${count} from what it shall be (${first.where}): 'ciliate policy verify' names them`,
  ];
}
