/** Policy maps of groups: when a map is replaced, when it is changed in place, and what a failure leaves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapSpecs, PolicyFlags } from '@ciliate/abi';
import { FakeMap, FakeMapOfMaps } from '@ciliate/kernel';
import { PolicyContent, type PolicyGroupRow, type PolicyMapEntry } from '@ciliate/model';
import { pending } from '@ciliate/tables';
import { policyGroupOperations } from './operations.ts';

const { POLICY_DENY, POLICY_DEFAULT } = PolicyFlags;
const entry = (identity: number, dport: number, flags = 0): PolicyMapEntry => [
  { prefixlen: dport === 0 ? 40 : 64, identity, direction: 0, proto: dport === 0 ? 0 : 6, dport },
  { ruleId: 1, proxyPort: 0, flags, packets: 0n, bytes: 0n },
];
const closed = entry(0, 0, POLICY_DENY | POLICY_DEFAULT);

function row(rules: number, entries: readonly PolicyMapEntry[], ingress = true): PolicyGroupRow {
  const about = { id: 7, identity: 300, host: false, egress: false, usesClasses: false, revision: 1 };
  return { ...about, ingress, rules, content: PolicyContent.ofEntries(entries), status: pending(0) };
}

function setup() {
  const { inner } = mapSpecs.policy;
  const outer = new FakeMap<number, number>(mapSpecs.policy);
  const map = new FakeMapOfMaps(outer, inner);
  const operations = policyGroupOperations(map);
  /** Another number of the inner map: it has been replaced. */
  const number = () => outer.lookup(7);
  const texts = () => (map.read(7) ?? []).map(([key, { flags }]) => `${key.identity}:${key.dport} ${flags}`).toSorted();
  return { map, operations, number, texts };
}

test('identities that come and go are changed in the map that is there, and rules that only add or only take away', async () => {
  const { operations, number, texts } = setup();
  await operations.update(row(1, [closed, entry(400, 80)]));
  const first = number();
  await operations.update(row(1, [closed, entry(400, 80), entry(401, 80), entry(401, 81, POLICY_DENY)]));
  assert.deepEqual(texts(), ['0:0 9', '400:80 0', '401:80 0', '401:81 1']);
  await operations.update(row(1, [closed, entry(401, 80)]));
  assert.deepEqual(texts(), ['0:0 9', '401:80 0']);
  assert.equal(number(), first);
  await operations.update(row(2, [closed, entry(401, 80), entry(401, 443), entry(500, 80, POLICY_DENY)]));
  assert.deepEqual(texts(), ['0:0 9', '401:443 0', '401:80 0', '500:80 1']);
  await operations.update(row(3, [closed, entry(401, 443), entry(402, 80), entry(500, 80, POLICY_DENY)]));
  assert.deepEqual(texts(), ['0:0 9', '401:443 0', '402:80 0', '500:80 1']);
  assert.equal(number(), first);
});

test('rules that change allows and denies at once are another map', async () => {
  const { operations, number, texts } = setup();
  await operations.update(row(1, [closed, entry(401, 80)]));
  const first = number();
  await operations.update(row(2, [closed, entry(402, 80), entry(403, 80, POLICY_DENY)]));
  assert.deepEqual(texts(), ['0:0 9', '402:80 0', '403:80 1']);
  assert.notEqual(number(), first);
  const second = number();
  await operations.update(row(3, [entry(0, 0, POLICY_DEFAULT), entry(402, 80), entry(403, 80, POLICY_DENY)]));
  assert.notEqual(number(), second, 'another default');
});

test('what changes in many places is a new map', async () => {
  const { operations, number, map } = setup();
  await operations.update(row(1, [closed]));
  const first = number();
  await operations.update(row(1, [closed, ...Array.from({ length: 300 }, (_, i) => entry(400 + i, 80))]));
  assert.notEqual(number(), first);
  assert.equal(map.read(7)?.length, 301);
});

test('a group that judges no more gets an open map, and judges again with a new one', async () => {
  const { operations, number, texts } = setup();
  await operations.update(row(1, [closed, entry(400, 80)]));
  await operations.update(row(1, [], false));
  assert.deepEqual(texts(), ['0:0 8', '0:0 8'], 'both directions');
  const open = number();
  await operations.update(row(1, [closed, entry(400, 80)]));
  assert.deepEqual(texts(), ['0:0 9', '400:80 0']);
  assert.notEqual(number(), open);
});

test('a change that fails half way is made good by a new map', async () => {
  const { map, operations, number, texts } = setup();
  await operations.update(row(1, [closed]));
  const first = number();
  const patch = map.patch.bind(map);
  map.patch = (key, puts, removes) => {
    patch(key, puts.slice(0, 1), removes);
    throw new Error('no memory');
  };
  const next = row(1, [closed, entry(400, 80), entry(400, 81)]);
  assert.throws(() => operations.update(next), /no memory/);
  assert.deepEqual(texts(), ['0:0 9', '400:80 0']);
  map.patch = patch;
  await operations.update(next);
  assert.deepEqual(texts(), ['0:0 9', '400:80 0', '400:81 0']);
  assert.notEqual(number(), first);
});

test('a map from before a restart is replaced: what is in it is not known', async () => {
  const { map, operations, texts } = setup();
  await operations.update(row(1, [closed, entry(666, 80)]));
  const next = policyGroupOperations(map);
  await next.update(row(1, [closed, entry(400, 80)]));
  assert.deepEqual(texts(), ['0:0 9', '400:80 0']);
});
