import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { defineTables, type EndpointRow, parsePrefix, type Tables } from '@ciliate/model';
import type { CniRequest } from '@ciliate/protocol';
import { createDatabase } from '@ciliate/tables';
import { CniFailure } from '../cni/error.ts';
import { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { EndpointDevice, EndpointDevices } from './endpoint-devices.ts';
import { EndpointManager } from './endpoint-manager.ts';
import { EndpointStore } from './endpoint-store.ts';

const quiet: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => quiet,
};

/** Devices in memory; `failing` names the step that throws. */
class FakeDevices implements EndpointDevices {
  readonly present = new Set<string>();
  failing: 'create' | 'wired' | undefined;

  create(spec: { readonly containerId: string }): EndpointDevice {
    if (this.failing === 'create') throw new Error('no device');
    const device = `lxc-${spec.containerId}`;
    this.present.add(device);
    return { device, ifindex: 7, mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02' };
  }

  remove(row: EndpointRow): void {
    this.present.delete(row.device);
  }

  survivors(rows: readonly EndpointRow[]): readonly EndpointRow[] {
    return rows.filter(row => this.check(row));
  }

  check(row: EndpointRow): boolean {
    return this.present.has(row.device);
  }

  cookieOf(netns: string): string {
    return String(netns.length);
  }

  wired(): Promise<void> {
    return this.failing === 'wired' ? Promise.reject(new Error('map is full')) : Promise.resolve();
  }
}

let dir = '';
let devices: FakeDevices;
let tables: Tables;
let ipam: Ipam;

function manager(): EndpointManager {
  const db = createDatabase();
  tables = defineTables(db);
  ipam = new Ipam({ ipv4: true, ipv6: true, serviceCIDRs: [] });
  ipam.setPodCIDRs([parsePrefix('10.244.1.0/24'), parsePrefix('fd00::/64')]);
  return new EndpointManager({
    db,
    endpoints: tables.endpoints,
    ipam,
    devices,
    store: new EndpointStore(dir, quiet),
    log: quiet,
    network: () => ({ routers: [], mtu: 1450 }),
    identify: () => undefined,
  });
}

const request = (containerId: string, more: Partial<CniRequest> = {}): CniRequest => ({
  command: 'ADD',
  network: 'ciliate',
  containerId,
  netns: '/proc/self/ns/net',
  ifname: 'eth0',
  args: { K8S_POD_NAMESPACE: 'default', K8S_POD_NAME: containerId },
  ...more,
});
const code = (expected: number) => (error: unknown) => error instanceof CniFailure && error.code === expected;
const files = (): readonly string[] => readdirSync(join(dir, 'endpoints'));

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ciliate-endpoints-'));
  devices = new FakeDevices();
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('ADD leaves a row and a file; DEL leaves nothing, twice', async () => {
  const endpoints = manager();
  const reply = await endpoints.add(request('a'));
  assert.deepEqual(
    reply.ips.map(ip => ip.address),
    ['10.244.1.1/32', 'fd00::1/128'],
  );
  assert.equal(tables.endpoints.size, 1);
  assert.equal(files().length, 1);
  await endpoints.remove(request('a'));
  await endpoints.remove(request('a'));
  assert.equal(tables.endpoints.size, 0);
  assert.deepEqual(files(), []);
  assert.equal(devices.present.size, 0);
  assert.equal(ipam.status().ipv4.length, 0);
});

test('ADD twice is an error and changes nothing', async () => {
  const endpoints = manager();
  await endpoints.add(request('a'));
  const before = tables.endpoints.all();
  await assert.rejects(endpoints.add(request('a')), code(101));
  assert.deepEqual(tables.endpoints.all(), before);
  assert.equal(ipam.status().ipv4.length, 1);
});

test('two ADDs of one container at once: one wins', async () => {
  const endpoints = manager();
  const results = await Promise.allSettled([endpoints.add(request('a')), endpoints.add(request('a'))]);
  assert.deepEqual(
    results.map(result => result.status),
    ['fulfilled', 'rejected'],
  );
});

for (const failing of ['create', 'wired'] as const) {
  test(`an ADD that fails at '${failing}' leaves nothing`, async () => {
    const endpoints = manager();
    devices.failing = failing;
    await assert.rejects(endpoints.add(request('a')));
    assert.equal(tables.endpoints.size, 0);
    assert.equal(devices.present.size, 0);
    assert.equal(ipam.status().ipv4.length, 0);
    devices.failing = undefined;
    await endpoints.add(request('a'));
  });
}

test('CHECK: unknown container 3, device gone 103, foreign addresses 103', async () => {
  const endpoints = manager();
  await assert.rejects(endpoints.check(request('a')), code(3));
  const reply = await endpoints.add(request('a'));
  await endpoints.check(request('a', { prevResult: { ips: reply.ips } }));
  await assert.rejects(
    endpoints.check(request('a', { prevResult: { ips: [{ address: '192.0.2.1/32' }] } })),
    code(103),
  );
  devices.present.clear();
  await assert.rejects(endpoints.check(request('a')), code(103));
});

test('GC removes what is not valid on this network only', async () => {
  const endpoints = manager();
  for (const id of ['a', 'b']) await endpoints.add(request(id));
  await endpoints.add(request('c', { network: 'other' }));
  const removed = await endpoints.collect(request('', { validAttachments: [{ containerID: 'a', ifname: 'eth0' }] }));
  assert.equal(removed, 1);
  assert.deepEqual(
    tables.endpoints
      .all()
      .map(row => row.containerId)
      .sort(),
    ['a', 'c'],
  );
});

test('a restart adopts what is there and forgets what is gone', async () => {
  const first = manager();
  for (const id of ['a', 'b']) await first.add(request(id));
  devices.present.delete('lxc-b');
  writeFileSync(join(dir, 'endpoints/99.json'), '{ half a');
  const second = manager();
  assert.deepEqual(await second.restore(), { adopted: 1, removed: 1 });
  assert.equal(tables.endpoints.initialized, true);
  assert.equal(second.find('a', 'eth0')?.addresses[0], '10.244.1.1');
  const reply = await second.add(request('c'));
  assert.equal(reply.ips[0]?.address, '10.244.1.2/32');
  assert.ok(files().includes('99.json'));
});
