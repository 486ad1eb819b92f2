/** Services and who serves them out of a file, beside those of the API server. */
import { readFileSync } from 'node:fs';
import {
  type EndpointSliceRow,
  endpointSliceFromK8s,
  type Parsed,
  type ServiceRow,
  serviceFromK8s,
  type Tables,
} from '@ciliate/model';
import type { Database, RWTable } from '@ciliate/tables';
import { type KubeObject, objectKey } from './kube-object.ts';
import { parseLbState } from './lb-state.ts';
import { parsedRow } from './parsed-object.ts';
import { type SourceLog, TableSink } from './table-sink.ts';

export interface FileSourceOptions {
  readonly path: string;
  /** Milliseconds between looks at the file. */
  readonly interval: number;
}

export interface FileSourceModules {
  readonly db: Database;
  readonly tables: Pick<Tables, 'services' | 'endpointSlices'>;
  readonly log: SourceLog;
  /** Its text; undefined: there is no such file. */
  readonly read?: (path: string) => string | undefined;
}

/**
 * Who writes the file puts a new one in its place (rename), so that no half of it is read. Before there is one it counts as empty; one that
 * cannot be read, or has gone, leaves what was there. An object that the API server has too is left to that.
 */
export class FileSource {
  readonly name = 'lb-state-file';
  readonly #options: FileSourceOptions;
  readonly #log: SourceLog;
  readonly #read: (path: string) => string | undefined;
  readonly #services: Part<ServiceRow>;
  readonly #slices: Part<EndpointSliceRow>;
  #timer: NodeJS.Timeout | undefined;
  #text: string | undefined;
  #problem: string | undefined;

  constructor(options: FileSourceOptions, modules: FileSourceModules) {
    const { tables, log } = modules;
    this.#options = options;
    this.#log = log;
    this.#read = modules.read ?? readText;
    this.#services = new Part('file-services', tables.services, serviceFromK8s, modules);
    this.#slices = new Part('file-endpointslices', tables.endpointSlices, endpointSliceFromK8s, modules);
  }

  /** Why the file is not in force as it is; undefined: it is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  start(): void {
    this.refresh();
    this.#timer = setInterval(() => this.refresh(), this.#options.interval);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  refresh(): void {
    const { path } = this.#options;
    try {
      const text = this.#read(path) ?? this.#missing();
      if (text !== this.#text) this.#take(text);
      this.#text = text;
      this.#tell(undefined);
    } catch (error) {
      this.#tell(error instanceof Error ? error.message : String(error));
    }
    this.#services.write();
    this.#slices.write();
  }

  #missing(): string {
    if (this.#text === undefined || this.#text === '') return '';
    throw new Error(`${this.#options.path} has gone: what was in it stays; write an empty file to take that away`);
  }

  #take(text: string): void {
    const { path } = this.#options;
    const { services, slices, unknown } = parseLbState(text, path);
    if (unknown.length > 0) this.#log('parts of the file mean nothing here, left out', { file: path, parts: unknown });
    this.#services.take(services);
    this.#slices.take(slices);
  }

  #tell(problem: string | undefined): void {
    if (problem !== undefined && problem !== this.#problem) this.#log('the file is not in force as it is', { problem });
    this.#problem = problem;
  }
}

/** One kind of object of the file. */
class Part<Row extends { readonly fromFile?: true }> {
  readonly #sink: TableSink<Row>;
  readonly #name: string;
  readonly #table: RWTable<Row, string>;
  readonly #log: SourceLog;
  readonly #told = new Set<string>();
  #objects: readonly KubeObject[] = [];
  #isNew = true;

  constructor(
    name: string,
    table: RWTable<Row, string>,
    parse: (object: unknown) => Parsed<Row>,
    { db, log }: Pick<FileSourceModules, 'db' | 'log'>,
  ) {
    this.#name = name;
    this.#table = table;
    this.#log = log;
    this.#sink = new TableSink<Row>(
      {
        name,
        parse: object => ({ ...parsedRow(name, object, parse(object), log), fromFile: true }),
        foreign: row => row.fromFile !== true,
      },
      { db, table, log },
    );
  }

  take(objects: readonly KubeObject[]): void {
    this.#objects = objects;
    this.#isNew = true;
  }

  /** Also after the API server has let go of an object that the file has. */
  write(): void {
    const own = this.#objects.filter(object => this.#isOurs(object));
    if (!this.#isNew && own.every(object => this.#table.get(objectKey(object)) !== undefined)) return;
    this.#sink.replace(own);
    this.#isNew = false;
  }

  #isOurs(object: KubeObject): boolean {
    const key = objectKey(object);
    const row = this.#table.get(key);
    if (row === undefined || row.fromFile === true) {
      this.#told.delete(key);
      return true;
    }
    if (!this.#told.has(key))
      this.#log('the API server has it too, left out of the file', { source: this.#name, object: key });
    this.#told.add(key);
    return false;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
