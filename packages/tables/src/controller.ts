import { backoff } from './retry-queue.ts';
import { errorText } from './status.ts';
import type { Change, ChangeCursor, Clock, Database, Table, WriteTxn } from './types.ts';

export interface ControllerHealth {
  readonly name: string;
  /** ms, by the Clock. */
  readonly lastSuccess: number | undefined;
  readonly lastFailure: number | undefined;
  readonly lastError: string | undefined;
  readonly successes: number;
  readonly failures: number;
  readonly consecutiveFailures: number;
}

type Inputs = Readonly<Record<string, unknown>>;

/** What changed in each input since the last run that succeeded; one change a key, the newest. */
export type ChangesOf<In extends Inputs> = { readonly [Name in keyof In]: readonly Change<In[Name]>[] };

/** An output table: it is initialized when the inputs are and the controller has run. */
export interface OutputTable {
  registerInitializer(name: string): (txn: WriteTxn) => void;
}

export interface ControllerOptions<In extends Inputs> {
  readonly name: string;
  readonly inputs: { readonly [Name in keyof In]: Pick<Table<In[Name]>, ControllerInput> };
  readonly outputs: readonly OutputTable[];
  /** Runs only when every input is initialized: for compilers whose output from half the inputs would take things away. */
  readonly whole?: boolean;
  /** Computes and writes, in one transaction: when it throws nothing is written and the same changes come again. */
  readonly run: (changes: ChangesOf<In>, txn: WriteTxn) => void;
  /**
   * ms, default 0. Changes that keep coming are taken together: a run waits until a turn of the event loop has brought none, and no longer
   * than this. For compilers whose inputs come in bursts by several ways, and would be compiled half first.
   */
  readonly patience?: number;
  /** Asked after each run: ms until the next one, though nothing changes (something expires). Undefined: none is needed. */
  readonly again?: () => number | undefined;
  /** ms. Default 100 and 60000. */
  readonly retryMin?: number;
  readonly retryMax?: number;
}

/** What a controller uses of a table. Without `by`, so that a table with any indexes fits. */
export type ControllerInput = 'changes' | 'subscribe' | 'initialized';

export interface ControllerModules {
  readonly database: Database;
  readonly clock: Clock;
  readonly onError?: (error: unknown, controller: string) => void;
}

interface Input {
  readonly table: Pick<Table<unknown>, ControllerInput>;
  /** What the next run takes; after one that failed also what that one was given. */
  waiting: readonly Change<unknown>[];
  cursor: ChangeCursor<unknown> | undefined;
}

/** ms that a timer may have (2³¹ - 1); what is later is asked for again. */
const longestDelay = 86_400_000;

