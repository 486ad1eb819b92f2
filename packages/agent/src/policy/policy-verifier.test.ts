import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PolicyEntry, PolicyFlags, type PolicyKey } from '@ciliate/abi';
import { registerControllers, sceneFromTables, type TableScene } from '@ciliate/control';
import {
  allLabels,
  defineTables,
  networkPolicyFromK8s,
  nodeConfigDefaults,
  PolicyContent,
  type PolicyGroupRow,
  parseAddress,
} from '@ciliate/model';
import { createDatabase, done, FakeClock, pending } from '@ciliate/tables';
import type { Log } from '../log.ts';
import { PolicyVerifier } from './policy-verifier.ts';

type Entry = readonly [PolicyKey, PolicyEntry];

function entry(identity: number, ruleId: number, flags = 0): Entry {
  const key = { prefixlen: 40, identity, direction: 0, proto: 0, dport: 0 };
  return [key, { ruleId, proxyPort: 0, flags, packets: 0n, bytes: 0n }];
}

const wanted = [entry(300, 1), entry(0, 2, PolicyFlags.POLICY_DENY | PolicyFlags.POLICY_DEFAULT)];

const settings: TableScene = {
  ...{ nodeName: 'n', mode: 'default', allowLocalHost: true, dualStack: true, now: 0, clusterName: 'default' },
  ...{ cidrMatchesNodes: false, nodeLabels: allLabels },
};

function setup(groups: number) {
  const db = createDatabase();
  const tables = defineTables(db);
  const clock = new FakeClock();
  const maps = new Map<number, readonly Entry[]>();
  const errors: string[] = [];
  db.write(txn => {
    for (let id = 1; id <= groups; id += 1) {
      const about = {
        id,
        identity: 300 + id,
        host: false,
        usesClasses: false,
        ingress: true,
        egress: false,
        revision: 1,
        rules: 1,
      };
      const row: PolicyGroupRow = { ...about, content: PolicyContent.ofEntries(wanted), status: done(clock.now()) };
      tables.policyGroups.insert(txn, row);
      maps.set(id, wanted);
    }
  });
  const silent = () => undefined;
  const log: Log = {
    debug: silent,
    info: silent,
    warn: silent,
    error: text => void errors.push(text),
    child: () => log,
  };
  const verifier = new PolicyVerifier(
    { interval: 1000, slice: 4, pause: 1000 },
    {
      tables,
      loaded: {
        policyMap: group => maps.get(group),
        scanPolicyMap: group => maps.get(group)?.[Symbol.iterator](),
        endpoints: () => [],
      },
      scene: () => sceneFromTables(tables, settings),
      clock,
      log,
    },
  );
  return { tables, db, clock, maps, errors, verifier };
}

async function pass(clock: FakeClock, ticks: number): Promise<void> {
  for (let i = 0; i < ticks; i += 1) await clock.advance(1000);
}

test('a map that somebody has changed is alarmed once, and no longer when it is right again', async () => {
  const { clock, maps, errors, verifier } = setup(3);
  verifier.start();
  await pass(clock, 4);
  assert.deepEqual([verifier.health().differences, errors], [[], []]);
  maps.set(2, [entry(300, 1)]);
  await pass(clock, 8);
  assert.deepEqual(
    verifier.health().differences.map(({ where, what }) => [where, what]),
    [['policy map 2', 'missing']],
  );
  assert.equal(errors.length, 1);
  maps.set(2, wanted);
  await pass(clock, 4);
  assert.deepEqual(verifier.health().differences, []);
  verifier.stop();
});

test('a tick looks at a slice', async () => {
  const { clock, verifier } = setup(5);
  verifier.start();
  await pass(clock, 1);
  assert.ok(verifier.health().checked < 3);
  assert.equal(verifier.health().lastRound, undefined);
  await pass(clock, 5);
  assert.ok(verifier.health().checked >= 6);
  assert.notEqual(verifier.health().lastRound, undefined);
  verifier.stop();
});

