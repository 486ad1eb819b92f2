import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from './object.ts';
import { matchesSelector, selectorOf } from './selector.ts';

const pod: KubeObject = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'a', namespace: 'default', labels: { app: 'web', tier: 'front', 'x.io/y': '' } },
  spec: { nodeName: 'node-1' },
};

const labelCases: readonly (readonly [string, boolean])[] = [
  ['', true],
  ['app=web', true],
  ['app==web,tier=front', true],
  ['app=web,tier=back', false],
  ['app!=web', false],
  ['missing!=x', true],
  ['app', true],
  ['!app', false],
  ['!missing', true],
  ['x.io/y=', true],
  ['app in (api, web)', true],
  ['app in (api),tier', false],
  ['tier notin (back,middle),app in (web)', true],
  ['missing in (a)', false],
  ['missing notin (a)', true],
];
for (const [selector, expected] of labelCases)
  test(`labels '${selector}'`, () => assert.equal(selectorOf(selector, null)(pod), expected));

const fieldCases: readonly (readonly [string, boolean])[] = [
  ['spec.nodeName=node-1', true],
  ['spec.nodeName!=node-1', false],
  ['metadata.name=a,metadata.namespace=default', true],
  ['status.phase=', true],
];
for (const [selector, expected] of fieldCases)
  test(`fields '${selector}'`, () => assert.equal(selectorOf(null, selector)(pod), expected));

test('what cannot be parsed is refused', () => {
  assert.throws(() => selectorOf('app is web', null), /unable to parse requirement/);
  assert.throws(() => selectorOf(null, 'x'), /invalid field selector/);
});

test('LabelSelector objects', () => {
  const labels = { app: 'web' };
  const expression = (operator: string, ...values: readonly string[]) => ({
    matchExpressions: [{ key: 'app', operator, values }],
  });
  assert.equal(matchesSelector({}, labels), true);
  assert.equal(matchesSelector({ matchLabels: { app: 'api' } }, labels), false);
  assert.equal(matchesSelector(expression('In', 'web'), labels), true);
  assert.equal(matchesSelector(expression('NotIn', 'web'), labels), false);
  assert.equal(matchesSelector(expression('Exists'), labels), true);
  assert.equal(matchesSelector(expression('DoesNotExist'), labels), false);
});
