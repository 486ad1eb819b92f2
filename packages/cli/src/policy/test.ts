/** `ciliate policy test`: expectations of files held against manifests. */
import { writeFileSync } from 'node:fs';
import {
  explainFlow,
  type PolicyScene,
  type PolicyTestResult,
  parseExpectation,
  portsCalled,
  runPolicyTests,
  type SceneJson,
  sceneFromJson,
  somebodyNamed,
  wrongText,
} from '@ciliate/control';
import { type LivePolicyExplanation, restPaths } from '@ciliate/protocol';
import type { Context } from '../context.ts';
import type { Output } from '../output.ts';
import { junit, type TestedFile } from './junit.ts';
import { readText } from './manifests.ts';
import { readScene, type SceneFlags } from './options.ts';
import { parseTestFile } from './test-file.ts';

export interface TestFlags extends SceneFlags {
  readonly junit?: string;
  readonly live?: boolean;
}

/** Flows that are printed of one expectation. */
const shown = 5;

interface Tested extends TestedFile {
  readonly scene: PolicyScene;
}

/** Of a running cluster: what an agent knows; and its kernel must agree on each line that names its ports. */
export async function testLive(files: readonly string[], flags: TestFlags, { agent, output }: Context): Promise<void> {
  const scene = sceneFromJson(await agent.get<SceneJson>(restPaths.policyScene));
  const tested: Tested[] = [];
  for (const file of files) {
    const begin = performance.now();
    const judged = runPolicyTests(scene, parseTestFile(readText(file), file).tests);
    const results: PolicyTestResult[] = [];
    for (const result of judged) results.push(await askKernel(result, scene, agent));
    tested.push({ file, results, scene, seconds: (performance.now() - begin) / 1000 });
  }
  report(tested, flags, output);
}

/** A line on which the kernel does not do what the policies say fails. */
async function askKernel(
  result: PolicyTestResult,
  scene: PolicyScene,
  agent: Context['agent'],
): Promise<PolicyTestResult> {
  const expectation = parseExpectation(result.text);
  if (expectation === undefined || result.problem !== undefined) return result;
  const found: string[] = [];
  for (const from of expectation.from) {
    for (const to of expectation.to) {
      const called = somebodyNamed(scene, to);
      const isThere = (port: string) => called.some(one => portsCalled(port, one).length > 0);
      for (const port of expectation.ports.filter(isThere)) {
        const query = new URLSearchParams({ from, to, port });
        const explained = await agent.get<readonly LivePolicyExplanation[]>(`${restPaths.policyExplain}?${query}`);
        found.push(...explained.flatMap(one => one.disagreements).map(text => `${from} → ${to} ${port}: ${text}`));
      }
    }
  }
  if (found.length === 0) return result;
  return { ...result, passed: false, problem: `the kernel does something else: ${found.join('; ')}` };
}

export function testPolicies(files: readonly string[], flags: TestFlags, output: Output): void {
  const tested = files.map((file): Tested => {
    const begin = performance.now();
    const { manifests, tests } = parseTestFile(readText(file), file);
    const { scene } = readScene(flags, [...(flags.filename ?? []), ...manifests], output);
    const results = runPolicyTests(scene, tests);
    return { file, results, scene, seconds: (performance.now() - begin) / 1000 };
  });
  report(tested, flags, output);
}

function report(tested: readonly Tested[], flags: TestFlags, output: Output): void {
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
