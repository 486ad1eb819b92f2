/**
 * node tools/test.ts unit|kernel|netns|conformance|e2e|all [part of a file's name]
 * The last line is 'N passed, N failed', with ', N skipped' when there were any. Exit code 1 when anything failed or
 * nothing ran. With REQUIRE_PRIVILEGED=1 a privileged test that skips has failed.
 */
import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import type { FinishedTest } from './test-child.ts';
import { runTestFile } from './test-file.ts';
import { type Check, checks, filesOf, type Suite, suites } from './test-suites.ts';

const root = join(import.meta.dirname, '..');
const requirePrivileged = process.env.REQUIRE_PRIVILEGED === '1';
const print = (line: string) => process.stdout.write(`${line}\n`);
const count = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
/** Tests by file and what went wrong: what breaks a whole suite is told once. */
const sameFailure = new Map<string, { readonly index: number; readonly text: string; others: number }>();

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Counts a test; true when it failed. */
function record(file: string, test: FinishedTest, suite: Suite): boolean {
  const mustRun = suite.privileged && requirePrivileged;
  const outcome = test.outcome === 'skipped' && mustRun ? 'failed' : test.outcome;
  count[outcome] += 1;
  if (outcome !== 'failed') return false;
  const detail = test.outcome === 'skipped' ? `skipped: ${test.detail} (REQUIRE_PRIVILEGED=1)` : test.detail;
  tellFailure(file, test.name, detail);
  return true;
}

function tellFailure(file: string, name: string, detail: string): void {
  const key = `${file}\n${detail}`;
  const before = sameFailure.get(key);
  if (before === undefined) {
    const text = `✗ ${file}\n  ${name}\n${indent(detail)}`;
    sameFailure.set(key, { index: failures.length, text, others: 0 });
    failures.push(text);
    return;
  }
  before.others += 1;
  failures[before.index] = `${before.text}\n    (and ${before.others} more for the same reason)`;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ');
}

const marks = { passed: '✓', failed: '✗', skipped: '-' } as const;

async function runFile(file: string, suite: Suite): Promise<void> {
  const onTest = (test: FinishedTest) => {
    const why = test.outcome === 'skipped' ? ` (skipped: ${test.detail})` : '';
    if (suite.privileged) print(`  ${marks[test.outcome]} ${test.name}${why} ${seconds(test.milliseconds)}`);
  };
  const limit = Number(process.env.TEST_FILE_LIMIT ?? 0) * 1000 || suite.limit;
  const result = await runTestFile(file, { limit, onTest });
  const failed = result.tests.filter(test => record(result.file, test, suite)).length;
  if (failed > 0 && result.output !== '') failures.push(`  printed by ${result.file}:\n${indent(result.output)}`);
  const skipped = result.tests.filter(test => test.outcome === 'skipped').length;
  const extra = `${failed > 0 ? `, ${failed} failed` : ''}${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  print(
    `${failed > 0 ? '✗' : '✓'} ${result.file}: ${result.tests.length} tests${extra} ${seconds(result.milliseconds)}`,
  );
}

async function runSuite(suite: Suite, part: string): Promise<void> {
  const files = filesOf(suite).filter(file => file.includes(part));
  if (files.length === 0) return;
  print(`\n${suite.name}: ${files.length} files`);
  const queue = [...files];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) await runFile(file, suite);
  };
  await Promise.all(Array.from({ length: suite.concurrency }, worker));
}

async function runCheck({ name, command }: Check): Promise<void> {
  const bins = [join(root, 'node_modules/node/bin'), join(root, 'node_modules/.bin')].join(delimiter);
  const env = { ...process.env, PATH: `${bins}${delimiter}${process.env.PATH}` };
  const [program = '', ...args] = command;
  const child = spawn(program, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  child.stdout.on('data', chunk => output.push(chunk));
  child.stderr.on('data', chunk => output.push(chunk));
  const code = await new Promise<number>(resolve => {
    child.on('error', error => output.push(Buffer.from(error.message)) && resolve(127));
    child.on('close', exit => resolve(exit ?? 1));
  });
  count[code === 0 ? 'passed' : 'failed'] += 1;
  if (code !== 0) failures.push(`✗ ${name}: ${command.join(' ')}\n${indent(Buffer.concat(output).toString())}`);
  print(`${code === 0 ? '✓' : '✗'} ${name}`);
}

async function main([wanted = '', part = '']: readonly string[]): Promise<void> {
  const chosen = wanted === 'all' ? suites : suites.filter(suite => suite.name === wanted);
  if (chosen.length === 0) {
    print(`usage: node tools/test.ts ${suites.map(suite => suite.name).join('|')}|all [part of a file's name]`);
    process.exitCode = 1;
    return;
  }
  if (wanted === 'all' && part === '') for (const check of checks) await runCheck(check);
  for (const suite of chosen) await runSuite(suite, part);
  if (failures.length > 0) print(`\nFailures:\n\n${failures.join('\n\n')}\n`);
  const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : '';
  process.exitCode = count.failed > 0 || count.passed + count.skipped === 0 ? 1 : 0;
  print(`${count.passed} passed, ${count.failed} failed${skipped}`);
}

// An exit, not an end by signal: the files that run are ended with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
await main(process.argv.slice(2));
