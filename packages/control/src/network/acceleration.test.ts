import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeviceRow } from '@ciliate/model';
import { accelerationOf } from './acceleration.ts';

const device: DeviceRow = {
  name: 'eth0',
  ifindex: 2,
  mac: '02:00:00:00:00:0a',
  mtu: 1500,
  kind: '',
  up: true,
  addresses: [],
  native: true,
};
const all = { runs: true, transmits: true, transmitsScattered: true };

const cases: readonly [string, Partial<DeviceRow>, 'disabled' | 'native', 'native' | RegExp][] = [
  ['nobody asks', { xdp: all }, 'disabled', /^$/],
  ['a driver that can', { xdp: all }, 'native', 'native'],
  ['hardware of a kernel that does not tell: attaching shows it', {}, 'native', 'native'],
  ['a driver that cannot', { kind: 'ipvlan', xdp: { ...all, runs: false } }, 'native', /driver of eth0 \(ipvlan\)/],
  ['a veth whose peer takes frames', { kind: 'veth', xdp: all }, 'native', 'native'],
  ['a veth whose peer does not', { kind: 'veth', xdp: { ...all, transmits: false } }, 'native', /does not take .* GRO/],
  ['a veth of which nothing is known', { kind: 'veth' }, 'native', /not known .* Linux 6.3/],
  ['a device without Ethernet header', { mac: '', kind: 'wireguard' }, 'native', /no Ethernet header/],
];

for (const [name, more, wanted, expected] of cases) {
  test(`acceleration: ${name}`, () => {
    const { mode, why } = accelerationOf({ ...device, ...more }, wanted);
    assert.equal(mode, expected === 'native' ? 'native' : 'none');
    if (expected !== 'native') assert.match(why, expected);
  });
}
