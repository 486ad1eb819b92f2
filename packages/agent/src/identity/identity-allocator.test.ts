/** From labels to identities: who gets which number, and what happens when it is taken away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defaultLabelFilter,
  defineTables,
  type EndpointRow,
  identityCandidates,
  type Labels,
  type PodRow,
  parseAddress,
  securityLabels,
} from '@ciliate/model';
import { KubeWriters, resourcePaths } from '@ciliate/sources';
import { createDatabase } from '@ciliate/tables';
import { FakeApi } from '../fake-api.test-lib.ts';
import type { Log } from '../log.ts';
import { IdentityAllocator } from './identity-allocator.ts';

const silent = () => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent } as unknown as Log;
const pod = (labels: Labels, serviceAccount = 'default'): PodRow => ({
  ...{
    namespace: 'shop',
    name: 'web',
    uid: 'u',
    nodeName: 'n',
    labels,
    serviceAccount,
    podIPs: [],
    hostNetwork: false,
  },
  ...{ phase: 'Running', namedPorts: {}, ready: true, hostPorts: [] },
});
const init: EndpointRow = {
  ...{ id: 5, containerId: 'c', containerDevice: 'eth0', netns: '', network: '', device: 'lxc5', ifindex: 9 },
  ...{
    mac: '',
    nodeMac: '',
    addresses: [parseAddress('10.244.1.5')],
    podNamespace: 'shop',
    podName: 'web',
    podUid: 'u',
  },
  ...{ kind: 'pod', state: 'waiting-for-identity', identity: 5, labels: { 'reserved:init': '' } },
};
const labelsOf = (podLabels: Labels, serviceAccount = 'default'): Labels =>
  securityLabels({ namespace: 'shop', podLabels, namespaceLabels: {}, serviceAccount, cluster: 'default' });
const firstFor = (labels: Labels): number => [...identityCandidates(labels)][0] ?? 0;

function setup() {
  const db = createDatabase();
  const tables = defineTables(db);
  const api = new FakeApi();
  const setIdentity = (id: number, identity: number, labels: Labels) =>
    db.write(txn => {
      const row = tables.endpoints.peek(txn, String(id));
      if (row !== undefined) tables.endpoints.insert(txn, { ...row, identity, labels, state: 'ready' });
    });
  const allocator = new IdentityAllocator(
    { cluster: 'default', filter: defaultLabelFilter },
    { ...tables, writers: new KubeWriters(api), setIdentity, log },
  );
  db.write(txn => void tables.namespaces.insert(txn, { name: 'shop', labels: {} }));
  const controller = new AbortController();
  allocator.start(controller.signal);
  /** The watch tells what the API server has. */
  const watch = () =>
    db.write(txn => {
      for (const row of tables.identities.all()) {
        if (!api.objects.has(resourcePaths.ciliumIdentity(row.id))) tables.identities.delete(txn, String(row.id));
      }
      for (const object of api.objects.values()) {
        const labels = object['security-labels'] as Labels;
        tables.identities.insert(txn, { id: Number(object.metadata?.name), labels, reserved: false });
      }
    });
  const settle = async () => {
    for (let i = 0; i < 20; i += 1) await new Promise(resolve => setImmediate(resolve));
  };
  const own = () => tables.endpoints.get('5');
  const stop = () => {
    controller.abort();
    allocator.stop();
  };
  return { db, tables, api, allocator, watch, settle, own, stop };
}

test('an endpoint is init until its number is claimed; new labels, another number', async () => {
  const { db, tables, watch, settle, own, stop } = setup();
  db.write(txn => void tables.endpoints.insert(txn, init));
  await settle();
  assert.equal(own()?.identity, 5, 'the pod is not known');
  db.write(txn => void tables.pods.insert(txn, pod({ app: 'web' })));
  await settle();
  watch();
  const first = firstFor(labelsOf({ app: 'web' }));
  assert.deepEqual([own()?.identity, own()?.labels], [first, labelsOf({ app: 'web' })]);
  db.write(txn => void tables.pods.insert(txn, pod({ app: 'api' }, 'robot')));
  await settle();
  assert.equal(own()?.identity, firstFor(labelsOf({ app: 'api' }, 'robot')));
  assert.equal(own()?.labels['k8s:io.cilium.k8s.policy.serviceaccount'], 'robot');
  stop();
});

test('a namespace that is not known yet makes no identity, and one that is not known any more takes none away', async () => {
  const { db, tables, api, settle, own, stop } = setup();
  db.write(txn => {
    tables.namespaces.delete(txn, 'shop');
    tables.endpoints.insert(txn, init);
    tables.pods.insert(txn, pod({ app: 'web' }));
  });
  await settle();
  assert.deepEqual([own()?.identity, api.objects.size], [5, 0]);
  const namespaceLabels = { env: 'prod' };
  db.write(txn => void tables.namespaces.insert(txn, { name: 'shop', labels: namespaceLabels }));
  await settle();
  const labels = securityLabels({
    ...{ namespace: 'shop', podLabels: { app: 'web' }, serviceAccount: 'default', cluster: 'default' },
    namespaceLabels,
  });
  assert.deepEqual(own()?.labels, labels);
  // As after a restart, when pods are listed before namespaces.
  db.write(txn => void tables.namespaces.delete(txn, 'shop'));
  await settle();
  assert.deepEqual([own()?.identity, own()?.labels], [firstFor(labels), labels]);
  stop();
});

