import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress, parsePrefix } from '@ciliate/model';
import { CniErrorCode } from '@ciliate/protocol';
import { CniFailure } from '../cni/error.ts';
import { Ipam, IpamError } from './ipam.ts';

const dual = { ipv4: true, ipv6: true, serviceCIDRs: ['10.96.0.0/16'] };
const cidrs = (...texts: readonly string[]) => texts.map(parsePrefix);

test('one address of each family, router and health first', () => {
  const ipam = new Ipam(dual);
  ipam.setPodCIDRs(cidrs('10.244.1.0/24', 'fd00:1::/64'));
  assert.deepEqual(ipam.reserveFixed(0, 'router'), ['10.244.1.1', 'fd00:1::1']);
  assert.deepEqual(ipam.reserveFixed(1, 'health'), ['10.244.1.2', 'fd00:1::2']);
  assert.deepEqual(ipam.allocate('a/b'), ['10.244.1.3', 'fd00:1::3']);
});

test('a freed address is not the next one handed out', () => {
  const ipam = new Ipam(dual);
  ipam.setPodCIDRs(cidrs('10.244.1.0/24'));
  const [first] = ipam.allocate('a/1');
  ipam.release(first as Address);
  assert.notEqual(ipam.allocate('a/2')[0], first);
});

test('exhaustion names the pool and its numbers, and gives back the other family', () => {
  const ipam = new Ipam(dual);
  ipam.setPodCIDRs(cidrs('10.244.1.0/29', 'fd00:1::/64'));
  for (let count = 0; count < 6; count++) ipam.allocate(`a/${count}`);
  assert.throws(
    () => ipam.allocate('a/7'),
    (error: unknown) =>
      error instanceof CniFailure &&
      error.code === CniErrorCode.poolExhausted &&
      /10\.244\.1\.0\/29: 6 of 6/.test(error.message),
  );
  assert.equal(ipam.status().pools.find(pool => pool.family === 'IPv6')?.allocated, 6);
  ipam.release(parseAddress('10.244.1.4'));
  assert.equal(ipam.allocate('a/8')[0], '10.244.1.4');
});

test('without any pod CIDR the runtime shall try again', () => {
  assert.throws(
    () => new Ipam(dual).allocate('a/b'),
    (error: unknown) => error instanceof CniFailure && error.code === CniErrorCode.tryAgainLater,
  );
});

test('a pod CIDR that overlaps the services is refused, the others stay', () => {
  const ipam = new Ipam(dual);
  assert.throws(
    () => ipam.setPodCIDRs(cidrs('10.96.4.0/24')),
    (error: unknown) =>
      error instanceof IpamError &&
      error.code === 'POD_CIDR_OVERLAPS_SERVICES' &&
      /10\.96\.0\.0\/16/.test(error.message),
  );
  assert.deepEqual(ipam.podCIDRs, []);
});

test('a CIDR too small for router, health and a pod is refused', () => {
  assert.throws(() => new Ipam(dual).setPodCIDRs(cidrs('10.244.1.0/30')), /too small/);
});

test('a CIDR that is taken away gives nothing new; what is in use of it stays until it is released', () => {
  const ipam = new Ipam(dual);
  ipam.setPodCIDRs(cidrs('10.244.1.0/24'));
  const [old] = ipam.allocate('a/1');
  ipam.setPodCIDRs(cidrs('10.244.7.0/24'));
  assert.deepEqual(ipam.withdrawn, ['10.244.1.0/24']);
  assert.deepEqual(ipam.podCIDRs, ['10.244.7.0/24', '10.244.1.0/24']);
  assert.deepEqual(ipam.allocate('a/2'), ['10.244.7.3'], 'not the places of router and health');
  ipam.setPodCIDRs([]);
  assert.deepEqual(ipam.podCIDRs, ['10.244.7.0/24', '10.244.1.0/24'], 'no CIDR at all changes nothing');
  ipam.release(old as Address);
  assert.deepEqual([ipam.withdrawn, ipam.podCIDRs], [[], ['10.244.7.0/24']]);
});

test('the same CIDRs again change nothing', () => {
  const ipam = new Ipam(dual);
  ipam.setPodCIDRs(cidrs('10.244.1.0/29', '10.244.2.0/24'));
  ipam.reserveFixed(0, 'router');
  ipam.setPodCIDRs(cidrs('10.244.1.0/29', '10.244.2.0/24'));
  const given = Array.from({ length: 6 }, (_, i) => ipam.allocate(`a/${i}`)[0]);
  assert.equal(given.at(-1), '10.244.2.1');
  assert.deepEqual(
    ipam.status().pools.map(pool => pool.allocated),
    [6, 1],
  );
});

test('a CIDR that comes back knows what is in use of it; an unused one is forgotten at once', () => {
  const ipam = new Ipam(dual);
  ipam.setPodCIDRs(cidrs('10.244.1.0/24', 'fd00:1::/64'));
  ipam.restore(parseAddress('10.244.1.1'), 'a/1');
  ipam.setPodCIDRs(cidrs('10.244.7.0/24'));
  assert.deepEqual(ipam.withdrawn, ['10.244.1.0/24']);
  ipam.setPodCIDRs(cidrs('10.244.1.0/24'));
  assert.deepEqual([ipam.withdrawn, ipam.podCIDRs], [[], ['10.244.1.0/24']]);
  assert.deepEqual(ipam.allocate('a/2'), ['10.244.1.3']);
});

test('restored addresses are taken; those of no pool are told', () => {
  const ipam = new Ipam(dual);
  ipam.setPodCIDRs(cidrs('10.244.1.0/24'));
  assert.equal(ipam.restore(parseAddress('10.244.1.9'), 'a/b'), true);
  assert.equal(ipam.restore(parseAddress('10.250.1.9'), 'a/b'), false);
  assert.equal(ipam.allocate('a/c')[0], '10.244.1.10');
});
