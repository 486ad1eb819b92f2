/** The runner tells every failure of a file, whoever fails: a test, a hook, the file itself. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runTestFile } from './test-file.ts';

const folder = mkdtempSync(join(import.meta.dirname, '../build/runner-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const head = "import { after, afterEach, before, describe, test } from 'node:test';\n";
const cases: readonly (readonly [what: string, code: string, outcomes: string, says: RegExp])[] = [
  ['all is well', "describe('s', () => { test('a', () => {}); });", 'passed', /^$/],
  ['a test fails', "describe('s', () => { test('a', () => { throw new Error('one'); }); });", 'failed', /one/],
  [
    "a suite's after hook fails",
    "describe('s', () => { after(() => { throw new Error('left over'); }); test('a', () => {}); });",
    'passed failed',
    /left over/,
  ],
  [
    'an after hook rejects',
    "describe('s', () => { after(async () => { throw new Error('later'); }); test('a', () => {}); });",
    'passed failed',
    /later/,
  ],
  ["the file's own after hook fails", "after(() => { throw new Error('root'); }); test('a', () => {});", '', /root/],
  [
    'a before hook fails',
    "describe('s', () => { before(() => { throw new Error('early'); }); test('a', () => {}); });",
    '',
    /early/,
  ],
  ['the code of a suite throws', "describe('s', () => { throw new Error('inside'); });", 'failed', /inside/],
  ['the file throws', "test('a', () => {}); throw new Error('file');", '', /file/],
  ['there is no test', '', 'failed', /has no test/],
];

for (const [index, [what, code, outcomes, says]] of cases.entries()) {
  test(what, async () => {
    const file = join(folder, `case-${index}.ts`);
    writeFileSync(file, head + code);
    const { tests } = await runTestFile(file, { limit: 20_000 });
    const found = tests.map(one => one.outcome);
    if (outcomes !== '') assert.equal(found.join(' '), outcomes);
    if (what !== 'all is well') assert.ok(found.includes('failed'), JSON.stringify(tests));
    assert.match(tests.map(one => one.detail).join('\n'), says);
  });
}
