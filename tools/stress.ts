/** node tools/stress.ts NAME [times]: runs the test files whose path contains NAME again and again, 100 times by default. */
import { runTestFile } from './test-file.ts';
import { filesOf, suites } from './test-suites.ts';

async function main([part = '', times = '100']: readonly string[]): Promise<void> {
  const files = suites.flatMap(suite => filesOf(suite).map(file => ({ file, limit: suite.limit })));
  const chosen = files.filter(({ file }) => part !== '' && file.includes(part));
  if (chosen.length === 0) {
    process.stdout.write('usage: node tools/stress.ts NAME [times]; NAME is part of a test file’s path\n');
    process.exitCode = 1;
    return;
  }
  let failed = 0;
  for (let round = 1; round <= Number(times); round += 1) {
    for (const { file, limit } of chosen) {
      const result = await runTestFile(file, { limit });
      for (const test of result.tests.filter(({ outcome }) => outcome === 'failed')) {
        failed += 1;
        process.stdout.write(`round ${round}: ${result.file}: ${test.name}\n${test.detail}\n${result.output}\n`);
      }
    }
    if (round % 10 === 0) process.stdout.write(`${round} rounds, ${failed} failures\n`);
  }
  process.exitCode = failed > 0 ? 1 : 0;
}

await main(process.argv.slice(2));