test('a pod is not taken for the one that had its name before', async () => {
  const { db, tables, allocator, settle, own, stop } = setup();
  db.write(txn => {
    tables.pods.insert(txn, { ...pod({ app: 'old' }), uid: 'before' });
    tables.endpoints.insert(txn, init);
  });
  await settle();
  assert.equal(own()?.identity, 5);
  assert.equal(allocator.known({ namespace: 'shop', name: 'web', uid: 'u' }), undefined);
  db.write(txn => void tables.pods.insert(txn, pod({ app: 'web' })));
  await settle();
  assert.deepEqual(own()?.labels, labelsOf({ app: 'web' }));
  // Its successor is known while it still runs.
  db.write(txn => void tables.pods.insert(txn, { ...pod({ app: 'next' }), uid: 'after' }));
  await settle();
  assert.deepEqual(own()?.labels, labelsOf({ app: 'web' }));
  // The runtime knows a static pod by another number than its object has.
  db.write(txn => void tables.pods.insert(txn, { ...pod({ app: 'static' }), uid: 'mirror', staticUid: 'u' }));
  await settle();
  assert.deepEqual(own()?.labels, labelsOf({ app: 'static' }));
  stop();
});

test('while the API server is away an endpoint stays init, and changes of labels wait', async () => {
  const { db, tables, api, settle, own, stop } = setup();
  const answer = api.request.bind(api);
  api.request = () => Promise.reject(new Error('connection refused'));
  db.write(txn => {
    tables.endpoints.insert(txn, init);
    tables.pods.insert(txn, pod({ app: 'web' }));
  });
  await settle();
  assert.deepEqual([own()?.identity, own()?.state], [5, 'waiting-for-identity']);
  api.request = answer;
  stop();
});

test('a number that other labels have is passed by', async () => {
  const { db, tables, api, settle, own, stop } = setup();
  const labels = labelsOf({ app: 'web' });
  const [first = 0, second = 0] = identityCandidates(labels);
  api.put(resourcePaths.ciliumIdentity(first), { 'security-labels': { 'k8s:app': 'other' } });
  db.write(txn => {
    tables.endpoints.insert(txn, init);
    tables.pods.insert(txn, pod({ app: 'web' }));
  });
  await settle();
  assert.equal(own()?.identity, second);
  stop();
});

test('what nobody is seen to use is claimed before it is used; what somebody uses is taken at once', async () => {
  const { db, tables, api, allocator, watch, settle, stop } = setup();
  const labels = labelsOf({ app: 'web' });
  api.put(resourcePaths.ciliumIdentity(777), { 'security-labels': labels });
  db.write(txn => void tables.pods.insert(txn, pod({ app: 'web' })));
  watch();
  assert.equal(allocator.known({ namespace: 'shop', name: 'web', uid: 'u' }), undefined);
  db.write(txn => {
    const nodeAddress = parseAddress('172.30.0.12');
    const far = { namespace: 'shop', name: 'far', identity: 777, namedPorts: {}, addresses: [], nodeAddress };
    tables.remoteEndpoints.insert(txn, far);
  });
  assert.equal(allocator.known({ namespace: 'shop', name: 'web', uid: 'u' })?.identity, 777);
  db.write(txn => void tables.remoteEndpoints.delete(txn, 'shop/far'));
  db.write(txn => void tables.endpoints.insert(txn, init));
  await settle();
  assert.equal(tables.endpoints.get('5')?.identity, 777);
  assert.ok(api.requests.includes(`PATCH ${resourcePaths.ciliumIdentity(777)}`), 'its object says so');
  stop();
});

test('an identity that is taken away from under an endpoint is claimed again, or another if it has become somebody else', async () => {
  const { db, tables, api, watch, settle, own, stop } = setup();
  db.write(txn => {
    tables.endpoints.insert(txn, init);
    tables.pods.insert(txn, pod({ app: 'web' }));
  });
  await settle();
  watch();
  const path = resourcePaths.ciliumIdentity(own()?.identity ?? 0);
  api.objects.delete(path);
  watch();
  await settle();
  assert.ok(api.objects.has(path));
  assert.equal(resourcePaths.ciliumIdentity(own()?.identity ?? 0), path);
  watch();
  api.objects.delete(path);
  api.put(path, { 'security-labels': { 'k8s:app': 'thief' } });
  watch();
  await settle();
  assert.notEqual(resourcePaths.ciliumIdentity(own()?.identity ?? 0), path);
  assert.deepEqual(own()?.labels, labelsOf({ app: 'web' }));
  stop();
});
