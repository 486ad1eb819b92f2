/** Identities that go, come back as somebody else, or change a thousand times: nobody is let in by what was true before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defineTables,
  type EndpointRow,
  networkPolicyFromK8s,
  nodeConfigDefaults,
  type PodRow,
  parseAddress,
  securityLabels,
} from '@ciliate/model';
import { createDatabase, done, FakeClock, type WriteTxn } from '@ciliate/tables';
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
const [friend, foe] = [labelsOf('friend'), labelsOf('foe')];
const server: EndpointRow = {
  ...{ id: 5, containerId: 'c', containerDevice: 'eth0', netns: '', network: '', device: 'lxc5', ifindex: 9 },
  ...{ mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', addresses: [parseAddress('10.244.1.5')] },
  ...{ podNamespace: 'shop', podName: 'server', podUid: '', kind: 'pod', state: 'ready', identity: 300 },
  labels: labelsOf('server'),
};

/** A server that lets friends in. */
function setup() {
  const clock = new FakeClock(1_000_000);
  const db = createDatabase();
  const tables = defineTables(db);
  const controllers = registerControllers(tables, { ...nodeConfigDefaults, nodeName: 'here' }, { database: db, clock });
  for (const controller of controllers) controller.start();
  const parsed = networkPolicyFromK8s({
    metadata: { name: 'p', namespace: 'shop' },
    spec: {
      podSelector: { matchLabels: { role: 'server' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { role: 'friend' } } }] }],
    },
  });
  assert.ok('row' in parsed);
  db.write(txn => {
    tables.endpoints.insert(txn, server);
    tables.identities.insert(txn, { id: 300, labels: server.labels, reserved: false });
    tables.policies.insert(txn, parsed.row);
  });
  const group = () => tables.policyGroups.all().find(row => row.identity === 300);
  const letsIn = (identity: number): boolean =>
    new PolicyLookup(group()?.content.entries() ?? []).ask({
      direction: 0,
      identity,
      classIdentity: 0,
      protocol: 6,
      port: 80,
    }).allowed;
  const stop = () => {
    for (const controller of controllers) controller.stop();
  };
  const groupOf = (endpoint: string) =>
    tables.policyGroups.get(String(tables.endpointPolicies.get(endpoint)?.group ?? 0));
  return { clock, db, tables, group, groupOf, letsIn, stop };
}

test('a number that is given to other labels is not let in by what it stood for', async () => {
  const { clock, db, tables, group, letsIn, stop } = setup();
  db.write(txn => void tables.identities.insert(txn, { id: 400, labels: friend, reserved: false }));
  await clock.advance(100);
  assert.equal(letsIn(400), true);
  const before = group()?.revision ?? 0;
  db.write(txn => void tables.identities.delete(txn, '400'));
  await clock.advance(100);
  assert.equal(letsIn(400), false, 'nobody has it');
  assert.ok((group()?.revision ?? 0) > before, 'flows that it had are judged again');
  db.write(txn => void tables.identities.insert(txn, { id: 400, labels: foe, reserved: false }));
  await clock.advance(100);
  assert.equal(letsIn(400), false);
  stop();
});

test('a number that changes hands between two looks is not let in either', async () => {
  const { clock, db, tables, letsIn, stop } = setup();
  db.write(txn => void tables.identities.insert(txn, { id: 400, labels: friend, reserved: false }));
  await clock.advance(100);
  db.write(txn => void tables.identities.delete(txn, '400'));
  db.write(txn => void tables.identities.insert(txn, { id: 400, labels: foe, reserved: false }));
  await clock.advance(100);
  assert.equal(letsIn(400), false);
  stop();
});

test('a number that comes back with other labels gets the policy of these, however soon it does', async () => {
  const { clock, db, tables, groupOf, letsIn, stop } = setup();
  await clock.advance(100);
  assert.equal(letsIn(7), false, 'a server is isolated');
  const other: EndpointRow = {
    ...server,
    id: 6,
    podName: 'other',
    labels: foe,
    addresses: [parseAddress('10.244.1.6')],
  };
  db.write(txn => {
    tables.endpoints.delete(txn, '5');
    tables.identities.insert(txn, { id: 300, labels: foe, reserved: false });
    tables.endpoints.insert(txn, other);
  });
  await clock.advance(100);
  assert.equal(groupOf('6')?.ingress, false, 'nobody isolates it');
  db.write(txn => {
    tables.identities.insert(txn, { id: 300, labels: server.labels, reserved: false });
    tables.endpoints.insert(txn, { ...other, labels: server.labels });
  });
  await clock.advance(100);
  assert.equal(groupOf('6')?.ingress, true);
  stop();
});

