import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject, KubeObject } from '../apiserver/object.ts';
import { ServiceSelectors } from './service-selectors.ts';

const service = (name: string, selector: JsonObject, namespace = 'default'): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace },
  spec: { selector },
});
const pod = (labels: Readonly<Record<string, string>>, namespace = 'default'): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace, labels },
});

test('services are found by all terms of their selector, in their namespace, until they are removed', () => {
  const selectors = new ServiceSelectors();
  const both = service('both', { tier: 'x', app: 'a' });
  for (const added of [
    both,
    service('one', { app: 'a' }),
    service('other', { app: 'a' }, 'elsewhere'),
    service('none', {}),
  ])
    selectors.add(added);
  const names = (labels: Readonly<Record<string, string>>, namespace?: string): readonly string[] =>
    selectors
      .selecting(pod(labels, namespace))
      .map(found => found.metadata.name)
      .toSorted();
  assert.deepEqual(names({ app: 'a' }), ['one']);
  assert.deepEqual(names({ app: 'a', tier: 'x', more: 'y' }), ['both', 'one']);
  assert.deepEqual(names({ app: 'a' }, 'elsewhere'), ['other']);
  assert.deepEqual(names({}), []);
  selectors.remove(both);
  assert.deepEqual(names({ app: 'a', tier: 'x' }), ['one']);
});
