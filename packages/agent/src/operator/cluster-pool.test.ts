import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePrefix } from '@ciliate/model';
import { ClusterPool } from './cluster-pool.ts';

const pool = (cidrs: readonly string[], maskSize: number, services: readonly string[] = []): ClusterPool =>
  new ClusterPool({ cidrs: cidrs.map(parsePrefix), maskSize }, services.map(parsePrefix));

test('parts in order, those in use are left out, freed ones come again', () => {
  const pods = pool(['10.0.0.0/22'], 24);
  pods.adopt('b', parsePrefix('10.0.1.0/24'));
  assert.equal(pods.allocate('a'), '10.0.0.0/24');
  assert.equal(pods.allocate('c'), '10.0.2.0/24');
  assert.equal(pods.allocate('d'), '10.0.3.0/24');
  assert.throws(() => pods.allocate('e'), /10\.0\.0\.0\/22 \(4 of 4 in use\)/);
  pods.release('b');
  assert.equal(pods.allocate('e'), '10.0.1.0/24');
});

test('a larger CIDR of a node covers several parts', () => {
  const pods = pool(['10.0.0.0/22'], 24);
  pods.adopt('b', parsePrefix('10.0.0.0/23'));
  assert.equal(pods.allocate('a'), '10.0.2.0/24');
});

test('conflicts are told', () => {
  const pods = pool(['10.0.0.0/22'], 24);
  assert.equal(pods.adopt('a', parsePrefix('10.0.0.0/24')), undefined);
  assert.equal(pods.adopt('a', parsePrefix('10.0.0.0/24')), undefined);
  assert.equal(pods.adopt('b', parsePrefix('10.0.0.0/24')), 'a');
});

test('the next pool is used when one is full, IPv6 too', () => {
  const pods = pool(['fd00::/64', 'fd01::/63'], 64);
  assert.deepEqual(
    [pods.allocate('a'), pods.allocate('b'), pods.allocate('c')],
    ['fd00::/64', 'fd01::/64', 'fd01:0:0:1::/64'],
  );
});

test('pools that overlap services or are too small are refused', () => {
  assert.throws(() => pool(['10.0.0.0/8'], 24, ['10.96.0.0/16']), /overlaps the service CIDR 10\.96\.0\.0\/16/);
  assert.throws(() => pool(['10.0.0.0/25'], 24), /smaller than one node's \/24/);
});
