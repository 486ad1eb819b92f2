/** Policies that do not fit, that follow one another fast, that are about nobody, and about everybody. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EndpointFlags } from '@ciliate/abi';
import {
  ciliumNetworkPolicyFromK8s,
  defineTables,
  type EndpointRow,
  networkPolicyFromK8s,
  nodeConfigDefaults,
  type Parsed,
  type PolicyRow,
  parseAddress,
  securityLabels,
} from '@ciliate/model';
import { createDatabase, done, FakeClock } from '@ciliate/tables';
import { registerControllers } from '../register-controllers.ts';
import { PolicyLookup } from './lookup.ts';

const labelsOf = (app: string, namespace = 'shop') =>
  securityLabels({ namespace, podLabels: { app }, namespaceLabels: {}, serviceAccount: '', cluster: 'default' });

const endpoint = (id: number, app: string): EndpointRow => ({
  ...{ id, containerId: `c${id}`, containerDevice: 'eth0', netns: '', network: '', device: `lxc${id}`, ifindex: 9 },
  ...{ mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', addresses: [parseAddress(`10.244.1.${id}`)] },
  ...{ podNamespace: 'shop', podName: app, podUid: '', kind: 'pod', state: 'ready', identity: 300 + id },
  labels: labelsOf(app),
});

function rowOf(parsed: Parsed<PolicyRow>): PolicyRow {
  assert.ok('row' in parsed, JSON.stringify(parsed));
  return parsed.row;
}

function setup(policyMapMax = 16_384) {
  const clock = new FakeClock(1_000_000);
  const db = createDatabase();
  const tables = defineTables(db);
  const modules = { database: db, clock, onError: (error: unknown) => assert.fail(String(error)) };
  const controllers = registerControllers(tables, { ...nodeConfigDefaults, nodeName: 'n', policyMapMax }, modules);
  for (const controller of controllers) controller.start();
  db.write(txn => {
    tables.endpoints.insert(txn, endpoint(5, 'web'));
    for (let id = 300; id < 350; id += 1) {
      const labels = id === 305 ? labelsOf('web') : { ...labelsOf('client'), 'k8s:build': String(id) };
      tables.identities.insert(txn, { id, labels, reserved: false });
    }
  });
  /** The kernel takes what is wanted. */
  const load = async () => {
    await clock.advance(100);
    db.write(txn => {
      for (const row of tables.policyGroups.all()) {
        if (row.status.kind === 'pending') tables.policyGroups.insert(txn, { ...row, status: done(0) });
      }
    });
    await clock.advance(100);
  };
  const apply = (ingress: readonly unknown[], name = 'p', namespace = 'shop', podSelector: unknown = {}) =>
    db.write(txn => {
      const object = { metadata: { name, namespace }, spec: { podSelector, policyTypes: ['Ingress'], ingress } };
      tables.policies.insert(txn, rowOf(networkPolicyFromK8s(object)));
    });
  const group = () => tables.policyGroups.all().find(row => row.identity === 305);
  const allows = (identity: number, port = 80): boolean =>
    new PolicyLookup(group()?.content.entries() ?? []).ask({
      ...{ direction: 0, identity, classIdentity: 0, protocol: 6, port },
    }).allowed;
  const flags = (id = 5) => tables.endpointMapRows.get(`10.244.1.${id}`)?.value.flags ?? 0;
  return { clock, db, tables, load, apply, group, allows, flags };
}

const from = (matchLabels: object) => ({ from: [{ podSelector: { matchLabels } }] });
const { ENDPOINT_POLICY_LOCKDOWN, ENDPOINT_POLICY_INGRESS } = EndpointFlags;