test('a port name means nothing at an identity whose pods that call it so have all got another', async () => {
  const { clock, db, tables, groupOf, stop } = setup();
  const parsed = networkPolicyFromK8s({
    metadata: { name: 'out', namespace: 'shop' },
    spec: {
      podSelector: { matchLabels: { role: 'server' } },
      policyTypes: ['Egress'],
      egress: [{ to: [{ podSelector: { matchLabels: { role: 'friend' } } }], ports: [{ port: 'web' }] }],
    },
  });
  assert.ok('row' in parsed);
  const remote = (identity: number, namedPorts: PodRow['namedPorts']) => ({
    ...{ namespace: 'shop', name: 'callee', identity, namedPorts },
    addresses: [parseAddress('10.244.2.9')],
    nodeAddress: parseAddress('172.30.0.12'),
  });
  const web = { web: { port: 8080, protocol: 'TCP' } } as const;
  const local: EndpointRow = { ...server, id: 6, podName: 'near', labels: friend, identity: 400 };
  const pod = {
    ...{ namespace: 'shop', name: 'near', uid: '', nodeName: 'here', labels: {}, serviceAccount: 'default' },
    ...{ podIPs: [], hostNetwork: false, phase: 'Running', namedPorts: web, ready: true, hostPorts: [] },
  };
  const mayCall = (identity: number): boolean =>
    new PolicyLookup(groupOf('5')?.content.entries() ?? []).ask({
      ...{ direction: 1, identity, classIdentity: 0, protocol: 6, port: 8080 },
    }).allowed;
  const look = async (change: (txn: WriteTxn) => void): Promise<readonly boolean[]> => {
    db.write(change);
    await clock.advance(100);
    return [mayCall(400), mayCall(401)];
  };
  db.write(txn => {
    tables.policies.insert(txn, parsed.row);
    for (const id of [400, 401])
      tables.identities.insert(txn, { id, labels: { ...friend, 'k8s:n': String(id) }, reserved: false });
  });
  const far = await look(txn => void tables.remoteEndpoints.insert(txn, remote(400, web)));
  assert.deepEqual(far, [true, false]);
  assert.deepEqual(await look(txn => void tables.remoteEndpoints.insert(txn, remote(401, web))), [false, true]);
  assert.deepEqual(await look(txn => void tables.remoteEndpoints.delete(txn, 'shop/callee')), [false, false]);
  const near = await look(txn => {
    tables.pods.insert(txn, pod);
    tables.endpoints.insert(txn, local);
  });
  assert.deepEqual(near, [true, false]);
  assert.deepEqual(await look(txn => void tables.endpoints.insert(txn, { ...local, identity: 401 })), [false, true]);
  assert.deepEqual(await look(txn => void tables.endpoints.delete(txn, '6')), [false, false]);
  stop();
});

test('labels that change a thousand times: at every look what is let in is what the labels say', async () => {
  const { clock, db, tables, letsIn, stop } = setup();
  const identities = [400, 401] as const;
  db.write(txn => {
    tables.identities.insert(txn, { id: 400, labels: friend, reserved: false });
    tables.identities.insert(txn, { id: 401, labels: foe, reserved: false });
  });
  await clock.advance(100);
  db.write(txn => {
    for (const row of tables.policyGroups.all()) tables.policyGroups.insert(txn, { ...row, status: done(0) });
  });
  const pod = (identity: number) => ({
    ...{ namespace: 'shop', name: 'caller', identity, namedPorts: {} },
    addresses: [parseAddress('10.244.2.9')],
    nodeAddress: parseAddress('172.30.0.12'),
  });
  for (let change = 0; change < 1000; change += 1) {
    db.write(txn => void tables.remoteEndpoints.insert(txn, pod(identities[change % 2] ?? 0)));
    if (change % 50 !== 49) continue;
    await clock.advance(100);
    const now = tables.ipcacheRows.get('10.244.2.9/32')?.value.identity ?? 0;
    assert.equal(now, 401, 'the last of them');
    assert.equal(letsIn(now), false);
  }
  db.write(txn => void tables.remoteEndpoints.insert(txn, pod(400)));
  await clock.advance(100);
  assert.equal(letsIn(tables.ipcacheRows.get('10.244.2.9/32')?.value.identity ?? 0), true);
  stop();
});
