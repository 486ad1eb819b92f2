import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Peer, parsePrefix, term } from '@ciliate/model';
import * as fc from 'fast-check';
import { noPeerContext, type PeerContext, type PeerIdentity, selectsPeer } from './peers.ts';
import { peerKey, SelectorCache } from './selector-cache.ts';

const keys = ['k8s:app', 'k8s:tier', 'reserved:host'];
const values = ['a', 'b', ''];
const labels = fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values));
const prefixes = [
  ...['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.128.0/17', '10.1.2.3/32', '192.0.2.0/25'],
  ...['::/0', 'fd00::/8', 'fd00:1::/61', 'fd00:1::7/128'],
].map(parsePrefix);
const prefix = fc.constantFrom(...prefixes);
const excepts = fc.subarray(prefixes, { maxLength: 2 });
const identity: fc.Arbitrary<PeerIdentity> = fc
  .record({
    id: fc.integer({ min: 1, max: 6 }),
    labels,
    prefix: fc.option(prefix, { nil: undefined }),
    isClass: fc.boolean(),
  })
  .map(({ isClass, ...one }) => ({
    ...one,
    kind: one.prefix === undefined ? 'labels' : isClass ? 'class' : 'cidr',
    namedPorts: new Map(),
  }));
const terms = fc.array(
  fc
    .tuple(
      fc.constantFrom('app', 'k8s:app', 'tier', 'reserved:host'),
      fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist'),
      fc.subarray(values, { minLength: 1 }),
    )
    .map(([key, operator, some]) => term(key, operator, operator === 'In' || operator === 'NotIn' ? some : [])),
  { maxLength: 3 },
);
const peer: fc.Arbitrary<Peer> = fc.oneof(
  fc.constant<Peer>({ kind: 'everybody' }),
  terms.map((all): Peer => ({ kind: 'labels', terms: all })),
  fc.tuple(prefix, excepts, fc.boolean()).map(([cidr, except, pods]): Peer => ({ kind: 'cidr', cidr, except, pods })),
  fc
    .tuple(fc.constantFrom('x', 'y'), excepts)
    .map(([name, except]): Peer => ({ kind: 'cidr-group', group: { name }, except })),
);
const context: fc.Arbitrary<PeerContext> = fc.tuple(fc.subarray(prefixes), fc.subarray(prefixes)).map(([x, y]) => ({
  ...noPeerContext,
  cidrGroups: [
    { name: 'x', labels: {}, cidrs: x },
    { name: 'y', labels: {}, cidrs: y },
  ],
}));
const step = fc.oneof(
  identity.map(one => ({ kind: 'put', one }) as const),
  fc.integer({ min: 1, max: 6 }).map(id => ({ kind: 'remove', id }) as const),
  peer.map(one => ({ kind: 'select', one }) as const),
  peer.map(one => ({ kind: 'forget', one }) as const),
  context.map(one => ({ kind: 'context', one }) as const),
);

const ids = (all: Iterable<PeerIdentity>): readonly number[] =>
  Array.from(all, ({ id }) => id).toSorted((a, b) => a - b);

test('whatever comes and goes in whatever order, a peer selects whom it would select alone', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: 'max' }), steps => {
      const cache = new SelectorCache(noPeerContext);
      const identities = new Map<number, PeerIdentity>();
      const peers = new Map<string, Peer>();
      let now = noPeerContext;
      for (const one of steps) {
        if (one.kind === 'put') {
          identities.set(one.one.id, one.one);
          cache.put(one.one);
        } else if (one.kind === 'remove') {
          identities.delete(one.id);
          cache.remove(one.id);
        } else if (one.kind === 'select') {
          peers.set(peerKey(one.one), one.one);
          cache.select(peerKey(one.one), one.one);
        } else if (one.kind === 'forget') {
          peers.delete(peerKey(one.one));
          cache.forget([peerKey(one.one)]);
        } else {
          now = one.one;
          cache.setContext(now, ['cidr-group']);
        }
        assert.equal(cache.selectors, peers.size);
        for (const [key, wanted] of peers) {
          const all = [...identities.values()].filter(candidate => selectsPeer(wanted, candidate, now));
          assert.deepEqual(ids(cache.select(key, wanted)), ids(all), key);
        }
      }
    }),
    { numRuns: 1000 * Number(process.env.FUZZ ?? 1) },
  );
});

test('a selection is told when who is in it comes, changes or goes', () => {
  const cache = new SelectorCache(noPeerContext);
  const app: Peer = { kind: 'labels', terms: [term('app', 'In', ['a'])] };
  const key = peerKey(app);
  cache.select(key, app);
  const one = (value: string): PeerIdentity => ({
    id: 7,
    labels: { 'k8s:app': value },
    prefix: undefined,
    kind: 'labels',
    namedPorts: new Map(),
  });
  assert.deepEqual(cache.put(one('b')), []);
  assert.deepEqual(cache.put(one('a')), [key]);
  assert.deepEqual(cache.put(one('a')), [key], 'its named ports may be others');
  assert.deepEqual(cache.put(one('b')), [key]);
  assert.deepEqual(cache.remove(7), []);
});

/** Every look at an identity's block is counted. */
function looks(blocks: number): number {
  let count = 0;
  const cache = new SelectorCache(noPeerContext);
  const block = (n: number) => parsePrefix(`198.18.${n >> 8}.${n & 255}/32`);
  for (let n = 0; n < blocks; n += 1) {
    const peerOf: Peer = { kind: 'cidr', cidr: block(n), except: [], pods: true };
    cache.select(peerKey(peerOf), peerOf);
  }
  for (let n = 0; n < blocks; n += 1) {
    cache.put({
      id: n + 1,
      labels: {},
      get prefix() {
        count += 1;
        return block(n);
      },
      kind: 'class',
      namedPorts: new Map(),
    });
  }
  return count;
}

test('ten times the blocks is ten times the work', () => {
  const [few, many] = [looks(100), looks(1000)];
  assert.ok(many <= few * 11, `${few} looks for 100 blocks, ${many} for 1000`);
});
