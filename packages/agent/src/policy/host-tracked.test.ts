import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointFlags } from '@ciliate/abi';
import { addressBytes, defineTables, type EndpointMapRow, parseAddress } from '@ciliate/model';
import { createDatabase, done, pending } from '@ciliate/tables';
import { HostTracked } from './host-tracked.ts';

const none = new Uint8Array(6);

test('begins once, when an entry of the host with a revision is in force', async () => {
  const db = createDatabase();
  const { endpointMapRows } = defineTables(db);
  let calls = 0;
  const tracked = new HostTracked(endpointMapRows, () => {
    calls += 1;
  });
  tracked.start();
  const put = async (flags: number, policyRevision: number, status: EndpointMapRow['status']): Promise<number> => {
    const address = parseAddress('172.30.0.11');
    const value = { ifindex: 0, identity: 1, id: 0, flags, mac: none, nodeMac: none, policyGroup: 1, policyRevision };
    db.write(txn => {
      endpointMapRows.insert(txn, { address, key: { address: addressBytes(address) }, value, status });
    });
    await new Promise(resolve => setImmediate(resolve));
    return calls;
  };
  const host = EndpointFlags.ENDPOINT_HOST;
  assert.equal(await put(0, 4, done(0)), 0, 'a pod');
  assert.equal(await put(host, 0, done(0)), 0, 'before the first policy map');
  assert.equal(await put(host, 4, pending(0)), 0, 'not in the kernel yet');
  assert.equal(await put(host, 4, done(0)), 1);
  assert.equal(await put(host, 5, done(0)), 1, 'once');
});
