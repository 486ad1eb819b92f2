import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { defineTables } from '@ciliate/model';
import { createDatabase } from '@ciliate/tables';
import { ServiceHealthServers } from './service-health.ts';

/** A port that somebody has, until `close`. */
async function takenPort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return { port: address.port, close: () => server.close() };
}

test('a health check port that is taken is told with the service and the port; other services are served', async () => {
  const database = createDatabase();
  const tables = defineTables(database);
  const taken = await takenPort();
  const free = await takenPort();
  free.close();
  const told = Promise.withResolvers<readonly string[]>();
  const servers = new ServiceHealthServers(
    { host: '127.0.0.1' },
    {
      serviceHealth: tables.serviceHealth,
      log: { warn: () => undefined },
      onError: (service, message) => told.resolve([service, message]),
    },
  );
  servers.start();
  try {
    database.write(txn => {
      tables.serviceHealth.insert(txn, { service: 'test/taken', port: taken.port, localEndpoints: 1 });
      tables.serviceHealth.insert(txn, { service: 'test/free', port: free.port, localEndpoints: 2 });
    });
    const [service, message = ''] = await told.promise;
    assert.equal(service, 'test/taken');
    assert.match(message, new RegExp(`test/taken .* port ${taken.port} .*EADDRINUSE.*: free the port on this node`));
    const answer = await fetch(`http://127.0.0.1:${free.port}/`);
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), { service: { namespace: 'test', name: 'free' }, localEndpoints: 2 });
  } finally {
    await servers.stop();
    taken.close();
  }
});
