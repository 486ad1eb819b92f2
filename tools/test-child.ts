/**
 * What tools/test.ts starts for each file: runs it and tells each finished test as one marked line of JSON, between
 * whatever the tests print themselves.
 */
import { run } from 'node:test';
import type { TestEvent } from 'node:test/reporters';
import { pathToFileURL } from 'node:url';

/** Begins the lines that tell a test. */
export const eventMark = '\u0001';

export interface FinishedTest {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped, or the whole error. */
  readonly detail: string;
  readonly milliseconds: number;
}

interface Finished {
  readonly name: string;
  readonly nesting: number;
  readonly skip?: string | boolean;
  readonly todo?: string | boolean;
  readonly details: { readonly duration_ms: number; readonly type?: string; readonly error?: Error };
}

/** Names of the tests around the one that is being told, outermost first. */
const around: string[] = [];

function finished(data: Finished, failed: boolean): FinishedTest {
  const skipped = data.skip !== undefined && data.skip !== false;
  const outcome = skipped ? 'skipped' : failed ? 'failed' : 'passed';
  const why = typeof data.skip === 'string' ? data.skip : '';
  return {
    name: [...around.slice(0, data.nesting), data.name].join(' > '),
    outcome,
    detail: failed ? errorText(data.details.error) : why,
    milliseconds: data.details.duration_ms,
  };
}

function errorText(error: Error | undefined): string {
  const cause = error?.cause;
  if (cause instanceof Error) return cause.stack ?? cause.message;
  return cause === undefined ? (error?.stack ?? 'failed') : String(cause);
}

/** A suite or a test with subtests fails with its children: only what ran itself counts. A suite's own code and hooks are that too. */
function isContainer(data: Finished, failed: boolean): boolean {
  const kind = (data.details.error as { readonly failureType?: string } | undefined)?.failureType;
  return failed ? kind === 'subtestsFailed' : data.details.type === 'suite';
}

function tell(test: FinishedTest): void {
  process.stdout.write(`\n${eventMark}${JSON.stringify(test)}\n`);
  if (test.outcome === 'failed') process.exitCode = 1;
}

/** node:test keeps it to itself when a file throws; asked for again, the module throws the same error. */
function fileFailed(file: string, error: unknown): FinishedTest {
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { name: file, outcome: 'failed', detail, milliseconds: 0 };
}

async function main(file: string): Promise<void> {
  for await (const event of run({ files: [file], isolation: 'none' }) as AsyncIterable<TestEvent>) {
    if (event.type === 'test:start') {
      around.length = event.data.nesting;
      around.push(event.data.name);
    }
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const failed = event.type === 'test:fail';
    const data: Finished = event.data;
    // A file without tests is told as a test that passed.
    if (isContainer(data, failed) || (!failed && data.name === file)) continue;
    tell(finished(data, failed));
  }
  await import(pathToFileURL(file).href).catch((error: unknown) => tell(fileFailed(file, error)));
}

const file = process.argv[2];
// Not awaited: a test file may import this one, which must be whole by then.
if (import.meta.main && file !== undefined) void main(file);
