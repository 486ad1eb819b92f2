/** Inner maps of policy in the kernel: replaced as a whole, changed in place, read in batches. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { mapSpecs, type PolicyEntry, type PolicyKey } from '../../packages/abi/src/index.ts';
import { KernelMapOfMaps, loadObject } from '../../packages/kernel/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { fullConfig, objectPath } from './config.ts';

type Entry = readonly [PolicyKey, PolicyEntry];
const entry = (identity: number, dport: number, ruleId = 1): Entry => [
  { prefixlen: 64, identity, direction: 0, proto: 6, dport },
  { ruleId, proxyPort: 0, flags: 0, packets: 0n, bytes: 0n },
];
const texts = (entries: readonly Entry[] | undefined) =>
  (entries ?? []).map(([key, { ruleId }]) => `${key.identity}:${key.dport} ${ruleId}`).toSorted();

describe('policy maps', privileged('bpf'), () => {
  test('a map is replaced, grows in place, and is read whole', () => {
    const object = loadObject({
      path: objectPath('host.bpf.o'),
      rodata: fullConfig(),
    });
    const policy = new KernelMapOfMaps(object.maps.get('policy') ?? -1, mapSpecs.policy, mapSpecs.policy.inner);
    assert.equal(policy.patch(7, [entry(300, 80)], []), false, 'there is no map');
    const many = Array.from({ length: 9000 }, (_, i) => entry(1000 + (i >> 2), 80 + (i & 3)));
    policy.replace(7, many);
    assert.deepEqual(texts(policy.read(7)), texts(many), 'more than a batch');
    assert.equal(policy.patch(7, [entry(300, 80), entry(1000, 80, 2)], [entry(1000, 81)[0], entry(9999, 1)[0]]), true);
    const wanted = [...many.filter(([key]) => key.identity !== 1000), entry(300, 80), entry(1000, 80, 2)];
    assert.deepEqual(texts(policy.read(7)), texts([...wanted, entry(1000, 82), entry(1000, 83)]));
    policy.replace(8, []);
    assert.deepEqual(policy.read(8), []);
    assert.equal(policy.patch(8, [entry(300, 80)], []), true, 'an empty map grows');
    assert.deepEqual(texts(policy.read(8)), ['300:80 1']);
    const tooMany = Array.from({ length: mapSpecs.policy.inner.maxEntries + 1 }, (_, i) => entry(i, 80));
    assert.throws(() => policy.replace(8, tooMany), /policy is full/);
    assert.deepEqual(texts(policy.read(8)), ['300:80 1'], 'nothing has changed');
    policy.close();
    object.close();
  });
});
