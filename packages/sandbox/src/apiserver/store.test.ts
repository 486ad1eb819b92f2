import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { KubeObject } from './object.ts';
import { Registry, type Resource } from './registry.ts';
import { ApiError } from './status.ts';
import { Store, type StoreEvent } from './store.ts';

const registry = new Registry();

function resourceOf(kind: string): Resource {
  const found = registry.ofKind(kind);
  assert.ok(found);
  return found;
}

const configMaps = resourceOf('ConfigMap');
const object = (name: string, namespace = 'default', extra: object = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace, ...extra },
});
const refusedWith = (httpCode: number) => (error: unknown) => error instanceof ApiError && error.httpCode === httpCode;

describe('store', () => {
  test('a created object has uid, version, generation and time; a second of its name is refused', () => {
    const store = new Store();
    const created = store.create(configMaps, object('a'));
    assert.match(created.metadata.uid ?? '', /^[0-9a-f-]{36}$/);
    assert.equal(created.metadata.resourceVersion, String(store.version));
    assert.equal(created.metadata.generation, 1);
    assert.throws(() => store.create(configMaps, object('a')), refusedWith(409));
    assert.equal(store.create(configMaps, object('a', 'other')).metadata.namespace, 'other');
  });

  test('an update with an old version is a conflict; one that changes nothing keeps the version', () => {
    const store = new Store();
    const first = store.create(configMaps, object('a'));
    const second = store.update(configMaps, { ...first, spec: { x: 1 } });
    assert.equal(second.metadata.generation, 2);
    assert.throws(() => store.update(configMaps, { ...first, spec: { x: 2 } }), refusedWith(409));
    assert.equal(store.update(configMaps, second).metadata.resourceVersion, second.metadata.resourceVersion);
  });

  test('lists are by namespace', () => {
    const store = new Store();
    for (const namespace of ['a', 'b', 'b']) store.create(configMaps, object(`c${store.version}`, namespace));
    assert.equal(store.list(configMaps, 'b').length, 2);
    assert.equal(store.list(configMaps).length, 3);
    assert.equal(store.list(configMaps, 'none').length, 0);
  });

  test('a watch replays what came after its version, then follows', () => {
    const store = new Store();
    const first = store.create(configMaps, object('a'));
    store.create(configMaps, object('b'));
    const seen: string[] = [];
    const listener = (event: StoreEvent): unknown => seen.push(`${event.type} ${event.object.metadata.name}`);
    const stop = store.watch(configMaps, Number(first.metadata.resourceVersion), listener);
    store.remove(configMaps, first);
    stop();
    store.create(configMaps, object('c'));
    assert.deepEqual(seen, ['ADDED b', 'DELETED a']);
  });

  test('a watch from a forgotten version or from the future is answered 410', () => {
    const store = new Store();
    let newest = store.create(configMaps, object('a'));
    const oldest = Number(newest.metadata.resourceVersion);
    for (let n = 0; n < 8300; n += 1) newest = store.update(configMaps, { ...newest, spec: { n } });
    assert.throws(() => store.watch(configMaps, oldest, () => undefined), refusedWith(410));
    assert.throws(() => store.watch(configMaps, store.version + 1, () => undefined), refusedWith(410));
    assert.doesNotThrow(() => store.watch(configMaps, store.version - 100, () => undefined));
  });

  test('an object with a finalizer ends when its last finalizer goes', () => {
    const store = new Store();
    const created = store.create(configMaps, object('a', 'default', { finalizers: ['x/y'] }));
    const marked = store.markDeleted(configMaps, created, 0);
    assert.ok(marked.metadata.deletionTimestamp);
    store.update(configMaps, { ...marked, metadata: { ...marked.metadata, finalizers: [] } });
    assert.equal(store.get(configMaps, 'default', 'a'), undefined);
  });

  test('dependents follow owner references as they come and go', () => {
    const store = new Store();
    const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'o', uid: 'u1' };
    const created = store.create(configMaps, object('a', 'default', { ownerReferences: [owner] }));
    assert.deepEqual(
      store.dependents('u1').map(found => found.metadata.name),
      ['a'],
    );
    store.update(configMaps, { ...created, metadata: { ...created.metadata, ownerReferences: [] } });
    assert.equal(store.dependents('u1').length, 0);
  });

  test('what is on disk comes back with its versions, and watches from before must list again', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ciliate-store-'));
    try {
      const file = join(folder, 'objects.json');
      const before = new Store(file);
      const created = before.create(configMaps, object('a'));
      before.flush();
      const after = new Store(file);
      assert.deepEqual(after.get(configMaps, 'default', 'a'), created);
      assert.throws(() => after.watch(configMaps, before.version, () => undefined), refusedWith(410));
      assert.ok(after.version > before.version);
      assert.doesNotThrow(() => after.watch(configMaps, after.version, () => undefined));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
