import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EndpointFlags, PolicyFlags } from '@ciliate/abi';
import {
  addressBytes,
  type EndpointMapRow,
  PolicyContent,
  type PolicyGroupRow,
  type PolicyMapEntry,
  parseAddress,
} from '@ciliate/model';
import { pending } from '@ciliate/tables';
import { verifyEndpoint, verifyGroup } from './verify.ts';

function entry(identity: number, ruleId: number, flags = 0): PolicyMapEntry {
  const key = { prefixlen: 40, identity, direction: 0, proto: 0, dport: 0 };
  return [key, { ruleId, proxyPort: 0, flags, packets: 0n, bytes: 0n }];
}

function group(entries: readonly PolicyMapEntry[], ingress = true): PolicyGroupRow {
  const about = { id: 7, identity: 300, host: false, revision: 1, usesClasses: false, egress: false };
  return { ...about, ingress, rules: 1, content: PolicyContent.ofEntries(entries), status: pending(0) };
}

const { POLICY_DENY, POLICY_DEFAULT } = PolicyFlags;
const wanted = [entry(300, 1), entry(0, 2, POLICY_DENY | POLICY_DEFAULT)];

describe('verifyGroup', () => {
  test('equal maps have no difference, whatever order and counters', () => {
    const counted = wanted.map(([key, value]): PolicyMapEntry => [key, { ...value, packets: 5n }]);
    assert.deepEqual(verifyGroup(group(wanted), counted.toReversed()), []);
  });

  test('a missing, an extra and a different entry are named with their keys', () => {
    const loaded = [entry(300, 3), entry(301, 1)];
    const found = verifyGroup(group(wanted), loaded).map(({ what, key, wanted: w, found: f }) => [what, key, w, f]);
    assert.deepEqual(found, [
      ['missing', '0/0/0/0/40', 'rule 2 deny default', ''],
      ['different', '300/0/0/0/40', 'rule 1', 'rule 3'],
      ['extra', '301/0/0/0/40', '', 'rule 1'],
    ]);
  });

  test('a map that is gone misses every entry', () => {
    assert.equal(verifyGroup(group(wanted), undefined).length, 2);
  });

  test('a group that judges nothing needs no map, and may have an open one', () => {
    assert.deepEqual(verifyGroup(group([], false), undefined), []);
    assert.deepEqual(verifyGroup(group([], false), [entry(0, 0, POLICY_DEFAULT)]), []);
    assert.equal(verifyGroup(group([], false), wanted).length, 1);
  });
});

test('verifyEndpoint finds another group, revision or direction', () => {
  const { ENDPOINT_POLICY_INGRESS } = EndpointFlags;
  const address = parseAddress('10.244.1.5');
  const mac = new Uint8Array(6);
  const value = {
    ...{ ifindex: 1, identity: 300, id: 5, mac, nodeMac: mac },
    ...{ flags: ENDPOINT_POLICY_INGRESS, policyGroup: 7, policyRevision: 3 },
  };
  const row: EndpointMapRow = { address, key: { address: addressBytes(address) }, value, status: pending(0) };
  assert.deepEqual(verifyEndpoint(row, value), []);
  const [difference] = verifyEndpoint(row, { ...value, flags: 0, policyRevision: 2 });
  assert.equal(difference?.wanted, 'group 7 revision 3 ingress');
  assert.equal(difference?.found, 'group 7 revision 2');
  assert.equal(verifyEndpoint(row, undefined)[0]?.what, 'missing');
});
