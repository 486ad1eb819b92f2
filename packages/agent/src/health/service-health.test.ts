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
      onProblem: (_key, problem) => {
        if (problem !== undefined) told.resolve([problem.service, problem.message]);
      },
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

test('of two services with one port one has it, the other is told, and has it when the first goes', async () => {
  const database = createDatabase();
  const tables = defineTables(database);
  const free = await takenPort();
  free.close();
  const lines: string[] = [];
  const servers = new ServiceHealthServers(
    { host: '127.0.0.1' },
    {
      serviceHealth: tables.serviceHealth,
      onProblem: (_key, problem) => lines.push(problem?.message ?? 'over'),
    },
  );
  servers.start();
  const whose = async () => {
    const answer = (await (await fetch(`http://127.0.0.1:${free.port}/`)).json()) as { service: { name: string } };
    return answer.service.name;
  };
  try {
    const row = (service: string) => ({ service, port: free.port, localEndpoints: 1 });
    database.write(txn => {
      tables.serviceHealth.insert(txn, row('test/b'));
      tables.serviceHealth.insert(txn, row('test/a'));
    });
    const message = `the health of test/b cannot be served on port ${free.port} (test/a has it): give one of them another one`;
    assert.deepEqual(lines, [message]);
    assert.equal(await whose(), 'a');
    database.write(txn => tables.serviceHealth.insert(txn, { ...row('test/b'), localEndpoints: 2 }));
    assert.deepEqual(lines, [message]);
    database.write(txn => tables.serviceHealth.delete(txn, 'test/a'));
    assert.deepEqual(lines, [message, 'over']);
    assert.equal(await whose(), 'b');
  } finally {
    await servers.stop();
  }
});
