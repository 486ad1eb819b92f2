import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapSpecs } from '@ciliate/abi';
import { type BpfMap, FakeMap, FakeMapOfMaps } from '@ciliate/kernel';
import type { LbRow, LbWrite } from '@ciliate/model';
import { type LbMaps, maglevCodec } from './lb-maps.ts';
import { lbOperations } from './lb-operations.ts';

const address = (last: number): Uint8Array => Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? last : 0));

/** Frontend `n` with a slot for each of the backends. */
function frontend(n: number, backendIds: readonly number[]): readonly LbWrite[] {
  const key = (backendSlot: number) => ({ address: address(n), dport: 80, backendSlot, proto: 6, scope: 0 });
  const value = { backendId: 0, count: 0, qcount: 0, revNatId: n, flags: 0 };
  return [
    ...backendIds.map((id): LbWrite => {
      return { map: 'lb_backends', key: id, value: { address: address(id), port: 8080, proto: 6, flags: 0 } };
    }),
    { map: 'lb_revnat', key: n, value: { address: address(n), port: 80 } },
    ...backendIds.map((backendId, i): LbWrite => {
      return { map: 'lb_services', key: key(i + 1), value: { ...value, backendId } };
    }),
    { map: 'lb_services', key: key(0), value: { ...value, count: backendIds.length } },
  ];
}

function setup(sizes: { readonly lb_services?: number } = {}) {
  const order: string[] = [];
  const calls: string[] = [];
  const map = <K, V>(spec: ConstructorParameters<typeof FakeMap<K, V>>[0], entry: (key: K) => string): BpfMap<K, V> => {
    const fake = new FakeMap<K, V>(spec);
    const put = fake.put.bind(fake);
    fake.put = (key, value) => {
      put(key, value);
      order.push(entry(key));
    };
    const keys = fake.keys.bind(fake);
    fake.keys = () => {
      calls.push(`keys ${spec.name}`);
      return keys();
    };
    return fake;
  };
  const maps: LbMaps = {
    lb_services: map({ ...mapSpecs.lb_services, maxEntries: sizes.lb_services ?? 100 }, key =>
      key.backendSlot === 0 ? 'master' : 'slot',
    ),
    lb_backends: map(mapSpecs.lb_backends, () => 'backend'),
    lb_revnat: map(mapSpecs.lb_revnat, () => 'revnat'),
    lb_affinity_match: map(mapSpecs.lb_affinity_match, () => 'affinity'),
    lb_source_ranges: map(mapSpecs.lb_source_ranges, () => 'range'),
    lb_dsr: map(mapSpecs.lb_dsr, () => 'dsr'),
    lb_maglev: new FakeMapOfMaps(
      map(mapSpecs.lb_maglev, () => 'maglev'),
      { ...mapSpecs.lb_maglev.inner, value: maglevCodec(4) },
    ),
  };
  const writesOf = new Map<LbRow, readonly LbWrite[]>();
  const rowOf = (key: string, writes: readonly LbWrite[]): LbRow => {
    const what = { serviceId: 0, backendIds: [], backendFlags: [], serves: undefined };
    const row: LbRow = { key, ...what, status: { kind: 'pending', since: 0 } };
    writesOf.set(row, writes);
    return row;
  };
  const operations = lbOperations(maps, row => writesOf.get(row) ?? []);
  return { maps, rowOf, operations, order, calls };
}

test('rows that are new together: no slot before its backend, no master before its slots', async () => {
  const { rowOf, operations, order, maps } = setup();
  const [a, b] = [rowOf('a', frontend(1, [1, 2])), rowOf('b', frontend(2, [2]))];
  assert.deepEqual(await operations.updateBatch?.([a, b]), [undefined, undefined]);
  assert.deepEqual(order, [
    ...['backend', 'backend', 'backend', 'revnat', 'revnat'],
    ...['slot', 'slot', 'slot', 'master', 'master'],
  ]);
  await operations.delete(a);
  assert.deepEqual([...maps.lb_backends.keys()], [2], 'b uses it too');
});

test('a batch that does not fit: those that do are there, the others say why and leave nothing when they go', async () => {
  const { rowOf, operations, maps } = setup({ lb_services: 5 });
  const [a, b] = [rowOf('a', frontend(1, [1, 2])), rowOf('b', frontend(2, [3, 4]))];
  const [errorOfA, errorOfB] = (await operations.updateBatch?.([a, b])) ?? [];
  assert.equal(errorOfA, undefined);
  assert.match(errorOfB?.message ?? '', /lb_services is full/);
  await operations.delete(b);
  assert.equal(maps.lb_services.count(), 3);
  assert.deepEqual([...maps.lb_backends.keys()], [1, 2]);
});

test('rows that were there get their backends together; one that loses an entry goes by itself', async () => {
  const { rowOf, operations, order, maps } = setup();
  await operations.updateBatch?.([
    rowOf('a', frontend(1, [])),
    rowOf('b', frontend(2, [])),
    rowOf('c', frontend(3, [7])),
  ]);
  order.length = 0;
  await operations.updateBatch?.([
    rowOf('a', frontend(1, [1])),
    rowOf('c', frontend(3, [])),
    rowOf('b', frontend(2, [2])),
  ]);
  assert.deepEqual(order, ['backend', 'backend', 'slot', 'slot', 'master', 'master', 'master']);
  assert.deepEqual([...maps.lb_backends.keys()].sort(), [1, 2]);
  assert.equal(maps.lb_services.count(), 5);
});

test('a batch of rows that were there and do not fit: what they have put goes with them', async () => {
  const { rowOf, operations, maps } = setup({ lb_services: 3 });
  await operations.updateBatch?.([rowOf('a', frontend(1, [])), rowOf('b', frontend(2, []))]);
  const [a, b] = [rowOf('a', frontend(1, [1])), rowOf('b', frontend(2, [2]))];
  const errors = (await operations.updateBatch?.([a, b])) ?? [];
  assert.deepEqual(
    errors.map(error => error !== undefined),
    [false, true],
  );
  await operations.delete(b);
  await operations.delete(a);
  assert.deepEqual([maps.lb_services.count(), maps.lb_backends.count(), maps.lb_revnat.count()], [0, 0, 0]);
});

test('only what differs from what the row had is written', async () => {
  const { rowOf, operations, order } = setup();
  let made = 0;
  const maglev = (of: string): LbWrite => {
    const table = () => {
      made += 1;
      return Uint32Array.of(1, 2, 3, 4);
    };
    return { map: 'lb_maglev', key: 1, of, table };
  };
  await operations.update(rowOf('a', [...frontend(1, [1]), maglev('x')]));
  order.length = 0;
  await operations.update(rowOf('a', [...frontend(1, [1]), maglev('x')]));
  assert.deepEqual([order, made], [[], 1], 'the same table is not made again');
  await operations.update(rowOf('a', [...frontend(1, [1, 2]), maglev('y')]));
  assert.deepEqual(order, ['backend', 'slot', 'master', 'maglev']);
});

test('prune walks only maps that have other than what rows have put', async () => {
  const { rowOf, operations, maps, calls } = setup();
  const rows = [rowOf('a', frontend(1, [1])), rowOf('b', frontend(2, [1]))];
  await operations.updateBatch?.(rows);
  await operations.prune?.(rows);
  assert.deepEqual(calls, []);
  maps.lb_backends.put(77, { address: address(7), port: 1, proto: 6, flags: 0 });
  await operations.prune?.(rows);
  assert.deepEqual(calls, ['keys lb_backends']);
  assert.deepEqual([...maps.lb_backends.keys()], [1]);
});
