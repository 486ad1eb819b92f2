/**
 * What tools/test.ts starts for each file: runs it and tells each finished test as one marked line of JSON, between
 * whatever the tests print themselves.
 */
import { run } from 'node:test';
import type { TestEvent } from 'node:test/reporters';

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

/** A suite or a test with subtests fails with its children: only what ran itself counts. */
function isContainer(data: Finished, failed: boolean): boolean {
  if (data.details.type === 'suite') return true;
  const kind = (data.details.error as { readonly failureType?: string } | undefined)?.failureType;
  return failed && kind === 'subtestsFailed';
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
    if (isContainer(data, failed)) continue;
    process.stdout.write(`\n${eventMark}${JSON.stringify(finished(data, failed))}\n`);
    if (failed) process.exitCode = 1;
  }
}

const file = process.argv[2];
if (import.meta.main && file !== undefined) await main(file);
