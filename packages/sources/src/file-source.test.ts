import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { defineTables, endpointSliceFromK8s, serviceFromK8s } from '@ciliate/model';
import { createDatabase } from '@ciliate/tables';
import { FileSource } from './file-source.ts';
import { parseLbState } from './lb-state.ts';
import { TableSink } from './table-sink.ts';

const folder = mkdtempSync(join(tmpdir(), 'ciliate-lb-state-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const service = (name: string, ip: string) => `
  - metadata: { name: ${name}, namespace: test }
    spec: { type: LoadBalancer, ports: [{ name: http, port: 80 }] }
    status: { loadBalancer: { ingress: [{ ip: ${ip} }] } }`;
const slice = (name: string, ip: string) => `
  - metadata: { name: ${name}-1, namespace: test, labels: { kubernetes.io/service-name: ${name} } }
    addressType: IPv4
    endpoints: [{ addresses: [${ip}] }]
    ports: [{ name: http, port: 8080 }]`;
const state = (...names: readonly string[]) =>
  `services:${names.map((name, i) => service(name, `203.0.113.${i}`)).join('') || ' []'}\n` +
  `endpoints:${names.map((name, i) => slice(name, `192.0.2.${i}`)).join('') || ' []'}\n`;

function setup() {
  const db = createDatabase();
  const tables = defineTables(db);
  const told: string[] = [];
  let text: string | undefined;
  const log = (message: string, data: Readonly<Record<string, unknown>>) => {
    told.push(`${message} ${JSON.stringify(data)}`);
  };
  const source = new FileSource({ path: 'state.yaml', interval: 1 }, { db, tables, log, read: () => text });
  const put = (next: string | undefined) => {
    text = next;
    source.refresh();
  };
  const names = () =>
    [...tables.services.all(), ...tables.endpointSlices.all()].map(row => `${row.name}${row.fromFile ? '' : ' (api)'}`);
  return { db, tables, told, source, put, names };
}

test('a file that is not there yet is an empty one; what it says comes, changes and goes', () => {
  const { tables, source, put, names, told } = setup();
  assert.equal(tables.services.initialized, false);
  source.refresh();
  assert.equal(tables.services.initialized, true);
  put(state('echo', 'web'));
  assert.deepEqual(names(), ['echo', 'web', 'echo-1', 'web-1']);
  assert.deepEqual(tables.services.get('test/web')?.loadBalancerIPs, ['203.0.113.1']);
  put(state('web'));
  assert.deepEqual(names(), ['web', 'web-1']);
  put('');
  assert.deepEqual(names(), []);
  assert.deepEqual([told, source.problem], [[], undefined]);
});

test('a file that cannot be read, or has gone, leaves what was there and is named, with the line', () => {
  const { source, put, names, told } = setup();
  put(state('echo'));
  put('services:\n  - metadata: [\n');
  assert.match(source.problem ?? '', /^state\.yaml: line 3: /);
  put('services: nothing');
  assert.match(source.problem ?? '', /services is no list of objects/);
  put(undefined);
  assert.match(source.problem ?? '', /has gone: what was in it stays/);
  source.refresh();
  assert.deepEqual(names(), ['echo', 'echo-1']);
  assert.equal(told.length, 3, 'each once');
  put(state('web'));
  assert.deepEqual([names(), source.problem], [['web', 'web-1'], undefined]);
});

test('one bad object is named, the others are served', () => {
  const { put, names, told } = setup();
  put(`services:${service('echo', '203.0.113.1')}\n  - metadata: { name: bad }\nnonsense: 1\n`);
  assert.deepEqual(names(), ['echo']);
  assert.match(told.join('\n'), /nonsense[\s\S]*"object":"bad"/);
});

test('what the API server has too is left to it, and taken up when it lets go; its lists leave the file alone', () => {
  const { db, tables, put, names, told, source } = setup();
  const api = new TableSink(
    {
      name: 'services',
      parse: object => {
        const parsed = serviceFromK8s(object);
        return 'row' in parsed ? parsed.row : undefined;
      },
      foreign: row => row.fromFile === true,
    },
    { db, table: tables.services, log: () => undefined },
  );
  put(state('echo', 'web'));
  const object = { metadata: { name: 'echo', namespace: 'test' }, spec: { clusterIP: '10.96.0.1', ports: [] } };
  api.replace([object]);
  source.refresh();
  assert.deepEqual(names(), ['echo (api)', 'web', 'echo-1', 'web-1']);
  put(state('echo', 'web', 'more'));
  assert.deepEqual(names(), ['echo (api)', 'web', 'more', 'echo-1', 'web-1', 'more-1']);
  assert.equal(told.filter(line => line.includes('API server has it too')).length, 1, 'once');
  api.remove(object);
  source.refresh();
  assert.equal(tables.services.get('test/echo')?.fromFile, true);
});

test('manifests and JSON are read as well', () => {
  const objects = [
    { kind: 'Service', metadata: { name: 'a', namespace: 'test' } },
    { kind: 'EndpointSlice', metadata: { name: 'b', namespace: 'test' } },
  ];
  const manifests = `${JSON.stringify(objects[0])}\n---\n${JSON.stringify(objects[1])}\n---\nkind: Pod\n`;
  for (const text of [manifests, JSON.stringify({ kind: 'List', items: [...objects, { kind: 'Pod' }] })]) {
    const { services, slices, unknown } = parseLbState(text, 'f');
    assert.deepEqual([services.length, slices.length, unknown], [1, 1, ['kind Pod']]);
  }
  const json = JSON.stringify({ services: [objects[0]], endpoints: [objects[1]] });
  assert.deepEqual(parseLbState(json, 'f'), { services: [objects[0]], slices: [objects[1]], unknown: [] });
  assert.ok('row' in endpointSliceFromK8s(objects[1]));
});

test('a real file, put in place by rename', async () => {
  const { db, tables } = setup();
  const path = join(folder, 'state.yaml');
  const source = new FileSource({ path, interval: 5 }, { db, tables, log: () => undefined });
  source.start();
  try {
    writeFileSync(`${path}.new`, state('echo'));
    renameSync(`${path}.new`, path);
    while (tables.services.get('test/echo') === undefined) await new Promise(resolve => setTimeout(resolve, 5));
  } finally {
    source.stop();
  }
});
