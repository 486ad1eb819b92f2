/** What --lb-state-file holds: lists of Services and EndpointSlices, or such objects as manifests. */
import { LineCounter, parseAllDocuments } from 'yaml';
import { SourceError } from './errors.ts';
import type { KubeObject } from './kube-object.ts';

export interface LbState {
  readonly services: readonly KubeObject[];
  readonly slices: readonly KubeObject[];
  /** Of fields and kinds that mean nothing here. */
  readonly unknown: readonly string[];
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * YAML or JSON, several documents of it too. `services` and `endpoints` list objects that need no kind; a document with a kind is one object,
 * or a List of some. Throws SourceError BAD_MANIFEST, with the line.
 */
export function parseLbState(text: string, file: string): LbState {
  const lines = new LineCounter();
  const services: KubeObject[] = [];
  const slices: KubeObject[] = [];
  const unknown: string[] = [];
  const take = (value: unknown): void => {
    if (!isFields(value)) throw bad(file, 'holds something else than fields', 'write services: and endpoints:');
    if (value.kind === 'List') listOf(value.items, 'items', file).forEach(take);
    else if (value.kind === 'Service') services.push(value);
    else if (value.kind === 'EndpointSlice') slices.push(value);
    else if (typeof value.kind === 'string') unknown.push(`kind ${value.kind}`);
    else {
      services.push(...listOf(value.services, 'services', file));
      slices.push(...listOf(value.endpoints, 'endpoints', file));
      unknown.push(...Object.keys(value).filter(key => key !== 'services' && key !== 'endpoints'));
    }
  };
  for (const document of parseAllDocuments(text, { lineCounter: lines })) {
    const [error] = document.errors;
    if (error !== undefined) {
      const { line } = lines.linePos(error.pos[0]);
      throw bad(file, `line ${line}: ${error.message.split('\n')[0]}`, 'write YAML or JSON');
    }
    const value: unknown = document.toJS();
    if (value !== null && value !== undefined) take(value);
  }
  return { services, slices, unknown };
}

function listOf(value: unknown, name: string, file: string): readonly KubeObject[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || !value.every(isFields)) throw bad(file, `${name} is no list of objects`, 'write a list');
  return value;
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function bad(file: string, what: string, remedy: string): SourceError {
  return new SourceError({ code: 'BAD_MANIFEST', object: file }, `${file}: ${what}: ${remedy}`);
}
