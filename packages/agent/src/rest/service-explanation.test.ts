import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nothingRestored, registerControllers } from '@ciliate/control';
import {
  defineTables,
  endpointSliceFromK8s,
  nodeConfigDefaults,
  nodeFromK8s,
  type Parsed,
  serviceFromK8s,
} from '@ciliate/model';
import { createDatabase, FakeClock } from '@ciliate/tables';
import { explainService, servicesNamed } from './service-explanation.ts';

function rowOf<Row>(parsed: Parsed<Row>): Row {
  assert.ok('row' in parsed, JSON.stringify(parsed));
  return parsed.row;
}

interface EndpointObject {
  readonly addresses: readonly string[];
  readonly nodeName?: string;
  readonly conditions?: object;
  readonly hints?: object;
}

/** One service `web` in `shop` with these endpoints, on node `here`, compiled. */
const about = { nodeName: 'here', forwarding: { mode: 'snat', byAnnotation: false } } as const;

async function world(spec: object, endpoints: readonly EndpointObject[], portName = 'http') {
  const database = createDatabase();
  const tables = defineTables(database);
  const clock = new FakeClock();
  const config = { ...nodeConfigDefaults, nodeName: 'here' };
  for (const controller of registerControllers(tables, config, { database, clock }, nothingRestored))
    controller.start();
  const ports = [{ name: 'http', port: 80, nodePort: 30080 }];
  const metadata = { namespace: 'shop', name: 'web' };
  const node = {
    metadata: { name: 'here' },
    status: { addresses: [{ type: 'InternalIP', address: '172.30.0.11' }] },
  };
  const slice = {
    metadata: { namespace: 'shop', name: 'web-x', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ name: portName, port: 8080 }],
    endpoints,
  };
  database.write(txn => {
    tables.nodes.insert(txn, rowOf(nodeFromK8s(node, 'here')));
    tables.services.insert(txn, rowOf(serviceFromK8s({ metadata, spec: { clusterIP: '10.96.0.1', ports, ...spec } })));
    if (endpoints.length > 0) tables.endpointSlices.insert(txn, rowOf(endpointSliceFromK8s(slice)));
  });
  await clock.advance(100);
  const explained = explainService('shop/web', tables, about);
  assert.ok(explained !== undefined);
  const reasons = Object.fromEntries(explained.endpoints.map(({ endpoint, reasons: why }) => [endpoint, why.join()]));
  return { tables, explained, reasons };
}

test('each endpoint that gets nothing says the first thing that keeps it away', async () => {
  const { explained, reasons } = await world({}, [
    { addresses: ['10.0.0.1'] },
    { addresses: ['10.0.0.2'], conditions: { ready: false } },
    { addresses: ['10.0.0.3'], conditions: { ready: false, serving: true, terminating: true } },
    { addresses: ['10.0.0.4'], conditions: { ready: false, serving: false, terminating: true } },
  ]);
  assert.deepEqual(reasons, {
    '10.0.0.1:8080/TCP': '',
    '10.0.0.2:8080/TCP': 'it is not ready (readiness of its pod)',
    '10.0.0.3:8080/TCP': 'it terminates: new flows only when no other endpoint is ready',
    '10.0.0.4:8080/TCP': 'it terminates and serves no more',
  });
  const [frontend] = explained.frontends;
  assert.deepEqual([frontend?.frontend, frontend?.inside, frontend?.outside], ['10.96.0.1:80/TCP', 1, 0]);
  assert.deepEqual(explained.problems, []);
});

test('traffic policies: an endpoint of another node is for pods alone, or for nobody', async () => {
  const endpoints = [
    { addresses: ['10.0.0.1'], nodeName: 'here' },
    { addresses: ['10.0.0.2'], nodeName: 'there' },
  ];
  const outside = await world({ type: 'NodePort', externalTrafficPolicy: 'Local' }, endpoints);
  assert.match(outside.reasons['10.0.0.2:8080/TCP'] ?? '', /on there, and not for outsiders/);
  const far = outside.explained.endpoints.find(({ endpoint }) => endpoint.startsWith('10.0.0.2'));
  assert.deepEqual([far?.inside, far?.outside], [true, false]);
  assert.deepEqual(outside.explained.settings, ['externalTrafficPolicy: Local']);
  const inside = await world({ internalTrafficPolicy: 'Local' }, endpoints);
  assert.match(inside.reasons['10.0.0.2:8080/TCP'] ?? '', /on there, and not for pods/);
});

test('hints: who is not near enough', async () => {
  const endpoints = ['here', 'there'].map((name, i) => ({
    addresses: [`10.0.0.${i + 1}`],
    hints: { forNodes: [{ name }] },
  }));
  const { reasons } = await world({ trafficDistribution: 'PreferSameNode' }, endpoints);
  assert.deepEqual(reasons, {
    '10.0.0.1:8080/TCP': '',
    '10.0.0.2:8080/TCP': 'others are nearer (trafficDistribution PreferSameNode)',
  });
});

test('what is wrong with the whole service is told first', async () => {
  const empty = await world({}, []);
  assert.match(empty.explained.problems.join(), /no EndpointSlice .* does its selector match/);
  const unnamed = await world({}, [{ addresses: ['10.0.0.1'] }], 'https');
  assert.match(unnamed.explained.endpoints[0]?.reasons.join() ?? '', /names no port 'http' of the service/);
  assert.deepEqual(unnamed.explained.problems, ['refused for want of a backend: 10.96.0.1:80/TCP']);
  const headless = await world({ clusterIP: 'None' }, [{ addresses: ['10.0.0.1'] }]);
  assert.match(headless.explained.problems.join(), /^headless/);
  const unready = await world({}, [{ addresses: ['10.0.0.1'], conditions: { ready: false } }]);
  assert.deepEqual(unready.explained.problems, ['refused for want of a backend: 10.96.0.1:80/TCP']);
});

test('a name without namespace means all services of that name', async () => {
  const { tables } = await world({}, []);
  assert.deepEqual(servicesNamed('web', tables), ['shop/web']);
  assert.deepEqual(servicesNamed('shop/web', tables), ['shop/web']);
  assert.deepEqual(servicesNamed('other/web', tables), []);
  assert.equal(explainService('other/web', tables, about), undefined);
});
