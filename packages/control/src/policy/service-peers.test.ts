/** toServices in every order in which services, policies and pods become known, and when a pod's identity changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ciliumNetworkPolicyFromK8s,
  defineTables,
  type EndpointRow,
  endpointSliceFromK8s,
  nodeConfigDefaults,
  type Parsed,
  parseAddress,
  reservedIdentities,
  securityLabels,
  serviceFromK8s,
} from '@ciliate/model';
import { createDatabase, FakeClock } from '@ciliate/tables';
import { registerControllers } from '../register-controllers.ts';
import { PolicyLookup } from './lookup.ts';

const labelsOf = (role: string) =>
  securityLabels({
    namespace: 'shop',
    podLabels: { role },
    namespaceLabels: {},
    serviceAccount: 'default',
    cluster: 'default',
  });
const client: EndpointRow = {
  ...{ id: 5, containerId: 'c', containerDevice: 'eth0', netns: '', network: '', device: 'lxc5', ifindex: 9 },
  ...{ mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', addresses: [parseAddress('10.244.1.5')] },
  ...{ podNamespace: 'shop', podName: 'client', podUid: '', kind: 'pod', state: 'ready', identity: 300 },
  labels: labelsOf('client'),
};
const toService = { toServices: [{ k8sService: { serviceName: 's', namespace: 'shop' } }] };
const rules = {
  allow: { egress: [toService] },
  deny: { egress: [{ toEntities: ['all'] }], egressDeny: [toService] },
};

function rowOf<Row>(parsed: Parsed<Row>): Row {
  assert.ok('row' in parsed, JSON.stringify(parsed));
  return parsed.row;
}

function setup(spec: object) {
  const clock = new FakeClock(1_000_000);
  const db = createDatabase();
  const tables = defineTables(db);
  const controllers = registerControllers(tables, { ...nodeConfigDefaults, nodeName: 'here' }, { database: db, clock });
  for (const controller of controllers) controller.start();
  db.write(txn => {
    tables.endpoints.insert(txn, client);
    tables.identities.insert(txn, { id: 300, labels: client.labels, reserved: false });
    for (const id of [400, 401]) {
      tables.identities.insert(txn, { id, labels: labelsOf(`server-${id}`), reserved: false });
    }
  });
  const steps = {
    policy: () => {
      const endpointSelector = { matchLabels: { role: 'client' } };
      const object = { metadata: { name: 'p', namespace: 'shop' }, spec: { endpointSelector, ...spec } };
      const row = rowOf(ciliumNetworkPolicyFromK8s(object));
      db.write(txn => void tables.ciliumPolicies.insert(txn, row));
    },
    service: (selector?: object) => {
      const object = {
        metadata: { name: 's', namespace: 'shop' },
        spec: { type: 'ClusterIP', clusterIP: '10.96.0.9', selector },
      };
      const row = rowOf(serviceFromK8s(object));
      db.write(txn => void tables.services.insert(txn, row));
    },
    slice: (address = '10.244.2.9') => {
      const labels = { 'kubernetes.io/service-name': 's' };
      const metadata = { name: 's-1', namespace: 'shop', labels };
      const endpoints = [{ addresses: [address], conditions: { ready: true } }];
      const row = rowOf(endpointSliceFromK8s({ metadata, addressType: 'IPv4', endpoints, ports: [{ port: 80 }] }));
      db.write(txn => void tables.endpointSlices.insert(txn, row));
    },
    pod: (identity = 400) => {
      const [address, nodeAddress] = [parseAddress('10.244.2.9'), parseAddress('172.30.0.12')];
      const row = { namespace: 'shop', name: 'server', identity, namedPorts: {}, addresses: [address], nodeAddress };
      db.write(txn => void tables.remoteEndpoints.insert(txn, row));
    },
  };
  const allowed = (identity: number): boolean => {
    const entries =
      tables.policyGroups
        .all()
        .find(row => row.identity === 300)
        ?.content.entries() ?? [];
    return new PolicyLookup(entries).ask({ direction: 1, identity, classIdentity: 0, protocol: 6, port: 80 }).allowed;
  };
  const numberOf = (prefix: string) => tables.addressBlocks.get(`cidr ${prefix}`)?.id ?? 0;
  const stop = () => {
    for (const controller of controllers) controller.stop();
  };
  return { clock, steps, allowed, numberOf, stop };
}

const orders = [
  ['policy', 'service', 'slice', 'pod'],
  ['service', 'slice', 'pod', 'policy'],
  ['policy', 'pod', 'slice', 'service'],
  ['service', 'policy', 'slice', 'pod'],
] as const;

for (const [verb, spec] of Object.entries(rules)) {
  const hit = verb === 'allow';
  for (const order of orders) {
    test(`toServices to ${verb}: ${order.join(', ')}, then the pod gets another identity`, async () => {
      const { clock, steps, allowed, stop } = setup(spec);
      for (const step of order) {
        steps[step]();
        await clock.advance(100);
      }
      const before = [allowed(400), allowed(401)];
      steps.pod(401);
      await clock.advance(100);
      const after = [allowed(400), allowed(401)];
      stop();
      assert.deepEqual({ before, after }, { before: [hit, !hit], after: [!hit, hit] });
    });
  }
}

test('endpoints that are no pods count by their addresses, as long as they are there', async () => {
  const { clock, steps, allowed, numberOf, stop } = setup(rules.allow);
  steps.policy();
  steps.service();
  steps.slice('192.0.2.9');
  await clock.advance(100);
  const first = numberOf('192.0.2.9/32');
  assert.equal(allowed(first), true);
  assert.equal(allowed(2), false, 'the rest of the world');
  steps.slice('192.0.2.10');
  await clock.advance(100);
  assert.equal(allowed(numberOf('192.0.2.10/32')), true);
  assert.equal(allowed(first), false);
  stop();
});

test('an endpoint without identity of its own yet does not stand for all that have none', async () => {
  const { clock, steps, allowed, stop } = setup(rules.allow);
  for (const step of ['policy', 'service', 'slice'] as const) steps[step]();
  steps.pod(reservedIdentities.init);
  await clock.advance(100);
  assert.equal(allowed(reservedIdentities.init), false);
  steps.pod(400);
  await clock.advance(100);
  assert.deepEqual([allowed(400), allowed(reservedIdentities.init)], [true, false]);
  stop();
});

test('a service with a selector stands for the pods that it selects, with or without endpoints', async () => {
  const { clock, steps, allowed, stop } = setup(rules.allow);
  steps.policy();
  steps.service({ role: 'server-400' });
  await clock.advance(100);
  assert.deepEqual([allowed(400), allowed(401)], [true, false]);
  steps.service({ role: 'server-401' });
  await clock.advance(100);
  assert.deepEqual([allowed(400), allowed(401)], [false, true]);
  stop();
});
