/** Runs one test file in a process of its own, with a limit on its time. */
import { spawn } from 'node:child_process';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { eventMark, type FinishedTest } from './test-child.ts';

const root = join(import.meta.dirname, '..');

export interface FileResult {
  readonly file: string;
  readonly tests: readonly FinishedTest[];
  /** What the file printed itself, for when something failed. */
  readonly output: string;
  readonly milliseconds: number;
}

export interface FileRun {
  /** Milliseconds before the file is ended and counted as failed. */
  readonly limit: number;
  readonly onTest?: (test: FinishedTest) => void;
}

/** Time between the request to end and the end, for tests that clean up. */
const grace = 15_000;

export function runTestFile(file: string, { limit, onTest }: FileRun): Promise<FileResult> {
  const began = performance.now();
  const name = relative(root, file);
  const tests: FinishedTest[] = [];
  const output: string[] = [];
  const add = (test: FinishedTest) => {
    tests.push(test);
    onTest?.(test);
  };
  const child = spawn(process.execPath, [join(root, 'tools/test-child.ts'), file], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const timedOut = endAfter(limit, child.pid);
  createInterface({ input: child.stdout }).on('line', line => {
    if (line.startsWith(eventMark)) add(JSON.parse(line.slice(1)));
    else if (line !== '') output.push(line);
  });
  createInterface({ input: child.stderr }).on('line', line => output.push(line));
  return new Promise(resolve => {
    child.on('close', (code, signal) => {
      timedOut.cancel();
      const fault = fileFault(tests, code, signal, timedOut.happened() ? limit : undefined);
      if (fault !== undefined) add({ name, outcome: 'failed', detail: fault, milliseconds: performance.now() - began });
      resolve({ file: name, tests, output: output.join('\n'), milliseconds: performance.now() - began });
    });
  });
}

/** What is wrong with a file beyond its tests. */
function fileFault(
  tests: readonly FinishedTest[],
  code: number | null,
  signal: string | null,
  limit: number | undefined,
): string | undefined {
  if (limit !== undefined) return `did not end within ${limit / 1000} s`;
  if (signal !== null) return `was ended by ${signal}`;
  if (code !== 0 && !tests.some(test => test.outcome === 'failed')) return `exited with code ${code}`;
  return tests.length === 0 ? 'has no test' : undefined;
}

/** The process is the leader of its group: its children end with it. */
function endAfter(limit: number, pid: number | undefined) {
  let happened = false;
  const timers: NodeJS.Timeout[] = [];
  const kill = (signal: NodeJS.Signals) => {
    try {
      if (pid !== undefined) process.kill(-pid, signal);
    } catch {
      // The group is gone.
    }
  };
  const end = () => {
    happened = true;
    kill('SIGTERM');
    timers.push(setTimeout(() => kill('SIGKILL'), grace));
  };
  timers.push(setTimeout(end, limit));
  const orphaned = () => kill('SIGTERM');
  process.once('exit', orphaned);
  const cancel = () => {
    process.off('exit', orphaned);
    for (const timer of timers) clearTimeout(timer);
  };
  return { happened: () => happened, cancel };
}
