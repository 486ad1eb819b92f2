import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

const module = join(import.meta.dirname, 'log.ts');
const start = (script: string) =>
  spawn(process.execPath, ['--input-type=module', '-e', `import { createLog } from '${module}';\n${script}`], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });

test('a reader that has stopped does not stop the process; what is lost is told when it goes on', async () => {
  const child = start(`
const log = createLog('info', {});
for (let i = 0; i < 20_000; i += 1) log.info('x'.repeat(200));
setTimeout(() => process.stderr.write('alive'), 50);
process.stdin.once('data', () => setTimeout(() => process.exit(0), 100));
`);
  await once(child.stderr, 'data');
  const output = text(child.stdout);
  const ended = once(child, 'exit');
  child.stdin.write('now');
  await ended;
  const lines = (await output).trim().split('\n');
  assert.ok(lines.length < 20_000, 'some are lost');
  assert.ok(
    lines.every(line => JSON.parse(line).level !== undefined),
    'no line is cut',
  );
});

test('the last words of a process that ends at once are read', async () => {
  const child = start(`
createLog('info', { node: 'a' }).error('the end', { why: 1 });
process.exit(3);
`);
  const output = text(child.stdout);
  const [code] = await once(child, 'exit');
  assert.equal(code, 3);
  const { level, msg, why, node } = JSON.parse(await output);
  assert.deepEqual({ level, msg, why, node }, { level: 'error', msg: 'the end', why: 1, node: 'a' });
});
