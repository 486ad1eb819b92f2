/** Policies that do not fit, that follow one another fast, that are about nobody, and about everybody. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EndpointFlags } from '@ciliate/abi';
import {
  ciliumNetworkPolicyFromK8s,
  defineTables,
  type EndpointRow,
  type NodeConfig,
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

function setup(policyMapMax = 16_384, more: Partial<NodeConfig> = {}) {
  const clock = new FakeClock(1_000_000);
  const db = createDatabase();
  const tables = defineTables(db);
  const modules = { database: db, clock, onError: (error: unknown) => assert.fail(String(error)) };
  const controllers = registerControllers(
    tables,
    { ...nodeConfigDefaults, nodeName: 'n', policyMapMax, ...more },
    modules,
  );
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
    const { unfit = '' } = group() ?? {};
    assert.match(unfit, /identity 305 needs 52 entries and its map has 20/);
    assert.match(unfit, /--bpf-policy-map-max.*label k8s:build \(49 values\)/);
    assert.deepEqual([allows(310), allows(311)], [true, false]);
    assert.equal(group()?.revision, before?.revision);
    assert.equal(flags() & ENDPOINT_POLICY_LOCKDOWN, 0);
    apply([from({ app: 'client', build: '311' })]);
    await load();
    assert.deepEqual([group()?.unfit, allows(310), allows(311)], [undefined, false, true]);
  });

  test('what was in force denies who comes meanwhile, and says nothing of who went', async () => {
    const { db, tables, load, allows, group } = setup(20);
    const deny = (ports: readonly number[]) => {
      const spec = {
        endpointSelector: { matchLabels: { app: 'web' } },
        enableDefaultDeny: { ingress: false },
        ingressDeny: [
          { fromEndpoints: [{ matchLabels: { app: 'foe' } }] },
          ...ports.map(port => ({
            fromEndpoints: [{}],
            toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }],
          })),
        ],
      };
      const row = rowOf(ciliumNetworkPolicyFromK8s({ metadata: { name: 'deny', namespace: 'shop' }, spec }));
      db.write(txn => void tables.ciliumPolicies.insert(txn, row));
    };
    const come = (id: number, app: string) =>
      db.write(txn => void tables.identities.insert(txn, { id, labels: labelsOf(app), reserved: false }));
    deny([]);
    come(400, 'foe');
    await load();
    assert.deepEqual([allows(310), allows(400), group()?.unfit], [true, false, undefined]);
    deny([80]);
    await load();
    assert.match(group()?.unfit ?? '', /needs \d+ entries and its map has 20/);
    assert.deepEqual([allows(310), allows(400)], [true, false], 'as before');
    const before = group()?.revision ?? 0;
    come(401, 'foe');
    await load();
    assert.deepEqual([allows(310), allows(400), allows(401)], [true, false, false], 'who comes is denied');
    assert.ok((group()?.revision ?? 0) > before);
    come(402, 'client');
    come(400, 'client');
    await load();
    assert.deepEqual([allows(400), allows(402), allows(402, 81)], [false, false, true], 'judged by what is asked for');
    db.write(txn => void tables.identities.delete(txn, '401'));
    await load();
    assert.equal(allows(401), true, 'nobody has the number');
    deny([]);
    await load();
    assert.deepEqual([group()?.unfit, allows(310), allows(400), allows(402)], [undefined, true, true, true]);
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
    assert.match(group()?.unfit ?? '', /needs \d+ entries and its map has 60/);
    assert.deepEqual([allows(349), allows(400), allows(419)], [true, true, false]);
    db.write(txn => {
      for (let id = 300; id < 350; id += 1) if (id !== 305) tables.identities.delete(txn, String(id));
    });
    await load();
    assert.deepEqual([group()?.unfit, group()?.status.kind], [undefined, 'done']);
    assert.deepEqual([allows(349), allows(400), allows(419)], [false, true, true]);
  });
});

describe('address blocks that do not fit', () => {
  const blocks = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ from: [{ ipBlock: { cidr: `198.51.100.${i}/32` } }] }));

  test('of NetworkPolicies: refused with the numbers; what was in force stays, and others go on', async () => {
    const { db, tables, load, apply, allows, group } = setup(16_384, { policyClassesMax: 10 });
    apply([...blocks(5), from({ app: 'client', build: '310' })]);
    await load();
    assert.deepEqual([group()?.unfit, allows(310), allows(311)], [undefined, true, false]);
    apply([...blocks(12), from({ app: 'client', build: '311' })]);
    await load();
    assert.match(group()?.unfit ?? '', /need 12 prefixes in policy_classes, which has room for 10: name fewer/);
    assert.deepEqual([allows(310), allows(311)], [true, false]);
    apply([], 'other', 'elsewhere');
    db.write(txn => {
      tables.endpoints.insert(txn, endpoint(6, 'new'));
      tables.identities.insert(txn, { id: 306, labels: labelsOf('new'), reserved: false });
    });
    await load();
    const closed = tables.policyGroups.all().find(row => row.identity === 306);
    assert.ok(closed?.status.kind === 'error', 'it never had another');
    assert.match(closed.status.error, /policy_classes/);
    apply([...blocks(9), from({ app: 'client', build: '311' })]);
    await load();
    await load();
    assert.deepEqual([group()?.unfit, allows(310), allows(311)], [undefined, false, true]);
    assert.equal(tables.policyGroups.all().find(row => row.identity === 306)?.status.kind, 'done');
  });

  test('of Cilium’s policies: in the ipcache, beside pods and nodes', async () => {
    const { db, tables, load, allows, group } = setup(16_384, { ipcacheMax: 10 });
    const put = (count: number) => {
      const cidrs = Array.from({ length: count }, (_, i) => `198.51.100.${i}/32`);
      const spec = { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ fromCIDR: cidrs }] };
      const row = rowOf(ciliumNetworkPolicyFromK8s({ metadata: { name: 'c', namespace: 'shop' }, spec }));
      db.write(txn => void tables.ciliumPolicies.insert(txn, row));
    };
    put(3);
    await load();
    assert.deepEqual([group()?.unfit, allows(310)], [undefined, false]);
    put(10);
    await load();
    assert.match(group()?.unfit ?? '', /need 11 prefixes in ipcache, which has room for 10/);
    put(4);
    await load();
    assert.equal(group()?.unfit, undefined);
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
