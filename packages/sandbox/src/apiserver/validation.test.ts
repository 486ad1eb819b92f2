import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject, KubeObject } from './object.ts';
import { Registry } from './registry.ts';
import { ApiError } from './status.ts';
import { validate } from './validation.ts';

const registry = new Registry();
const containers = [{ name: 'c', image: 'nginx' }];
const workload = (labels: JsonObject): JsonObject => ({
  selector: { matchLabels: { app: 'web' } },
  template: { metadata: { labels }, spec: { containers } },
});

const cases: readonly (readonly [string, string, string, JsonObject, RegExp | undefined])[] = [
  ['a service', 'Service', 'a', { ports: [{ port: 80 }] }, undefined],
  ['a service name with a dot', 'Service', 'a.b', { ports: [{ port: 80 }] }, /metadata\.name: Invalid value: "a\.b"/],
  ['no ports', 'Service', 'a', {}, /spec\.ports: Required value/],
  [
    'two ports without names',
    'Service',
    'a',
    { ports: [{ port: 1 }, { port: 2 }] },
    /spec\.ports\[0\]\.name: Required/,
  ],
  ['a port too large', 'Service', 'a', { ports: [{ port: 65_536 }] }, /spec\.ports\[0\]\.port: Invalid value: 65536/],
  ['an unknown type', 'Service', 'a', { type: 'X', ports: [{ port: 1 }] }, /spec\.type: Unsupported value: "X"/],
  ['a pod without containers', 'Pod', 'a', {}, /spec\.containers: Required value/],
  ['a deployment', 'Deployment', 'a', workload({ app: 'web', more: 'x' }), undefined],
  [
    'replicas that are no number',
    'Deployment',
    'a',
    { ...workload({ app: 'web' }), replicas: 'many' },
    /spec\.replicas: Invalid value: "many"/,
  ],
  ['a deployment that does not select its pods', 'Deployment', 'a', workload({ app: 'x' }), /does not match template/],
];

for (const [name, kind, objectName, spec, expected] of cases) {
  test(name, () => {
    const resource = registry.ofKind(kind);
    assert.ok(resource);
    const object: KubeObject = { apiVersion: 'v1', kind, metadata: { name: objectName }, spec };
    const check = (): void => validate(resource, object);
    if (expected === undefined) assert.doesNotThrow(check);
    else assert.throws(check, (error: unknown) => error instanceof ApiError && expected.test(error.message));
  });
}

test('a selector is there to stay', () => {
  const resource = registry.ofKind('Deployment');
  assert.ok(resource);
  const object = (spec: JsonObject): KubeObject => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'a' },
    spec,
  });
  const before = object(workload({ app: 'web' }));
  const after = object({ ...workload({ app: 'web' }), selector: { matchLabels: {} } });
  assert.throws(() => validate(resource, after, before), /spec\.selector: .*field is immutable/);
});
