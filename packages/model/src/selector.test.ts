import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesSelector, parseSelector } from './selector.ts';

const labels = { app: 'web', tier: 'front', empty: '' };
const cases: readonly (readonly [selector: string, matches: boolean])[] = [
  ['', true],
  ['app=web', true],
  ['app==web', true],
  ['app=db', false],
  ['app!=db', true],
  ['missing!=x', true],
  ['app', true],
  ['!app', false],
  ['!missing', true],
  ['missing', false],
  ['app in (web, db)', true],
  ['app in (db)', false],
  ['app notin (db,cache)', true],
  ['missing notin (db)', true],
  ['app=web,tier in (front,back),!missing', true],
  ['app=web,tier=back', false],
  ['empty=', true],
  ['kubernetes.io/metadata.name=x', false],
];
for (const [text, expected] of cases) {
  test(`'${text}' ${expected ? 'matches' : 'does not match'}`, () => {
    assert.equal(matchesSelector(parseSelector(text), labels), expected);
  });
}

for (const text of [
  'app in web',
  '=x',
  'a b',
  'app in (a',
  'app=b c',
  '-a=b',
  '(',
  'app,(',
  'app,,tier',
  ',',
  'app,',
]) {
  test(`'${text}' is refused`, () => assert.throws(() => parseSelector(text), { code: 'BAD_SELECTOR' }));
}

test('a key that every object has is no label of anybody', () => {
  assert.equal(matchesSelector(parseSelector('constructor'), labels), false);
  assert.equal(matchesSelector(parseSelector('constructor=x'), { constructor: 'x' }), true);
});

test('a long text takes no longer than it is', () => {
  assert.throws(() => parseSelector('a,'.repeat(200_000)), { code: 'BAD_SELECTOR' });
});

test('matchLabels and matchExpressions must all match', () => {
  const expression = { key: 'tier', operator: 'In' as const, values: ['front'] };
  assert.equal(matchesSelector({}, labels), true);
  assert.equal(matchesSelector({ matchLabels: { app: 'web' }, matchExpressions: [expression] }, labels), true);
  assert.equal(matchesSelector({ matchLabels: { app: 'db' }, matchExpressions: [expression] }, labels), false);
});
