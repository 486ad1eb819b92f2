import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { parseExpectation } from './expectation.ts';
import { runPolicyTests, wrongText } from './policy-test.ts';
import { sceneDefaults, sceneFromObjects } from './scene-objects.ts';

describe('parseExpectation', () => {
  const cases: readonly (readonly [string, ReturnType<typeof parseExpectation>])[] = [
    [
      'payments/* can reach db/postgres on 5432; nothing else',
      { from: ['payments/*'], to: ['db/postgres'], can: true, ports: ['5432'], nothingElse: true },
    ],
    [
      'a/b and c/d cannot reach world',
      { from: ['a/b', 'c/d'], to: ['world'], can: false, ports: [], nothingElse: false },
    ],
    [
      'shop/app in (a,b), x/y can reach z on 53/UDP, 80',
      { from: ['shop/app in (a,b)', 'x/y'], to: ['z'], can: true, ports: ['53/UDP', '80'], nothingElse: false },
    ],
    ['payments reach db', undefined],
    ['a can reach b; everything else', undefined],
    ['a cannot reach b; nothing else', undefined],
  ];
  for (const [line, wanted] of cases) {
    test(line, () => {
      assert.deepEqual(parseExpectation(line), wanted);
    });
  }
});

const pod = (namespace: string, name: string) =>
  `{kind: Pod, metadata: {namespace: ${namespace}, name: ${name}, labels: {app: ${name}}}}`;
const manifests = `
${['payments/web', 'payments/job', 'db/postgres', 'shop/web'].map(name => pod(...(name.split('/') as [string, string]))).join('\n---\n')}
---
kind: NetworkPolicy
metadata: {name: db, namespace: db}
spec:
  podSelector: {matchLabels: {app: postgres}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: payments}}}]
    ports: [{port: 5432}]
  - from: [{ipBlock: {cidr: 203.0.113.0/24}}]
    ports: [{port: 5433}]
`;

function run(...lines: readonly string[]): readonly string[] {
  const objects = parseAllDocuments(manifests).map(document => ({ place: '', object: document.toJS() as unknown }));
  const { scene, problems } = sceneFromObjects(objects, { ...sceneDefaults, now: 0 });
  assert.deepEqual(problems, []);
  const tests = lines.map((text, i) => ({ text, place: `t.yaml:${i + 1}`, name: text }));
  return runPolicyTests(scene, tests).flatMap(({ place, passed, checked, problem, wrong }) => {
    assert.equal(passed, problem === undefined && wrong.length === 0);
    assert.ok(problem !== undefined || checked > 0, 'something was judged');
    return problem === undefined ? wrong.map(one => `${place} ${wrongText(one)}`) : [`${place} ${problem}`];
  });
}

describe('runPolicyTests', () => {
  test('what holds passes', () => {
    assert.deepEqual(run('payments/* can reach db/postgres on 5432', 'shop/web cannot reach db/postgres'), []);
  });

  test('what does not hold names each flow and the line', () => {
    assert.deepEqual(run('payments/* can reach db/postgres on 5432', 'shop/web can reach db/postgres on 5432'), [
      't.yaml:2 shop/web → db/postgres 5432/TCP is denied and should be allowed',
    ]);
  });

  test('nothing else finds an address block that is let in too', () => {
    assert.deepEqual(run('payments/* can reach db/postgres on 5432; nothing else'), [
      't.yaml:1 203.0.113.1 → db/postgres 5433/TCP is allowed and should be denied',
    ]);
  });

  test('nothing else allows what other lines allow', () => {
    assert.deepEqual(
      run('payments/* can reach db/postgres on 5432; nothing else', '203.0.113.1 can reach db/postgres on 5433'),
      [],
    );
  });

  test('can reach without a port means every port', () => {
    const found = run('payments/web can reach db/postgres');
    assert.ok(found.includes('t.yaml:1 payments/web → db/postgres 33333/TCP is denied and should be allowed'));
  });

  test('who is not there, and what is no line, is said with its line', () => {
    assert.deepEqual(run('payments/nobody can reach db/postgres', 'x'), [
      "t.yaml:1 nobody is called 'payments/nobody': is the manifest there?",
      "t.yaml:2 is not an expectation: write 'FROM can reach TO on PORT', 'FROM cannot reach TO', and after can perhaps '; nothing else'",
    ]);
  });
});
