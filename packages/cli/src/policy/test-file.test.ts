import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CliError } from '../errors.ts';
import { junit } from './junit.ts';
import { parseManifests } from './manifests.ts';
import { parseTestFile } from './test-file.ts';

test('each expectation has its line, manifests are relative to the file', () => {
  const text =
    'manifests: [../deploy, a.yaml]\n\ntests:\n  - a can reach b\n  - name: db\n    expect:\n      - c can reach d\n      - e can reach f\n';
  assert.deepEqual(parseTestFile(text, 'tests/shop.yaml'), {
    file: 'tests/shop.yaml',
    manifests: ['deploy', 'tests/a.yaml'],
    tests: [
      { text: 'a can reach b', place: 'tests/shop.yaml:4', name: 'a can reach b' },
      { text: 'c can reach d', place: 'tests/shop.yaml:7', name: 'db: c can reach d' },
      { text: 'e can reach f', place: 'tests/shop.yaml:8', name: 'db: e can reach f' },
    ],
  });
});

const bad: readonly (readonly [string, string, RegExp])[] = [
  ['unknown field', 'manifests: []\nexpects: []', /^t\.yaml:2:1: 'expects' is not known/],
  ['no tests', 'manifests: [a.yaml]', /has no tests/],
  ['not a text', 'tests:\n  - 5', /^t\.yaml:2:5: is not a text/],
  ['broken YAML', 'tests: [', /^t\.yaml:1:/],
  ['a list', '- a can reach b', /is not a map/],
];
for (const [name, text, message] of bad) {
  test(`a file with ${name} is refused with its place`, () => {
    assert.throws(
      () => parseTestFile(text, 't.yaml'),
      (error: unknown) => error instanceof CliError && error.exitCode === 2 && message.test(error.message),
    );
  });
}

test('documents of a manifest have their lines', () => {
  const found = parseManifests('# head\nkind: Pod\n---\n\nkind: Service\n---\n', 'm.yaml');
  assert.deepEqual(found, [
    { place: 'm.yaml:2', object: { kind: 'Pod' } },
    { place: 'm.yaml:5', object: { kind: 'Service' } },
  ]);
});

test('JUnit names file and line of a failure, and escapes', () => {
  const result = {
    text: '',
    place: 'a&b.yaml:7',
    name: '<x>',
    passed: false,
    checked: 0,
    problem: 'is "odd"',
    wrong: [],
  };
  const xml = junit([{ file: 'a&b.yaml', seconds: 0.0123, results: [result, { ...result, passed: true }] }]);
  assert.match(xml, /<testsuite name="a&amp;b\.yaml" tests="2" failures="1" time="0\.012">/);
  assert.match(
    xml,
    /name="&lt;x&gt;" file="a&amp;b\.yaml" line="7">\n\s+<failure message="a&amp;b\.yaml:7: is &quot;odd&quot;">/,
  );
});
