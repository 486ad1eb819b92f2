import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Json } from './object.ts';
import { checkFields, openApiProperties, unknownFields } from './schema.ts';

const container = { name: 'c', image: 'nginx', ports: [{ containerPort: 80 }] };
const cases: readonly (readonly [string, string, Json, readonly string[]])[] = [
  ['a service in order', 'Service', { metadata: { name: 'a' }, spec: { ports: [{ port: 80 }] } }, []],
  ['a wrong field of the spec', 'Service', { spec: { portz: [] } }, ['spec.portz']],
  ['a wrong field in a list', 'Service', { spec: { ports: [{ port: 1 }, { prot: 2 }] } }, ['spec.ports[1].prot']],
  ['a pod in order', 'Pod', { spec: { containers: [container], tolerations: [{ any: 1 }] } }, []],
  [
    'deep inside a template',
    'Deployment',
    { spec: { template: { spec: { containers: [{ ...container, imagee: 'x' }] } } } },
    ['spec.template.spec.containers[0].imagee'],
  ],
  ['a kind without a schema takes anything', 'CiliumNode', { spec: { anything: 1 } }, []],
  ['labels may have any name', 'Pod', { metadata: { labels: { constructor: 'x' } } }, []],
];

for (const [name, type, value, expected] of cases)
  test(name, () => assert.deepEqual(unknownFields(type, value), expected));

test('only strict validation refuses, and names the field as kubectl users know it', () => {
  const wrong = { spec: { portz: [] } };
  assert.throws(() => checkFields('Service', wrong, 'Strict'), /strict decoding error: unknown field "spec\.portz"/);
  for (const validation of ['Ignore', 'Warn', null])
    assert.doesNotThrow(() => checkFields('Service', wrong, validation));
});

test('explain can walk down to the ports of a container', () => {
  const text = JSON.stringify(openApiProperties('Deployment'));
  assert.match(text, /"containerPort"/);
});
