/** When the policy maps of the kernel know a number. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PolicyContent, type PolicyGroupRow } from '@ciliate/model';
import { done, pending, refused } from '@ciliate/tables';
import { PeersInForce } from './peers-in-force.ts';

const about = { identity: 300, host: false, ingress: true, egress: true, usesClasses: true, rules: 1 };
const group = (id: number, revision: number, status: PolicyGroupRow['status']) => ({
  key: String(id),
  ...{ deleted: false, revision: 0 },
  row: { ...about, id, revision, content: PolicyContent.empty, status },
});
const peer = (id: number, revision: number) => ({
  key: String(id),
  deleted: false,
  revision: 0,
  row: { id, revision },
});
const none = { policyPeers: [], policyGroups: [] };

test('a number counts when every map that waited with it is written', () => {
  const inForce = new PeersInForce([]);
  const policyGroups = [group(1, 4, pending(0)), group(2, 5, pending(0))];
  assert.deepEqual(inForce.read({ policyPeers: [peer(77, 5)], policyGroups }), []);
  assert.deepEqual(inForce.read({ ...none, policyGroups: [group(1, 4, done(0))] }), []);
  assert.equal(inForce.has(77), false);
  assert.deepEqual(inForce.read({ ...none, policyGroups: [group(2, 5, done(0))] }), [77]);
  assert.equal(inForce.has(77), true);
});

test('a map that changes again before it was ever written is not known to have the number', () => {
  const inForce = new PeersInForce([]);
  inForce.read({ policyPeers: [peer(77, 5)], policyGroups: [group(1, 5, pending(0))] });
  assert.deepEqual(inForce.read({ ...none, policyGroups: [group(1, 6, pending(1))] }), []);
  assert.equal(inForce.has(77), false);
  assert.deepEqual(inForce.read({ ...none, policyGroups: [group(1, 6, done(2))] }), [77]);
});

test('what comes later does not wait for a map that was written before, and nobody for one that is refused or gone', () => {
  const inForce = new PeersInForce([]);
  inForce.read({ policyPeers: [], policyGroups: [group(1, 5, pending(0)), group(2, 5, pending(0))] });
  assert.deepEqual(inForce.read({ policyPeers: [peer(77, 5)], policyGroups: [] }), []);
  inForce.read({ ...none, policyGroups: [group(1, 5, refused(0, 'no room'))] });
  assert.deepEqual(inForce.read({ ...none, policyGroups: [{ ...group(2, 5, pending(0)), deleted: true }] }), [77]);
  assert.deepEqual(inForce.read({ policyPeers: [peer(78, 6)], policyGroups: [group(1, 7, pending(0))] }), [78]);
});