/** Table → table: runs its function when inputs have changed, once for all changes that came together. */
export class Controller<In extends Inputs = Inputs> {
  readonly name: string;
  readonly #options: ControllerOptions<In>;
  readonly #modules: ControllerModules;
  readonly #inputs = new Map<string, Input>();
  readonly #idleWaiters = new Set<() => void>();
  readonly #reports: readonly ((txn: WriteTxn) => void)[];
  #unsubscribe: (() => void)[] = [];
  #cancel: (() => void) | undefined;
  #cancelAgain: (() => void) | undefined;
  /** An input was written since the last turn. */
  #stirred = false;
  /** By the Clock: when patience ends with the changes that are waiting. */
  #latest: number | undefined;
  /** The time has come that the last run asked for. */
  #due = false;
  #started = false;
  #reported = false;
  #health: Omit<ControllerHealth, 'name'> = {
    lastSuccess: undefined,
    lastFailure: undefined,
    lastError: undefined,
    successes: 0,
    failures: 0,
    consecutiveFailures: 0,
  };

  constructor(options: ControllerOptions<In>, modules: ControllerModules) {
    this.name = options.name;
    this.#options = options;
    this.#modules = modules;
    this.#reports = options.outputs.map(output => output.registerInitializer(options.name));
    for (const [name, table] of Object.entries<Pick<Table<unknown>, ControllerInput>>(options.inputs)) {
      this.#inputs.set(name, { table, waiting: [], cursor: undefined });
    }
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    for (const input of this.#inputs.values()) {
      input.cursor = input.table.changes();
      this.#unsubscribe.push(input.table.subscribe(() => this.#stir()));
    }
    this.#schedule(0);
  }

  stop(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const input of this.#inputs.values()) input.cursor?.close();
    this.#unsubscribe = [];
    this.#cancel?.();
    this.#cancel = undefined;
    this.#cancelAgain?.();
    this.#started = false;
  }

  health(): ControllerHealth {
    return { name: this.name, ...this.#health };
  }

  /** Resolves when a run has taken in every change so far. */
  settled(): Promise<void> {
    return new Promise(resolve => {
      this.#idleWaiters.add(resolve);
      this.#schedule(0);
    });
  }

  #stir(): void {
    this.#stirred = true;
    this.#schedule(0);
  }

  #schedule(delay: number): void {
    // A retry that is waiting keeps its time; what came meanwhile is taken with it.
    if (!this.#started || this.#cancel !== undefined) return;
    this.#cancel = this.#modules.clock.after(delay, () => {
      this.#cancel = undefined;
      if (this.#mayComeMore()) this.#schedule(0);
      else this.#run();
    });
  }

  #mayComeMore(): boolean {
    const now = this.#modules.clock.now();
    this.#latest ??= now + (this.#options.patience ?? 0);
    const wait = this.#stirred && now < this.#latest;
    this.#stirred = false;
    return wait;
  }

  #run(): void {
    this.#latest = undefined;
    for (const input of this.#inputs.values()) input.waiting = newest(input.waiting, input.cursor?.next() ?? []);
    const complete = [...this.#inputs.values()].every(input => input.table.initialized);
    const report = complete && !this.#reported;
    const changed = [...this.#inputs.values()].some(input => input.waiting.length > 0);
    const wanted = changed || report || this.#due || this.#health.successes === 0;
    if (wanted && (complete || this.#options.whole !== true) && !this.#attempt(report)) return;
    for (const resolve of this.#idleWaiters) resolve();
    this.#idleWaiters.clear();
  }

  #attempt(report: boolean): boolean {
    const { database, clock, onError } = this.#modules;
    const changes = Object.fromEntries(
      [...this.#inputs].map(([name, input]) => [name, input.waiting]),
    ) as unknown as ChangesOf<In>;
    try {
      database.write(txn => {
        this.#options.run(changes, txn);
        if (report) for (const tell of this.#reports) tell(txn);
      });
    } catch (thrown) {
      this.#failed(thrown);
      onError?.(thrown, this.name);
      return false;
    }
    this.#runAgain(this.#options.again?.());
    this.#reported ||= report;
    for (const input of this.#inputs.values()) input.waiting = [];
    this.#health = {
      ...this.#health,
      lastSuccess: clock.now(),
      successes: this.#health.successes + 1,
      consecutiveFailures: 0,
    };
    return true;
  }

  #runAgain(delay: number | undefined): void {
    this.#due = false;
    this.#cancelAgain?.();
    this.#cancelAgain = undefined;
    if (delay === undefined) return;
    this.#cancelAgain = this.#modules.clock.after(Math.min(delay, longestDelay), () => {
      this.#due = true;
      this.#schedule(0);
    });
  }

  #failed(thrown: unknown): void {
    const { retryMin = 100, retryMax = 60_000 } = this.#options;
    const consecutiveFailures = this.#health.consecutiveFailures + 1;
    this.#health = {
      ...this.#health,
      lastFailure: this.#modules.clock.now(),
      lastError: errorText(thrown),
      failures: this.#health.failures + 1,
      consecutiveFailures,
    };
    this.#schedule(backoff(consecutiveFailures - 1, retryMin, retryMax, () => 0));
  }
}

/** One change a key, in the order in which keys were first changed. */
function newest(before: readonly Change<unknown>[], changes: readonly Change<unknown>[]): readonly Change<unknown>[] {
  if (before.length === 0) return changes;
  const byKey = new Map(before.map(change => [change.key, change]));
  for (const change of changes) byKey.set(change.key, change);
  return [...byKey.values()];
}
