/** `ciliate policy test`: expectations of files held against manifests. */
import { writeFileSync } from 'node:fs';
import { explainFlow, type PolicyScene, type PolicyTestResult, runPolicyTests, wrongText } from '@ciliate/control';
import type { Output } from '../output.ts';
import { junit, type TestedFile } from './junit.ts';
import { readText } from './manifests.ts';
import { readScene, type SceneFlags } from './options.ts';
import { parseTestFile } from './test-file.ts';

export interface TestFlags extends SceneFlags {
  readonly junit?: string;
}

/** Flows that are printed of one expectation. */
const shown = 5;

export function testPolicies(files: readonly string[], flags: TestFlags, output: Output): void {
  const tested = files.map((file): TestedFile & { readonly scene: PolicyScene } => {
    const begin = performance.now();
    const { manifests, tests } = parseTestFile(readText(file), file);
    const { scene } = readScene(flags, [...(flags.filename ?? []), ...manifests], output);
    const results = runPolicyTests(scene, tests);
    return { file, results, scene, seconds: (performance.now() - begin) / 1000 };
  });
  if (flags.junit !== undefined) writeFileSync(flags.junit, junit(tested));
  const results = tested.flatMap(one => one.results);
  const failed = results.filter(result => !result.passed).length;
  output.render(results.map(asJson), () => {
    for (const { results: each, scene } of tested) for (const result of each) printResult(result, scene, output);
    const flows = results.reduce((sum, { checked }) => sum + checked, 0);
    const ms = Math.round(tested.reduce((sum, { seconds }) => sum + seconds, 0) * 1000);
    output.line(`${results.length - failed} passed, ${failed} failed (${flows} flows in ${ms} ms)`);
  });
  if (failed > 0) process.exitCode = 1;
}

function asJson({ wrong, ...result }: PolicyTestResult): unknown {
  return { ...result, wrong: wrong.map(wrongText) };
}

function printResult(
  { passed, place, name, problem, wrong }: PolicyTestResult,
  scene: PolicyScene,
  output: Output,
): void {
  const { good, bad, dim } = output.paint;
  if (passed) {
    output.line(`${good('ok')}    ${name}`);
    return;
  }
  output.line(`${bad('FAIL')}  ${place}: ${name}`);
  if (problem !== undefined) output.line(`      ${problem}`);
  for (const one of wrong.slice(0, shown)) {
    output.line(`      ${wrongText(one)}`);
    const { sides } = explainFlow(scene, one.from, one.to, one.flow.protocol, one.flow.port);
    const why = sides.filter(side => side.hasPolicy && side.allowed === (one.wanted === 'denied'));
    for (const side of why) output.line(dim(`        ${side.direction}: ${side.rule}`));
  }
  if (wrong.length > shown) output.line(`      … and ${wrong.length - shown} flows more`);
}
