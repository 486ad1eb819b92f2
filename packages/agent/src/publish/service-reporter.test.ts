import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defineTables,
  type LbRow,
  localRedirectFromK8s,
  type ServiceConflictRow,
  serviceFromK8s,
} from '@ciliate/model';
import { createDatabase, pending, refused } from '@ciliate/tables';
import { ServiceReporter } from './service-reporter.ts';

const conflict: ServiceConflictRow = {
  service: 'test/new',
  holder: 'test/old',
  frontend: '203.0.113.5:80/TCP',
  type: 'ExternalIPs',
  message: 'test/new does not get 203.0.113.5:80/TCP',
};

function start(post: () => Promise<void> = () => Promise.resolve()) {
  const database = createDatabase();
  const tables = defineTables(database);
  const lines: string[] = [];
  const events: string[] = [];
  const line = (message: string, data: object = {}) =>
    void lines.push(`${message}: ${new Map(Object.entries(data)).get('message')}`);
  const parsed = serviceFromK8s({ metadata: { namespace: 'test', name: 'new', uid: 'u' }, spec: {} });
  assert.ok('row' in parsed);
  const { row } = parsed;
  database.write(txn => tables.services.insert(txn, row));
  const reporter = new ServiceReporter({
    ...tables,
    forwarding: { mode: 'snat', byAnnotation: false },
    writers: {
      postEvent: ({ kind, namespace, name, uid }, event) => {
        assert.match(event.name, new RegExp(`^${name}\\.[0-9a-f]{12}$`));
        events.push(`${kind} ${namespace}/${name} ${uid} ${event.reason} ${event.message}`);
        return post();
      },
    },
    log: { info: line, warn: line, debug: line },
  });
  reporter.start();
  return { database, tables, lines, events, reporter };
}

function lbRow(key: string, status: LbRow['status']): LbRow {
  return { key, serviceId: 0, backendIds: [], backendFlags: [], serves: undefined, status };
}

test('a conflict is told once, with an event of the service; so is its end', () => {
  const { database, tables, lines, events, reporter } = start();
  database.write(txn => tables.serviceConflicts.insert(txn, conflict));
  database.write(txn => tables.serviceConflicts.insert(txn, { ...conflict, type: 'LoadBalancer' }));
  assert.deepEqual(lines, [`service is not served as asked: ${conflict.message}`]);
  assert.deepEqual(events, [`Service test/new u AddressInUse ${conflict.message}`]);
  database.write(txn => tables.serviceConflicts.delete(txn, tables.serviceConflicts.spec.key(conflict)));
  assert.deepEqual(lines.slice(1), [`service recovered: ${conflict.message}`]);
  reporter.stop();
});

test('what others know of a service is told like the rest', () => {
  const { lines, events, reporter } = start();
  const problem = { service: 'test/new', reason: 'HealthPortInUse', message: 'taken' } as const;
  reporter.report('health 1', problem);
  reporter.report('health 1', problem);
  assert.deepEqual(events, ['Service test/new u HealthPortInUse taken']);
  reporter.report('health 1', undefined);
  assert.deepEqual(lines, ['service is not served as asked: taken', 'service recovered: taken']);
  reporter.stop();
});

test('a redirect that another one keeps out is told once for all its ports, with an event of its own', () => {
  const { database, tables, lines, events, reporter } = start();
  const parsed = localRedirectFromK8s({
    metadata: { namespace: 'test', name: 'late', uid: 'r' },
    spec: {
      redirectFrontend: { serviceMatcher: { serviceName: 'new', namespace: 'test' } },
      redirectBackend: { localEndpointSelector: {}, toPorts: [{ port: '53', protocol: 'UDP' }] },
    },
  });
  assert.ok('row' in parsed);
  const message = 'test/late:local-redirect does not redirect test/new';
  database.write(txn => {
    tables.localRedirects.insert(txn, parsed.row);
    for (const frontend of ['10.96.0.1:53/UDP', '[fd00::1]:53/UDP']) {
      tables.serviceConflicts.insert(txn, { ...conflict, service: 'test/late:local-redirect', frontend, message });
    }
  });
  assert.deepEqual(lines, [`service is not served as asked: ${message}`]);
  assert.deepEqual(events, [`CiliumLocalRedirectPolicy test/late r AddressInUse ${message}`]);
  reporter.stop();
});

test('a service that does not fit is told once for all its addresses; what the kernel refuses is told by others', () => {
  const { database, tables, lines, events, reporter } = start();
  const keys = ['10.96.0.1:80/TCP', '[fd00::1]:80/TCP'];
  database.write(txn => {
    for (const key of keys) tables.lbRows.insert(txn, lbRow(key, refused(0, 'test/new does not fit')));
    tables.lbRows.insert(txn, lbRow('10.96.0.9:80/TCP', { kind: 'error', since: 0, error: 'EPERM', attempts: 1 }));
  });
  assert.deepEqual(lines, ['service is not served as asked: test/new does not fit']);
  // Without a frontend nobody knows whose it is: no event.
  assert.deepEqual(events, []);
  database.write(txn => {
    for (const key of keys) tables.lbRows.insert(txn, lbRow(key, pending(1)));
  });
  assert.deepEqual(lines.slice(1), ['service recovered: test/new does not fit']);
  reporter.stop();
});

test('an annotation that no option allows is told, until it is gone', () => {
  const { database, tables, lines, events, reporter } = start();
  const [row] = tables.services.all();
  assert.ok(row !== undefined);
  database.write(txn => tables.services.insert(txn, { ...row, forwardingMode: 'dsr' }));
  assert.match(lines[0] ?? '', /forwarding-mode: dsr is left out, and snat used.*--bpf-lb-mode-annotation/);
  assert.match(events[0] ?? '', /^Service test\/new u ForwardingModeIgnored service.cilium.io/);
  database.write(txn => tables.services.insert(txn, row));
  assert.match(lines[1] ?? '', /^service recovered/);
  assert.equal(events.length, 1);
  reporter.stop();
});

test('an event that cannot be written disturbs nothing', async () => {
  const { database, tables, lines, reporter } = start(() => Promise.reject(new Error('no API server')));
  database.write(txn => tables.serviceConflicts.insert(txn, conflict));
  await new Promise(resolve => setImmediate(resolve));
  assert.deepEqual(
    lines.map(text => text.split(':')[0]),
    ['service is not served as asked', 'event not written'],
  );
  reporter.stop();
});
