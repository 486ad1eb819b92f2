/** CiliumEndpoints of this node's pods: published, kept, and taken away only when they are ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defineTables, type EndpointRow, parseAddress } from '@ciliate/model';
import { KubeWriters, resourcePaths } from '@ciliate/sources';
import { createDatabase } from '@ciliate/tables';
import { FakeApi } from '../fake-api.test-lib.ts';
import type { Log } from '../log.ts';
import { EndpointPublisher } from './endpoint-publisher.ts';

const silent = () => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent } as unknown as Log;
const here = parseAddress('172.30.0.11');
const path = resourcePaths.ciliumEndpoint('shop', 'db-0');
const own: EndpointRow = {
  ...{ id: 5, containerId: 'c1', containerDevice: 'eth0', netns: '', network: '', device: 'lxc5', ifindex: 9 },
  ...{
    mac: '',
    nodeMac: '',
    addresses: [parseAddress('10.244.1.5')],
    podNamespace: 'shop',
    podName: 'db-0',
    podUid: 'u1',
  },
  ...{ kind: 'pod', state: 'ready', identity: 300, labels: { 'k8s:app': 'db' } },
};

function setup() {
  const db = createDatabase();
  const tables = defineTables(db);
  const api = new FakeApi();
  const pod = { uid: 'u1' };
  const publisher = new EndpointPublisher({
    ...{ endpoints: tables.endpoints, published: tables.remoteEndpoints, writers: new KubeWriters(api), log },
    ...{ nodeAddress: () => here, podUid: () => pod.uid, namedPorts: () => ({}) },
  });
  const controller = new AbortController();
  publisher.start(controller.signal);
  const settle = async () => {
    for (let i = 0; i < 20; i += 1) await new Promise(resolve => setImmediate(resolve));
  };
  const endpoint = (row: EndpointRow | undefined) =>
    db.write(txn => {
      if (row === undefined) tables.endpoints.delete(txn, '5');
      else tables.endpoints.insert(txn, row);
    });
  /** What the watch tells. */
  const seen = (address: string | undefined) =>
    db.write(txn => {
      const nodeAddress = parseAddress('172.30.0.12');
      const row = { namespace: 'shop', name: 'db-0', identity: 300, namedPorts: {}, nodeAddress };
      if (address === undefined) tables.remoteEndpoints.delete(txn, 'shop/db-0');
      else tables.remoteEndpoints.insert(txn, { ...row, addresses: [parseAddress(address)] });
    });
  const stop = () => {
    controller.abort();
    publisher.stop();
  };
  return { api, pod, settle, endpoint, seen, stop, status: () => api.objects.get(path)?.status };
}

test('published with its pod, and gone with its endpoint', async () => {
  const { api, settle, endpoint, stop, status } = setup();
  endpoint(own);
  await settle();
  assert.equal((status() as { identity: { id: number } }).identity.id, 300);
  assert.match(JSON.stringify(api.objects.get(path)?.metadata), /"kind":"Pod","name":"db-0","uid":"u1"/);
  endpoint(undefined);
  await settle();
  assert.equal(status(), undefined);
  stop();
});

test('a pod of the same name that runs elsewhere by now keeps its CiliumEndpoint', async () => {
  const { api, settle, endpoint, stop, status } = setup();
  endpoint(own);
  await settle();
  const there = { networking: { node: '172.30.0.12' }, 'external-identifiers': { 'container-id': 'c2' } };
  api.put(path, { status: there });
  endpoint(undefined);
  await settle();
  assert.deepEqual(status(), there);
  stop();
});

test('one that comes between the look and the deletion keeps its own too', async () => {
  const { api, settle, endpoint, stop, status } = setup();
  endpoint(own);
  await settle();
  const there = { networking: { node: '172.30.0.12' } };
  api.before = method => {
    if (method !== 'DELETE') return;
    api.before = silent;
    api.put(path, { status: there });
  };
  endpoint(undefined);
  await settle();
  assert.deepEqual(status(), there);
  stop();
});

test('what somebody takes away is published again, as long as the pod is ours', async () => {
  const { api, pod, settle, endpoint, seen, stop, status } = setup();
  endpoint(own);
  await settle();
  seen('10.244.1.5');
  await settle();
  const before = api.requests.length;
  seen('10.244.1.5');
  await settle();
  assert.equal(api.requests.length, before, 'our own words are no news');
  api.objects.delete(path);
  seen(undefined);
  await settle();
  assert.notEqual(status(), undefined);
  pod.uid = '';
  api.objects.delete(path);
  seen('10.244.2.9');
  await settle();
  assert.equal(status(), undefined, 'the pod is of another node: its own says so');
  stop();
});
