/** Endpoints on disk: one file each, written before the CNI plugin gets its answer. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EndpointRow } from '@ciliate/model';
import { describe, type Log } from '../log.ts';
import { readStateFile, removeStateFile, writeStateFile } from '../state-file.ts';

/** Grows when a field changes its meaning; a file of a newer format is left alone. */
const format = 1;

export class EndpointStore {
  readonly #dir: string;
  readonly #log: Log;

  constructor(stateDir: string, log: Log) {
    this.#dir = join(stateDir, 'endpoints');
    this.#log = log;
  }

  save(row: EndpointRow): void {
    writeStateFile(this.#path(row.id), { format, ...row });
  }

  remove(id: number): void {
    removeStateFile(this.#path(id));
  }

  /** Files that cannot be read are logged and left for a human; their addresses are then not known to be in use. */
  load(): readonly EndpointRow[] {
    let files: readonly string[];
    try {
      files = readdirSync(this.#dir);
    } catch {
      return [];
    }
    return files.filter(file => /^\d+\.json$/.test(file)).flatMap(file => this.#read(file));
  }

  #read(file: string): readonly EndpointRow[] {
    try {
      const state = readStateFile(join(this.#dir, file));
      if (isEndpointState(state)) {
        const { format: _format, ...row } = state;
        return [row];
      }
      this.#log.error('endpoint state is not of a format that this agent knows, ignored', { file });
    } catch (error) {
      this.#log.error('endpoint state cannot be read, ignored', { file, error: describe(error) });
    }
    return [];
  }

  #path(id: number): string {
    return join(this.#dir, `${id}.json`);
  }
}

function isEndpointState(value: unknown): value is EndpointRow & { readonly format: number } {
  if (typeof value !== 'object' || value === null) return false;
  const state = value as Readonly<Record<string, unknown>>;
  return (
    state.format === format &&
    typeof state.id === 'number' &&
    typeof state.device === 'string' &&
    typeof state.containerId === 'string' &&
    Array.isArray(state.addresses)
  );
}
