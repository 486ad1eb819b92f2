/** The file of a policy test (docs/policy-testing.md), with the line of each expectation. */
import { dirname, join } from 'node:path';
import type { PolicyTest } from '@ciliate/control';
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { CliError } from '../errors.ts';

export interface TestFile {
  readonly file: string;
  /** Manifests that it names, relative to the working directory. */
  readonly manifests: readonly string[];
  readonly tests: readonly PolicyTest[];
}

/** Throws CliError BAD_TEST_FILE. */
export function parseTestFile(text: string, file: string): TestFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const bad = (offset: number, message: string) => {
    const { line, col } = lines.linePos(offset);
    return new CliError({ code: 'BAD_TEST_FILE', exitCode: 2 }, `${file}:${line}:${col}: ${message}`);
  };
  const start = (node: unknown): number => (isScalar(node) || isMap(node) || isSeq(node) ? (node.range?.[0] ?? 0) : 0);
  const [error] = document.errors;
  if (error !== undefined) throw bad(error.pos[0], error.message.split('\n')[0] ?? '');
  const root = document.contents;
  if (!isMap(root)) throw bad(0, 'is not a map: it has `manifests` and `tests`');
  for (const { key } of root.items) {
    if (isScalar(key) && (key.value === 'manifests' || key.value === 'tests')) continue;
    throw bad(start(key), `'${String(key)}' is not known: there are manifests and tests`);
  }
  const textAt = (node: unknown): string => {
    if (isScalar(node) && typeof node.value === 'string') return node.value;
    throw bad(start(node), 'is not a text');
  };
  const list = (node: unknown): readonly unknown[] =>
    isSeq(node) ? node.items : node === undefined || node === null ? [] : [node];
  const at = (node: unknown, name: string): PolicyTest => {
    const content = textAt(node);
    return {
      text: content,
      place: `${file}:${lines.linePos(start(node)).line}`,
      name: name === '' ? content : `${name}: ${content}`,
    };
  };
  const tests = list(root.get('tests', true)).flatMap(item => {
    if (!isMap(item)) return [at(item, '')];
    const name = item.get('name');
    return list(item.get('expect', true)).map(line => at(line, typeof name === 'string' ? name : ''));
  });
  if (tests.length === 0) throw bad(0, 'has no tests');
  const folder = dirname(file);
  const manifests = list(root.get('manifests', true)).map(node => join(folder, textAt(node)));
  return { file, manifests, tests };
}
