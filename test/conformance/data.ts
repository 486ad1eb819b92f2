/** Data made by others (shared/conformance/README.md), and the list of cases that are known to fail, each with its reason. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const besideCheckout = join(import.meta.dirname, '../../../shared/conformance');
const folder = process.env.CONFORMANCE_DATA ?? besideCheckout;

/** Undefined when the folder does not have the file: then there is nothing to hold us against. */
export function conformanceData(file: string): unknown {
  const path = join(folder, file);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

/** Lines 'suite: case: reason'; '#' begins a comment. */
function knownFailures(): ReadonlyMap<string, string> {
  const lines = readFileSync(join(import.meta.dirname, 'known-failures.txt'), 'utf8').split('\n');
  const entries = lines
    .filter(line => line.trim() !== '' && !line.startsWith('#'))
    .map(line => {
      const [, name = '', reason = ''] = /^(.+?) :: (.+)$/.exec(line) ?? [];
      assert.ok(reason !== '', `known-failures.txt: '${line}' has no reason: write 'suite: case :: reason'`);
      return [name, reason] as const;
    });
  return new Map(entries);
}

const known = knownFailures();

/** One case. A known failure must fail: one that passes has to leave the list. */
export function conformanceCase(suite: string, name: string, run: () => void | Promise<void>): void {
  const reason = known.get(`${suite}: ${name}`);
  test(name, async () => {
    if (reason === undefined) return run();
    let failed = false;
    try {
      await run();
    } catch {
      failed = true;
    }
    assert.ok(failed, `passes, and known-failures.txt says it fails (${reason}): remove the line`);
  });
}

/** Without data a suite says so; where everything must run (CI) that is a failure. */
export function missingData(file: string): void {
  const mustRun = process.env.REQUIRE_PRIVILEGED === '1' && process.env.CONFORMANCE_DATA === undefined;
  test(`${file} is there`, { skip: mustRun ? false : `no ${join(folder, file)}: set CONFORMANCE_DATA` }, () => {
    assert.fail(`no ${join(folder, file)}: set CONFORMANCE_DATA to the folder that has it`);
  });
}
