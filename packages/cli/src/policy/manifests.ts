/** Objects of `-f`: files, folders (their *.yaml, *.yml and *.json, in order of names), `-` for standard input. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ObjectProblem, PlacedObject } from '@ciliate/control';
import { LineCounter, parseAllDocuments } from 'yaml';
import { CliError } from '../errors.ts';

/** Throws CliError NO_FILE or BAD_YAML. */
export function readManifests(paths: readonly string[]): readonly PlacedObject[] {
  return paths.flatMap(filesOf).flatMap(file => parseManifests(readText(file), file === '-' ? 'stdin' : file));
}

function filesOf(path: string): readonly string[] {
  if (path === '-') return [path];
  try {
    if (!statSync(path).isDirectory()) return [path];
  } catch (cause) {
    throw new CliError({ code: 'NO_FILE', exitCode: 2 }, `${path}: no such file or folder`, { cause });
  }
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' });
  return names
    .filter(name => /\.(ya?ml|json)$/.test(name))
    .sort()
    .map(name => join(path, name));
}

export function readText(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    throw new CliError({ code: 'NO_FILE', exitCode: 2 }, `${file}: cannot be read`, { cause });
  }
}

/** Each document with the line on which it begins. Throws CliError BAD_YAML. */
export function parseManifests(text: string, file: string): readonly PlacedObject[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines });
  return [...documents].flatMap(document => {
    const [error] = document.errors;
    if (error !== undefined) {
      const { line, col } = lines.linePos(error.pos[0]);
      throw new CliError({ code: 'BAD_YAML', exitCode: 2 }, `${file}:${line}:${col}: ${error.message.split('\n')[0]}`);
    }
    const object: unknown = document.toJS();
    if (object === null || object === undefined) return [];
    const start = document.contents?.range?.[0] ?? 0;
    return [{ place: `${file}:${lines.linePos(start).line}`, object }];
  });
}

export function problemText({ place, object, field, message, remedy }: ObjectProblem): string {
  return `${place}: ${object}: ${field}: ${message}${remedy === '' ? '' : `: ${remedy}`}`;
}
