/** CiliumEndpoints of this node's pods: published, kept, and taken away only when they are ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defineTables, type EndpointRow, type PodRow, parseAddress } from '@ciliate/model';
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

const ownPod: PodRow = {
  ...{ namespace: 'shop', name: 'db-0', uid: 'u1', nodeName: 'n', labels: {}, serviceAccount: 'default', podIPs: [] },
  ...{ hostNetwork: false, phase: 'Running', namedPorts: {}, ready: true, hostPorts: [] },
};

function setup() {
  const db = createDatabase();
  const tables = defineTables(db);
  const api = new FakeApi();
  const { endpoints, pods, remoteEndpoints: published } = tables;
  const pod = (row: PodRow | undefined) =>
    db.write(txn => {
      if (row === undefined) pods.delete(txn, 'shop/db-0');
      else pods.insert(txn, row);
    });
  pod(ownPod);
  const writers = new KubeWriters(api);
  const publisher = new EndpointPublisher({ endpoints, pods, published, writers, log, nodeAddress: () => here });
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
  pod(undefined);
  api.objects.delete(path);
  seen('10.244.2.9');
  await settle();
  assert.equal(status(), undefined, 'the pod is of another node: its own says so');
  stop();
});

test('what the pod calls its ports is published with it, also when the pod becomes known after its endpoint', async () => {
  const { pod, settle, endpoint, stop, status } = setup();
  pod(undefined);
  endpoint(own);
  await settle();
  assert.equal(status(), undefined, 'not without its ports: after a restart others would lose them');
  pod({ ...ownPod, namedPorts: { sql: { port: 5432, protocol: 'TCP' } } });
  await settle();
  assert.deepEqual((status() as { 'named-ports': unknown })['named-ports'], [
    { name: 'sql', port: 5432, protocol: 'TCP' },
  ]);
  pod({ ...ownPod, namedPorts: {} });
  await settle();
  assert.deepEqual((status() as { 'named-ports': unknown })['named-ports'], []);
  stop();
});

test('a static pod owns its CiliumEndpoint by the number of its object, not by that of the runtime', async () => {
  const { api, pod, settle, endpoint, stop } = setup();
  pod({ ...ownPod, uid: 'of-the-mirror', staticUid: 'u1' });
  endpoint(own);
  await settle();
  assert.match(JSON.stringify(api.objects.get(path)?.metadata), /"uid":"of-the-mirror"/);
  stop();
});

test('an endpoint of a pod that has made way for another of its name says nothing in its place', async () => {
  const { pod, settle, endpoint, stop, status } = setup();
  pod({ ...ownPod, uid: 'u2' });
  endpoint(own);
  await settle();
  assert.equal(status(), undefined);
  stop();
});
