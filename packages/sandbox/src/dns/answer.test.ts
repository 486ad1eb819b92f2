import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '@ciliate/sources';
import { decode, encode } from 'dns-packet';
import { answer, Rcode } from './answer.ts';
import { respond } from './server.ts';
import { ClusterStore } from './store.ts';

function service(name: string, spec: Readonly<Record<string, unknown>>): KubeObject {
  return { metadata: { name, namespace: 'default' }, spec };
}

function slice(owner: string, endpoints: readonly unknown[]): KubeObject {
  return {
    metadata: { name: `${owner}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': owner } },
    ports: [{ name: 'db', port: 5432, protocol: 'TCP' }],
    endpoints,
  };
}

function store(): ClusterStore {
  const cluster = new ClusterStore();
  cluster.setServices([
    service('web', {
      clusterIPs: ['10.96.1.2', 'fd00:10:96::2'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    }),
    service('db', { clusterIP: 'None', ports: [{ name: 'db', port: 5432, protocol: 'TCP' }] }),
    service('empty', { clusterIP: 'None' }),
    service('out', { type: 'ExternalName', externalName: 'example.org' }),
  ]);
  cluster.setSlices([
    slice('db', [
      { addresses: ['10.244.1.5'], hostname: 'db-0', conditions: { ready: true } },
      { addresses: ['10.244.2.6'], conditions: { ready: true } },
      { addresses: ['10.244.2.7'], conditions: { ready: false } },
    ]),
  ]);
  return cluster;
}

interface Case {
  readonly name: string;
  readonly type: string;
  readonly rcode?: number;
  readonly data?: readonly unknown[];
}

const cases: readonly Case[] = [
  { name: 'web.default.svc.cluster.local', type: 'A', data: ['10.96.1.2'] },
  { name: 'WEB.default.SVC.cluster.local', type: 'AAAA', data: ['fd00:10:96::2'] },
  { name: 'web.default.svc.cluster.local', type: 'MX', data: [] },
  { name: 'web.default.svc.cluster.local.default.svc.cluster.local', type: 'A', rcode: Rcode.nameError },
  { name: 'nosuch.default.svc.cluster.local', type: 'A', rcode: Rcode.nameError },
  { name: 'default.svc.cluster.local', type: 'A', data: [] },
  { name: 'nosuch.svc.cluster.local', type: 'A', rcode: Rcode.nameError },
  { name: 'cluster.local', type: 'A', data: [] },
  { name: 'db.default.svc.cluster.local', type: 'A', data: ['10.244.1.5', '10.244.2.6'] },
  { name: 'db.default.svc.cluster.local', type: 'AAAA', data: [] },
  { name: 'db-0.db.default.svc.cluster.local', type: 'A', data: ['10.244.1.5'] },
  { name: '10-244-2-6.db.default.svc.cluster.local', type: 'A', data: ['10.244.2.6'] },
  { name: '10-244-2-7.db.default.svc.cluster.local', type: 'A', rcode: Rcode.nameError },
  { name: 'empty.default.svc.cluster.local', type: 'A', rcode: Rcode.nameError },
  { name: 'out.default.svc.cluster.local', type: 'A', data: ['example.org'] },
  {
    name: '_http._tcp.web.default.svc.cluster.local',
    type: 'SRV',
    data: [{ priority: 0, weight: 100, port: 80, target: 'web.default.svc.cluster.local' }],
  },
  { name: '_nope._tcp.web.default.svc.cluster.local', type: 'SRV', rcode: Rcode.nameError },
  { name: '10-244-1-5.default.pod.cluster.local', type: 'A', data: ['10.244.1.5'] },
  { name: '2.1.96.10.in-addr.arpa', type: 'PTR', data: ['web.default.svc.cluster.local'] },
  { name: '5.1.244.10.in-addr.arpa', type: 'PTR', data: ['db-0.db.default.svc.cluster.local'] },
  {
    name: '2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa',
    type: 'PTR',
    data: ['web.default.svc.cluster.local'],
  },
  { name: '9.9.9.9.in-addr.arpa', type: 'PTR', rcode: Rcode.nameError },
  { name: 'dns-version.cluster.local', type: 'TXT', data: ['1.1.0'] },
  { name: 'example.com', type: 'A', rcode: Rcode.refused },
];

describe('cluster DNS', () => {
  for (const { name, type, rcode = Rcode.noError, data = [] } of cases) {
    test(`${type} ${name}`, () => {
      const reply = answer({ name, type }, store());
      assert.equal(reply.rcode, rcode);
      assert.deepEqual(
        reply.answers.map(record => ('data' in record ? record.data : undefined)),
        data,
      );
      const negative = data.length === 0 && rcode !== Rcode.refused;
      assert.equal(reply.authorities.length, negative ? 1 : 0, 'a negative answer has an SOA');
    });
  }

  test('a reply that does not fit says so, and comes whole over TCP', () => {
    const many = new ClusterStore();
    many.setServices([service('db', { clusterIP: 'None' })]);
    many.setSlices([
      slice(
        'db',
        Array.from({ length: 100 }, (_, index) => ({ addresses: [`10.244.3.${index + 1}`] })),
      ),
    ]);
    const query = encode({ type: 'query', id: 7, questions: [{ type: 'A', name: 'db.default.svc.cluster.local' }] });
    const short = decode(respond(query, many, 4096) ?? Buffer.alloc(0));
    assert.equal(short.flag_tc, true);
    assert.equal(short.answers?.length, 0);
    const whole = decode(respond(query, many, 65535) ?? Buffer.alloc(0));
    assert.equal(whole.answers?.length, 100);
    assert.equal(whole.id, 7);
  });

  test('what is no query gets no reply', () => {
    assert.equal(respond(Buffer.from('nonsense'), store(), 4096), undefined);
    assert.equal(respond(Buffer.alloc(0), store(), 4096), undefined);
  });
});
