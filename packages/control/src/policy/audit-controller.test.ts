import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PolicyFlags } from '@ciliate/abi';
import {
  type AuditMode,
  defineTables,
  type EndpointRow,
  networkPolicyFromK8s,
  nodeConfigDefaults,
  type PolicyRow,
  parseAddress,
  securityLabels,
} from '@ciliate/model';
import { createDatabase, FakeClock } from '@ciliate/tables';
import { registerControllers } from '../register-controllers.ts';

const labels = securityLabels({
  namespace: 'shop',
  podLabels: { app: 'web' },
  namespaceLabels: {},
  serviceAccount: 'default',
  cluster: 'default',
});
const endpoint: EndpointRow = {
  ...{ id: 5, containerId: 'c', containerDevice: 'eth0', netns: '', network: '', device: 'lxc5', ifindex: 9 },
  ...{ mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', addresses: [parseAddress('10.244.1.5')] },
  ...{ podNamespace: 'shop', podName: 'web', podUid: '', kind: 'pod', state: 'ready', identity: 300, labels },
};

function policy(audit: AuditMode): PolicyRow {
  const parsed = networkPolicyFromK8s({ metadata: { name: 'p', namespace: 'shop' }, spec: { podSelector: {} } });
  assert.ok('row' in parsed);
  return { ...parsed.row, audit };
}

function setup() {
  const clock = new FakeClock(1_000_000);
  const db = createDatabase();
  const tables = defineTables(db);
  const config = { ...nodeConfigDefaults, nodeName: 'here' };
  const controllers = registerControllers(tables, config, { database: db, clock });
  for (const controller of controllers) controller.start();
  const stop = () => {
    for (const controller of controllers) controller.stop();
  };
  /** undefined: the group is not judged. */
  const audited = (): boolean | undefined => {
    const entries = tables.policyGroups.all().flatMap(row => [...row.content.entries()]);
    const byDefault = entries.find(
      ([{ direction }, { flags }]) => direction === 0 && (flags & PolicyFlags.POLICY_DEFAULT) !== 0,
    );
    return byDefault === undefined ? undefined : (byDefault[1].flags & PolicyFlags.POLICY_AUDIT) !== 0;
  };
  db.write(txn => {
    tables.endpoints.insert(txn, endpoint);
    tables.identities.insert(txn, { id: 300, labels, reserved: false });
  });
  return { clock, db, tables, audited, stop };
}

test('an audit ends when its time is over, though nothing changes', async () => {
  const { clock, db, tables, audited, stop } = setup();
  db.write(txn => void tables.policies.insert(txn, policy({ until: clock.now() + 60_000 })));
  await clock.advance(1000);
  assert.equal(audited(), true);
  await clock.advance(58_000);
  assert.equal(audited(), true);
  await clock.advance(2000);
  assert.equal(audited(), false);
  stop();
});

test('an audit of days outlasts the longest timer', async () => {
  const { clock, db, tables, audited, stop } = setup();
  db.write(txn => void tables.policies.insert(txn, policy({ until: clock.now() + 30 * 86_400_000 })));
  for (let day = 0; day < 30; day += 1) await clock.advance(86_000_000);
  assert.equal(audited(), true);
  await clock.advance(30 * 400_000 + 2000);
  assert.equal(audited(), false);
  stop();
});

test('a namespace has all of its policies audited, until it has no longer', async () => {
  const { clock, db, tables, audited, stop } = setup();
  db.write(txn => {
    tables.policies.insert(txn, policy('off'));
    tables.namespaces.insert(txn, { name: 'shop', labels: {} });
  });
  await clock.advance(1000);
  assert.equal(audited(), false);
  db.write(txn => void tables.namespaces.insert(txn, { name: 'shop', labels: {}, audit: 'on' }));
  await clock.advance(1000);
  assert.equal(audited(), true);
  db.write(
    txn => void tables.namespaces.insert(txn, { name: 'shop', labels: {}, audit: { until: clock.now() + 5000 } }),
  );
  await clock.advance(1000);
  assert.equal(audited(), true);
  await clock.advance(5000);
  assert.equal(audited(), false);
  stop();
});

test('the group of nobody goes after a while, though nothing changes', async () => {
  const { clock, db, tables, stop } = setup();
  await clock.advance(1000);
  assert.equal(tables.policyGroups.all().length, 1);
  db.write(txn => tables.endpoints.delete(txn, '5'));
  await clock.advance(5000);
  assert.equal(tables.policyGroups.all().length, 1, 'a packet on its way may still be judged by it');
  await clock.advance(10_000);
  assert.equal(tables.policyGroups.all().length, 0);
  stop();
});
