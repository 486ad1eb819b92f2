/** Runs a script of an archive against a World. Commands: see README.md beside this file. */
import assert from 'node:assert/strict';
import type { NodeConfig } from '@ciliate/model';
import { parse } from 'yaml';
import { Kubernetes } from './kubernetes.ts';
import { mapText } from './map-text.ts';
import { columnNames, formatTable } from './text-table.ts';
import type { Archive } from './txtar.ts';
import { makeMaps, World, type WorldOptions } from './world.ts';

export interface ScriptOptions {
  readonly faults: number;
  readonly seed: number;
  /** Expectations that differ are replaced, not failed. */
  readonly update: boolean;
}

/** Runs the script; gives the archive's files, with those that --update has rewritten. */
export async function runScript(archive: Archive, options: ScriptOptions): Promise<ReadonlyMap<string, string>> {
  const run = new ScriptRun(archive, options);
  for (const [i, line] of archive.script.split('\n').entries()) {
    const [command, ...args] = line
      .replace(/(^|\s)#.*/, '')
      .trim()
      .split(/\s+/);
    if (command === undefined || command === '') continue;
    try {
      await run.command(command, args);
    } catch (error) {
      if (error instanceof Error) error.message = `line ${i + 1}: ${line}\n${error.message}`;
      throw error;
    }
  }
  await run.end();
  return run.files;
}

class ScriptRun {
  readonly files: Map<string, string>;
  readonly #options: ScriptOptions;
  #worldOptions: WorldOptions;
  #world: World | undefined;
  #kubernetes: Kubernetes | undefined;

  constructor(archive: Archive, options: ScriptOptions) {
    this.files = new Map(archive.files);
    this.#options = options;
    this.#worldOptions = { faults: options.faults, seed: options.seed, config: {} };
  }

  async command(name: string, args: readonly string[]): Promise<void> {
    const [first = '', second = ''] = args;
    switch (name) {
      case 'config':
        assert.equal(this.#world, undefined, 'config comes before everything else');
        this.#worldOptions = { ...this.#worldOptions, config: parse(this.#file(first)) as Partial<NodeConfig> };
        return;
      case 'start':
        return this.#start(args.includes('--unsynced'));
      case 'restart':
        return this.#restart(args.includes('--unsynced'));
      case 'synced':
        return (await this.#running()).synced(args);
      case 'k8s/add':
      case 'k8s/update':
        return this.#apply(args, 'put');
      case 'k8s/delete':
        return this.#apply(args, 'delete');
      case 'k8s/replace':
        return this.#replace(first, second);
      case 'wait':
        return (await this.#running()).clock.advance(Number(first));
      case 'k8s/problems':
        await this.#running();
        return this.#expect(first, this.#problems());
      case 'db/insert':
        return this.#insert(first, second);
      case 'db/cmp':
        return this.#compareTable(first, second);
      case 'maps/cmp':
        return this.#expect(second, mapText(first, (await this.#settled()).maps));
      case 'maps/empty':
        return assert.equal(mapText(first, (await this.#settled()).maps), '');
      default:
        throw new Error(`no command ${name}`);
    }
  }

  async end(): Promise<void> {
    const world = await this.#settled();
    assert.deepEqual(world.errors, [], 'no controller has failed');
    await world.stop();
  }

  async #running(): Promise<World> {
    if (this.#world === undefined) await this.#start(false);
    assert.ok(this.#world);
    return this.#world;
  }

  async #settled(): Promise<World> {
    const world = await this.#running();
    await world.settle();
    return world;
  }

  #start(unsynced: boolean): Promise<void> {
    return this.#open(new World(makeMaps(this.#worldOptions), this.#worldOptions), unsynced);
  }

  async #restart(unsynced: boolean): Promise<void> {
    const before = await this.#settled();
    await before.stop();
    await this.#open(new World(before.maps, this.#worldOptions), unsynced);
  }

  async #open(world: World, unsynced: boolean): Promise<void> {
    this.#world = world;
    this.#kubernetes = new Kubernetes(world.tables);
    world.start();
    if (!unsynced) world.synced([]);
  }

  async #apply(names: readonly string[], verb: 'put' | 'delete'): Promise<void> {
    const { database } = await this.#running();
    for (const name of names) database.write(txn => this.#kubernetes?.apply(this.#file(name), verb, txn));
  }

  /** Both within one transaction, as a batch of watch events brings them. */
  async #replace(gone: string, come: string): Promise<void> {
    const { database } = await this.#running();
    database.write(txn => {
      this.#kubernetes?.apply(this.#file(gone), 'delete', txn);
      this.#kubernetes?.apply(this.#file(come), 'put', txn);
    });
  }

  async #insert(table: string, name: string): Promise<void> {
    const world = await this.#running();
    const rows: unknown = parse(this.#file(name));
    assert.ok(Array.isArray(rows), `${name} is a list of rows`);
    world.database.write(txn => {
      for (const row of rows) world.table(table).insert(txn, row);
    });
  }

  async #compareTable(table: string, name: string): Promise<void> {
    const world = await this.#settled();
    const columns = columnNames(this.files.get(name) ?? '');
    const { columns: shown = {} } = world.table(table).spec;
    const rows = world
      .table(table)
      .all()
      .map(row => Object.fromEntries(columns.map(column => [column, this.#cell(world, table, shown, row, column)])));
    this.#expect(name, formatTable(columns, rows));
  }

  #cell(
    world: World,
    table: string,
    shown: Readonly<Record<string, (row: object) => string>>,
    row: object,
    column: string,
  ): string {
    const show = shown[column];
    if (show !== undefined) return show(row);
    // A frontend's status is that of its map writes.
    const key = world.table(table).spec.key(row);
    const owner = column === 'Status' && table === 'frontends' ? world.tables.lbRows.get(key) : row;
    const value: unknown = new Map(Object.entries(owner ?? {})).get(column.charAt(0).toLowerCase() + column.slice(1));
    if (column === 'Status') return statusText(value);
    return typeof value === 'object' ? JSON.stringify(value) : String(value ?? '');
  }

  #problems(): string {
    return (this.#kubernetes?.problems ?? []).map(problem => `${problem.field}: ${problem.message}\n`).join('');
  }

  #expect(name: string, actual: string): void {
    if (this.#options.update) this.files.set(name, actual);
    else assert.equal(actual, this.#file(name), `${name} is not as expected; --update rewrites it`);
  }

  #file(name: string): string {
    const text = this.files.get(name);
    assert.ok(text !== undefined, `the archive has no file ${name}`);
    return text;
  }
}

function statusText(status: unknown): string {
  if (typeof status !== 'object' || status === null || !('kind' in status)) return '';
  return 'error' in status ? `error: ${String(status.error)}` : String(status.kind);
}
