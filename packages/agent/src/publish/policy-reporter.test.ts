import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ciliumNetworkPolicyFromK8s,
  defineTables,
  PolicyContent,
  type PolicyGroupRow,
  type PolicyRow,
} from '@ciliate/model';
import { createDatabase, done, refused } from '@ciliate/tables';
import { PolicyReporter } from './policy-reporter.ts';

test('a policy that is not in force is told once, and again when it is', () => {
  const db = createDatabase();
  const tables = defineTables(db);
  const lines: string[] = [];
  const say = (level: string) => (message: string, data: unknown) =>
    void lines.push(`${level} ${message} ${JSON.stringify(data)}`);
  const log = { info: say('info'), warn: say('warn'), error: say('error') };
  const reporter = new PolicyReporter({ ...tables, log });
  reporter.start();
  const policy = (ingress: unknown): PolicyRow => {
    const spec = { endpointSelector: {}, ingress: [ingress] };
    const parsed = ciliumNetworkPolicyFromK8s({ metadata: { name: 'p', namespace: 'shop' }, spec });
    assert.ok('row' in parsed);
    return parsed.row;
  };
  const http = { toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{}] } }] };
  const put = (row: PolicyRow) => db.write(txn => void tables.ciliumPolicies.insert(txn, row));
  put(policy({}));
  assert.deepEqual(lines, []);
  put(policy(http));
  put({ ...policy(http), generation: 2 });
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /warn policy is not enforced .*shop\/p.*L7 rules \(http\)/);
  assert.deepEqual(reporter.degraded(), [], 'its condition says so');
  put(policy({}));
  assert.match(lines[1] ?? '', /info policy can be enforced again/);

  assert.deepEqual(reporter.changes, { success: 2, fail: 2 });

  const group: PolicyGroupRow = {
    ...{ id: 7, identity: 300, host: false, ingress: true, egress: false, usesClasses: false, rules: 1, revision: 1 },
    content: PolicyContent.empty,
    status: refused(0, 'needs 5 entries and its map has 4'),
  };
  const putGroup = (row: PolicyGroupRow) => db.write(txn => void tables.policyGroups.insert(txn, row));
  putGroup(group);
  putGroup({ ...group, id: 8 });
  assert.match(lines[2] ?? '', /error policy is not in force .*needs 5 entries/);
  assert.match(reporter.degraded().join(), /needs 5 entries and its map has 4 \(and 1 more\)/);
  putGroup({ ...group, status: done(0) });
  putGroup({ ...group, id: 8, status: done(0), unfit: 'needs 5 entries and its map has 4' });
  assert.match(reporter.degraded().join(), /needs 5 entries/);
  putGroup({ ...group, id: 8, status: done(0) });
  assert.deepEqual(reporter.degraded(), []);
  reporter.stop();
});
