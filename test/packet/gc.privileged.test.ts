/** Garbage collection by the programs themselves: what they count, delete and leave, on maps filled by hand. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';
import { type CtKey, decodeGcArgs, encodeGcArgs, mapSpecs, type NatKey } from '@ciliate/abi';
import { KernelMap, type LoadedObject, loadObject, testRun } from '@ciliate/kernel';
import { addressBytes, parseAddress } from '@ciliate/model';
import { privileged } from '../lib/privileged.ts';
import { objectPath } from './sock-node.ts';

const many = 100_000;
const addresses = {
  4: ['10.0.0.1', '192.0.2.1', '172.30.0.11'],
  6: ['fd00::1', '2001:db8::1', 'fd00:30::11'],
} as const;

/** Seconds of bpf_ktime_get_ns: since boot, without suspend. Programs read the clock later, never earlier. */
const now = (): number => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));

const bytes = (text: string): Uint8Array => addressBytes(parseAddress(text));

function ctKey(index: number, family: 4 | 6): CtKey {
  const [pod, peer] = addresses[family];
  const ports = { sport: index & 0xffff, dport: index >>> 16 };
  return { saddr: bytes(pod), daddr: bytes(peer), ...ports, proto: 6, direction: 0 };
}

function ctValue(expires: number) {
  const counters = { packets: 1n, bytes: 60n, expires, backendId: 0, peerIdentity: 0, revNatId: 0, flags: 0 };
  return { ...counters, ifindex: 0, policyRevision: 0 };
}

/** The two halves of one translation: pod:sport → peer:443 leaves as node:20000+sport. */
function natPair(sport: number, family: 4 | 6): { readonly egress: NatKey; readonly ingress: NatKey } {
  const [pod, peer, node] = addresses[family];
  return {
    egress: { saddr: bytes(pod), daddr: bytes(peer), sport, dport: 443, proto: 17, direction: 0 },
    ingress: { saddr: bytes(peer), daddr: bytes(node), sport: 443, dport: 20_000 + sport, proto: 17, direction: 1 },
  };
}

suite('garbage collection in the kernel', privileged('bpf'), () => {
  let object: LoadedObject;

  before(() => {
    object = loadObject({ path: objectPath('gc.bpf.o'), maxEntries: { ct: 4 * many, nat: 4096 } });
  });
  after(() => object?.close());

  const fd = (name: string): number => {
    const found = object.maps.get(name);
    assert.ok(found !== undefined, name);
    return found;
  };
  const ct = () => new KernelMap(fd('ct'), mapSpecs.ct);
  const nat = () => new KernelMap(fd('nat'), mapSpecs.nat);
  const run = (name: string) => {
    const program = object.programs.get(name);
    assert.ok(program !== undefined, name);
    return decodeGcArgs(testRun(program.fd, { context: encodeGcArgs({ alive: 0, deleted: 0 }) }).context);
  };
  const putNat = (key: NatKey, to: string, toPort: number, expires: number): void =>
    nat().put(key, { toAddress: bytes(to), toPort, expires, created: 0, flags: 0, revNatId: 0 });
  const putPair = (sport: number, family: 4 | 6, egress: number, ingress: number): void => {
    const [pod, , node] = addresses[family];
    const pair = natPair(sport, family);
    putNat(pair.egress, node, 20_000 + sport, egress);
    putNat(pair.ingress, pod, sport, ingress);
  };

  beforeEach(() => {
    ct().removeBatch([...ct().keys()]);
    nat().removeBatch([...nat().keys()]);
  });

  test('an empty map counts nothing', () => {
    assert.deepEqual(run('ct_gc'), { alive: 0, deleted: 0 });
    assert.deepEqual(run('nat_gc'), { alive: 0, deleted: 0 });
  });

  test('expired conntrack entries go, the others stay, in both families', () => {
    const future = now() + 3600;
    for (const family of [4, 6] as const) {
      for (let index = 0; index < 100; index++) ct().put(ctKey(index, family), ctValue(index % 2 === 0 ? 1 : future));
    }
    assert.deepEqual(run('ct_gc'), { alive: 100, deleted: 100 });
    const left = [...ct().entries()];
    assert.equal(left.length, 100);
    assert.ok(left.every(([key, value]) => key.sport % 2 === 1 && value.expires === future));
    assert.deepEqual(run('ct_gc'), { alive: 100, deleted: 0 });
  });

  test(`one pass clears ${many} entries`, () => {
    const dead = Array.from({ length: many }, (_, index) => [ctKey(index, 4), ctValue(1)] as const);
    ct().putBatch(dead);
    const before = ct().count();
    const started = performance.now();
    const result = run('ct_gc');
    process.stdout.write(`ct_gc: ${before} entries in ${(performance.now() - started).toFixed(1)} ms\n`);
    assert.deepEqual(result, { alive: 0, deleted: before });
    assert.equal(ct().count(), 0);
  });

  for (const family of [4, 6] as const) {
    test(`IPv${family}: a translation of which both halves expired goes`, () => {
      putPair(1000, family, 1, 1);
      assert.deepEqual(run('nat_gc'), { alive: 0, deleted: 2 });
      assert.equal(nat().count(), 0);
    });
    test(`IPv${family}: one half that lives keeps the other`, () => {
      putPair(1001, family, 1, now() + 3600);
      putPair(1002, family, now() + 3600, 1);
      assert.deepEqual(run('nat_gc'), { alive: 4, deleted: 0 });
      assert.equal(nat().count(), 4);
    });
    test(`IPv${family}: an expired half without the other goes`, () => {
      const [pod, , node] = addresses[family];
      putNat(natPair(1003, family).egress, node, 21_003, 1);
      putNat(natPair(1004, family).ingress, pod, 1004, 1);
      assert.deepEqual(run('nat_gc'), { alive: 0, deleted: 2 });
    });
    test(`IPv${family}: a living half of another translation keeps nothing`, () => {
      const [pod, , node] = addresses[family];
      putNat(natPair(1005, family).egress, node, 21_005, 1);
      putNat(natPair(1006, family).ingress, pod, 1006, now() + 3600);
      assert.deepEqual(run('nat_gc'), { alive: 1, deleted: 1 });
    });
  }

  test('the clock of the programs is the one that the tests use', () => {
    ct().put(ctKey(1, 4), ctValue(now() - 2));
    ct().put(ctKey(2, 4), ctValue(now() + 60));
    assert.deepEqual(run('ct_gc'), { alive: 1, deleted: 1 });
  });
});
