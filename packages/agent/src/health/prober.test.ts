import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Address, defineTables } from '@ciliate/model';
import { createDatabase } from '@ciliate/tables';
import { Prober, reachable } from './prober.ts';

const freePort = (): Promise<number> =>
  new Promise(resolve => {
    const server = createTcp().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });

test('a node that comes up after the first round is found before the interval is over', async () => {
  const db = createDatabase();
  const { nodes } = defineTables(db);
  const address = '127.0.0.1' as Address;
  db.write(txn =>
    nodes.insert(txn, {
      name: 'a',
      local: true,
      labels: {},
      addresses: [{ type: 'InternalIP', address }],
      podCIDRs: [],
      routerAddresses: [],
      healthAddresses: [address],
    }),
  );
  const port = await freePort();
  const prober = new Prober({ cluster: 'c', node: 'a', port, interval: 3_600_000, timeout: 1000 }, { nodes });
  const server = createServer((_, response) => response.end('{}'));
  try {
    prober.start();
    while (prober.result().nodes.length === 0) await delay(10);
    assert.deepEqual(reachable(prober.result()), { ok: 0, total: 1 });
    assert.match(prober.result().nodes[0]?.host['primary-address'].http.status ?? '', /ECONNREFUSED/);
    await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve));
    const deadline = Date.now() + 60_000;
    while (reachable(prober.result()).ok === 0 && Date.now() < deadline) await delay(50);
    assert.deepEqual(reachable(prober.result()), { ok: 1, total: 1 });
  } finally {
    await prober.stop();
    server.close();
  }
});