describe('a policy that does not fit', () => {
  test('is refused with the numbers and the label that makes so many identities; what was in force stays', async () => {
    const { load, apply, group, allows, flags } = setup(20);
    apply([from({ app: 'client', build: '310' })]);
    await load();
    assert.deepEqual([allows(310), allows(311)], [true, false]);
    const before = group();
    apply([from({ app: 'client' })]);
    await load();
    const { status } = group() ?? {};
    assert.ok(status?.kind === 'error', JSON.stringify(status));
    assert.match(status.error, /identity 305 needs 52 entries and its map has 20/);
    assert.match(status.error, /--bpf-policy-map-max.*label k8s:build \(49 values\)/);
    assert.deepEqual([allows(310), allows(311)], [true, false]);
    assert.equal(group()?.revision, before?.revision);
    assert.equal(flags() & ENDPOINT_POLICY_LOCKDOWN, 0);
    apply([from({ app: 'client', build: '311' })]);
    await load();
    assert.deepEqual([group()?.status.kind, allows(310), allows(311)], ['done', false, true]);
  });

  test('closes an endpoint that never had another, until it fits', async () => {
    const { db, tables, load, apply, allows, flags } = setup(20);
    apply([from({ app: 'client' })]);
    await load();
    assert.notEqual(flags() & ENDPOINT_POLICY_LOCKDOWN, 0);
    db.write(txn => {
      for (let id = 315; id < 350; id += 1) tables.identities.delete(txn, String(id));
    });
    await load();
    assert.equal(flags() & ENDPOINT_POLICY_LOCKDOWN, 0);
    assert.deepEqual([allows(310), allows(305)], [true, false]);
  });

  test('identities that come one by one are let in as long as they fit, and nobody loses what he had', async () => {
    const { db, tables, load, apply, group, allows } = setup(60);
    apply([from({ app: 'client' })]);
    await load();
    for (let id = 400; id < 420; id += 1) {
      const labels = { ...labelsOf('client'), 'k8s:build': String(id) };
      db.write(txn => void tables.identities.insert(txn, { id, labels, reserved: false }));
      await load();
    }
    assert.equal(group()?.status.kind, 'error');
    assert.deepEqual([allows(349), allows(400), allows(419)], [true, true, false]);
    db.write(txn => {
      for (let id = 300; id < 350; id += 1) if (id !== 305) tables.identities.delete(txn, String(id));
    });
    await load();
    assert.equal(group()?.status.kind, 'done');
    assert.deepEqual([allows(349), allows(400), allows(419)], [false, true, true]);
  });
});

test('of versions of one policy that follow fast the last counts, and a deletion between them', async () => {
  const { db, tables, load, apply, allows, clock } = setup();
  for (let version = 0; version < 50; version += 1) {
    apply([{ ...from({ app: 'client' }), ports: [{ port: 1000 + version }] }]);
    if (version % 7 === 0) db.write(txn => void tables.policies.delete(txn, 'NetworkPolicy/shop/p'));
    if (version % 3 === 0) await clock.advance(1);
  }
  await load();
  assert.deepEqual([allows(310, 1049), allows(310, 1048), allows(310, 1000)], [false, false, false]);
  apply([{ ...from({ app: 'client' }), ports: [{ port: 1049 }] }]);
  await load();
  assert.deepEqual([allows(310, 1049), allows(310, 1048)], [true, false]);
});

test('policies of two kinds with one name are two', async () => {
  const { db, tables, load, apply, allows } = setup();
  apply([{ ...from({ app: 'client' }), ports: [{ port: 80 }] }]);
  const spec = { endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: '81' }] }] }] };
  const row = rowOf(ciliumNetworkPolicyFromK8s({ metadata: { name: 'p', namespace: 'shop' }, spec }));
  db.write(txn => void tables.ciliumPolicies.insert(txn, row));
  await load();
  assert.deepEqual([allows(310, 80), allows(310, 81), allows(310, 82)], [true, true, false]);
  db.write(txn => void tables.ciliumPolicies.delete(txn, 'CiliumNetworkPolicy/shop/p'));
  await load();
  assert.deepEqual([allows(310, 80), allows(310, 81)], [true, false]);
});

test('a policy of a namespace that does not exist is about nobody', async () => {
  const { load, apply, flags } = setup();
  apply([], 'p', 'nowhere');
  await load();
  assert.equal(flags() & ENDPOINT_POLICY_INGRESS, 0);
});

test('a selector that matches everything matches its own namespace', async () => {
  const { load, apply, flags, allows } = setup();
  apply([from({})]);
  await load();
  assert.notEqual(flags() & ENDPOINT_POLICY_INGRESS, 0);
  assert.equal(allows(310), true);
  assert.equal(allows(2), false, 'the world is no pod of the namespace');
});

test('a direction that is left alone again is open in the map too: endpoints learn of it later', async () => {
  const { db, tables, load, group } = setup();
  const write = (policyTypes: readonly string[]) =>
    db.write(txn => {
      const spec = { podSelector: {}, policyTypes };
      tables.policies.insert(txn, rowOf(networkPolicyFromK8s({ metadata: { name: 'p', namespace: 'shop' }, spec })));
    });
  const egress = () =>
    new PolicyLookup(group()?.content.entries() ?? []).ask({
      ...{ direction: 1, identity: 310, classIdentity: 0, protocol: 6, port: 80 },
    }).allowed;
  write(['Ingress', 'Egress']);
  await load();
  assert.equal(egress(), false);
  write(['Ingress']);
  await load();
  assert.deepEqual([group()?.ingress, group()?.egress, egress()], [true, false, true]);
});
