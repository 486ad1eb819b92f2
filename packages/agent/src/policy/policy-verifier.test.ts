import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PolicyEntry, PolicyFlags, type PolicyKey } from '@ciliate/abi';
import { sceneFromTables, type TableScene } from '@ciliate/control';
import { allLabels, defineTables, type PolicyGroupRow } from '@ciliate/model';
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
      };
      const row: PolicyGroupRow = { ...about, entries: wanted, status: done(clock.now()) };
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
    { interval: 1000, slice: 4 },
    {
      tables,
      loaded: { policyMap: group => maps.get(group), endpoints: () => [] },
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
  assert.equal(verifier.health().checked, 2);
  assert.equal(verifier.health().lastRound, undefined);
  await pass(clock, 2);
  assert.equal(verifier.health().checked, 6);
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
      entries: [],
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
