/** Identities that go, come back as somebody else, or change a thousand times: nobody is let in by what was true before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defineTables,
  type EndpointRow,
  networkPolicyFromK8s,
  nodeConfigDefaults,
  parseAddress,
  securityLabels,
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
    new PolicyLookup(group()?.entries ?? []).ask({ direction: 0, identity, classIdentity: 0, protocol: 6, port: 80 })
      .allowed;
  const stop = () => {
    for (const controller of controllers) controller.stop();
  };
  return { clock, db, tables, group, letsIn, stop };
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

test('labels that change a thousand times: at every look what is let in is what the labels say', async () => {
  const { clock, db, tables, letsIn, stop } = setup();
  const identities = [400, 401] as const;
  db.write(txn => {
    tables.identities.insert(txn, { id: 400, labels: friend, reserved: false });
    tables.identities.insert(txn, { id: 401, labels: foe, reserved: false });
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
