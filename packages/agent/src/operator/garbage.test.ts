/** What the operator takes away, and what it leaves because somebody has begun to use it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KubeWriters, resourcePaths } from '@ciliate/sources';
import { FakeApi } from '../fake-api.test-lib.ts';
import type { Log } from '../log.ts';
import { GarbageCollector } from './garbage.ts';

const silent = () => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent } as unknown as Log;
const labels = { 'k8s:app': 'web' };
const identity = resourcePaths.ciliumIdentity(300);
const endpoint = resourcePaths.ciliumEndpoint('shop', 'web-0');

function setup() {
  const api = new FakeApi();
  const writers = new KubeWriters(api);
  const garbage = new GarbageCollector({ endpointInterval: 60, identityAge: 900 }, { api, log });
  const use = (id = 300) => api.put(endpoint, { status: { identity: { id } } });
  return { api, writers, garbage, use, isThere: (path: string) => api.objects.has(path) };
}

test('an identity goes when nobody has used it for a while, and not before', async () => {
  const { api, writers, garbage, isThere } = setup();
  assert.equal(await writers.claimIdentity(300, labels), true);
  await garbage.collect(0);
  await garbage.collect(899_000);
  assert.ok(isThere(identity));
  await garbage.collect(900_000);
  assert.ok(!isThere(identity));
  assert.equal(api.objects.size, 0);
});

test('an identity that an endpoint has stays, and its time begins anew when that is gone', async () => {
  const { api, writers, garbage, use, isThere } = setup();
  await writers.claimIdentity(300, labels);
  use();
  api.put('/api/v1/namespaces/shop/pods/web-0', {});
  await garbage.collect(0);
  await garbage.collect(2_000_000);
  assert.ok(isThere(identity));
  api.objects.delete(endpoint);
  await garbage.collect(2_000_000);
  await garbage.collect(2_899_000);
  assert.ok(isThere(identity));
});

test('who begins to use an identity while it is being collected keeps it', async () => {
  const { api, writers, garbage, isThere } = setup();
  await writers.claimIdentity(300, labels);
  await garbage.collect(0);
  // Between the list of identities and the deletion: no CiliumEndpoint tells of it yet.
  api.before = (method, path) => {
    if (method !== 'GET' || path !== resourcePaths.pods) return;
    api.before = silent;
    void writers.claimIdentity(300, labels);
  };
  await garbage.collect(900_000);
  assert.ok(isThere(identity));
  await garbage.collect(1_799_000);
  assert.ok(isThere(identity), 'its time has begun anew');
});

test('a CiliumEndpoint goes when its pod has been missing twice', async () => {
  const { api, garbage, use, isThere } = setup();
  use();
  await garbage.collect(0);
  assert.ok(isThere(endpoint));
  api.put('/api/v1/namespaces/shop/pods/web-0', {});
  await garbage.collect(1);
  api.objects.delete('/api/v1/namespaces/shop/pods/web-0');
  await garbage.collect(2);
  assert.ok(isThere(endpoint));
  await garbage.collect(3);
  assert.ok(!isThere(endpoint));
});

test('a number belongs to its labels: other labels do not get it', async () => {
  const { writers } = setup();
  assert.equal(await writers.claimIdentity(300, labels), true);
  assert.equal(await writers.claimIdentity(300, { 'k8s:app': 'db' }), false);
  assert.equal(await writers.claimIdentity(300, labels), true);
});
