import {
  type ChangesOf,
  Controller,
  type ControllerInput,
  type ControllerModules,
  type RWTable,
  type Table,
  upsert,
  type WriteTxn,
} from '@ciliate/tables';
import { type Claim, Claims } from './claims.ts';

interface Source<Row, Out> {
  readonly table: Pick<Table<Row>, ControllerInput>;
  /** The claims of one row. Depends on nothing else that changes. */
  readonly claim: (row: Row) => readonly Claim<Out>[];
}

export interface ClaimControllerOptions<In extends Readonly<Record<string, unknown>>, Out> {
  readonly name: string;
  readonly sources: { readonly [Name in keyof In]: Source<In[Name], Out> };
  readonly output: RWTable<Out, never>;
  readonly whole?: boolean;
}

/** A controller whose output rows each come from one row of one of several inputs. */
export function claimController<In extends Readonly<Record<string, unknown>>, Out extends object>(
  { name, sources, output, whole = false }: ClaimControllerOptions<In, Out>,
  modules: ControllerModules,
): Controller<In> {
  const claims = new Claims<Out>();
  const names: readonly (keyof In & string)[] = Object.keys(sources);
  const inputs = Object.fromEntries(names.map(source => [source, sources[source].table])) as {
    readonly [Name in keyof In]: Pick<Table<In[Name]>, ControllerInput>;
  };
  const run = (changes: ChangesOf<In>, txn: WriteTxn) => {
    for (const source of names) {
      for (const { key, row, deleted } of changes[source]) {
        claims.set(`${source}:${key}`, deleted ? [] : sources[source].claim(row));
      }
    }
    writeWinners(claims, output, txn);
  };
  return new Controller({ name, inputs, outputs: [output], whole, run }, modules);
}

/** Writes the winners of all keys that changed; call it last in a run. */
export function writeWinners<Out extends object>(
  claims: Claims<Out>,
  output: RWTable<Out, never>,
  txn: WriteTxn,
): void {
  for (const key of claims.dirty) {
    const row = claims.winner(key);
    if (row === undefined) output.delete(txn, key);
    else upsert(output, txn, row);
  }
  claims.settle();
}