test('what is still to be applied is not compared', async () => {
  const { clock, maps, verifier, tables, db } = setup(1);
  const row = tables.policyGroups.get('1');
  assert.ok(row !== undefined);
  db.write(txn => {
    tables.policyGroups.insert(txn, {
      ...row,
      content: PolicyContent.empty,
      status: pending(0),
    });
  });
  verifier.start();
  await pass(clock, 6);
  assert.deepEqual(verifier.health().differences, []);
  assert.equal(maps.size, 1);
  verifier.stop();
});

test('verifyAll compares at once', () => {
  const { maps, verifier } = setup(2);
  assert.deepEqual(verifier.verifyAll(), { maps: 2, endpoints: 0, differences: [] });
  maps.delete(1);
  assert.equal(verifier.verifyAll().differences.length, 2);
});

test('an identity that nobody has any more is no difference as long as it is there', async () => {
  const { tables, db, maps, verifier, clock } = setup(0);
  const config = { ...nodeConfigDefaults, nodeName: 'n' };
  const controllers = registerControllers(tables, config, { database: db, clock });
  for (const controller of controllers) controller.start();
  const labels = (app: string) => ({ 'k8s:io.kubernetes.pod.namespace': 'shop', 'k8s:app': app });
  const spec = { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'friend' } } }] }] };
  const parsed = networkPolicyFromK8s({ metadata: { name: 'p', namespace: 'shop' }, spec });
  assert.ok('row' in parsed);
  db.write(txn => {
    tables.policies.insert(txn, parsed.row);
    tables.endpoints.insert(txn, {
      ...{ id: 5, containerId: 'c', containerDevice: 'eth0', netns: '', network: '', device: 'lxc5', ifindex: 9 },
      ...{ mac: '', nodeMac: '', addresses: [parseAddress('10.244.1.5')], podNamespace: 'shop', podName: 'web' },
      ...{ podUid: '', kind: 'pod', state: 'ready', identity: 300, labels: labels('web') },
    });
    for (const [id, app] of [
      [300, 'web'],
      [400, 'friend'],
    ] as const) {
      tables.identities.insert(txn, { id, labels: labels(app), reserved: false });
    }
  });
  await clock.advance(1000);
  db.write(txn => {
    for (const row of tables.policyGroups.all()) {
      tables.policyGroups.insert(txn, { ...row, status: done(0) });
      maps.set(row.id, [...row.content.entries()]);
    }
  });
  assert.ok([...maps.values()].flat().some(([{ identity }]) => identity === 400));
  assert.deepEqual(verifier.verifyAll().differences, []);
  for (const controller of controllers) controller.stop();
});

test('a large map is read over several ticks, and anew when it changes meanwhile', async () => {
  const { clock, maps, verifier, tables, db, errors } = setup(1);
  const many = Array.from({ length: 20 }, (_, i) => entry(300 + i, 1));
  const row = tables.policyGroups.get('1');
  assert.ok(row !== undefined);
  const change = (entries: readonly Entry[]) =>
    db.write(txn => {
      const content = PolicyContent.ofEntries(entries);
      tables.policyGroups.insert(txn, { ...row, content, status: done(clock.now()) });
    });
  change(many);
  maps.set(1, many);
  verifier.start();
  await pass(clock, 3);
  assert.equal(verifier.health().checked, 0, 'half of it');
  change(many.slice(1));
  maps.set(1, many.slice(1));
  await pass(clock, 20);
  assert.deepEqual([verifier.health().differences, errors], [[], []]);
  maps.set(1, [...many.slice(1, 19), entry(319, 7)]);
  await pass(clock, 20);
  assert.deepEqual(
    verifier.health().differences.map(({ key, what }) => [key, what]),
    [['319/0/0/0/40', 'different']],
  );
  verifier.stop();
});
