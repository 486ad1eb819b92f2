import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ciliumNetworkPolicyFromK8s } from '@ciliate/model';
import { refusedPolicy } from '@ciliate/sources';
import { FakeApi } from '../fake-api.test-lib.ts';
import type { Log } from '../log.ts';
import { PolicyStatus, validCondition } from './policy-status.ts';

const policy = (spec: unknown) =>
  validCondition(ciliumNetworkPolicyFromK8s({ metadata: { name: 'p', namespace: 'n' }, spec }));
const ports = (count: number) => Array.from({ length: count }, (_, i) => ({ port: String(i + 1), protocol: 'TCP' }));
const ingress = (rule: unknown) => policy({ endpointSelector: {}, ingress: [rule] });

const cases: readonly (readonly [
  name: string,
  condition: ReturnType<typeof policy>,
  status: string,
  message: RegExp,
])[] = [
  ['a good policy', ingress({ fromEndpoints: [{}] }), 'True', /succeeded/],
  ['41 ports', ingress({ toPorts: [{ ports: ports(41) }] }), 'False', /spec\.ingress\[0\]\.toPorts\[0\]\.ports .*40/],
  ['40 ports', ingress({ toPorts: [{ ports: ports(40) }] }), 'True', /succeeded/],
  [
    'except outside its CIDR',
    ingress({ fromCIDRSet: [{ cidr: '10.0.0.0/8', except: ['192.168.0.0/16'] }] }),
    'False',
    /except\[0\] 192\.168\.0\.0\/16 is not inside 10\.0\.0\.0\/8/,
  ],
  ['an unknown field', ingress({ fromEndpoint: [{}] }), 'False', /fromEndpoint is not a field/],
  ['no entity', ingress({ fromEntities: ['wrld'] }), 'False', /fromEntities\[0\] 'wrld' is no entity: use one of/],
  ['no selector', policy({ ingress: [{}] }), 'False', /endpointSelector is missing/],
  ['a node selector', policy({ nodeSelector: {}, ingress: [{}] }), 'False', /nodeSelector .*CiliumClusterwide/],
  ['a bad port', ingress({ toPorts: [{ ports: [{ port: '99999' }] }] }), 'False', /99999 is not a port/],
  [
    'a bad protocol',
    ingress({ toPorts: [{ ports: [{ port: '80', protocol: 'TPC' }] }] }),
    'False',
    /'TPC' is not known/,
  ],
  [
    'DNS names, which are not there yet',
    policy({ endpointSelector: {}, egress: [{ toFQDNs: [{ matchName: 'example.org' }] }] }),
    'False',
    /not enforced: rules by DNS name/,
  ],
  [
    'HTTP rules, which are not there yet',
    ingress({ toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ path: '/' }] } }] }),
    'False',
    /not enforced: L7 rules \(http\)/,
  ],
  [
    'a wrong expression in an HTTP rule',
    ingress({ toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ path: '(' }] } }] }),
    'False',
    /rules\.http\[0\]\.path '\(' is not a regular expression/,
  ],
];
for (const [name, condition, status, message] of cases) {
  test(`Valid condition: ${name}`, () => {
    assert.equal(condition.status, status, condition.message);
    assert.match(condition.message, message);
  });
}

test('where agents serve services alone a good policy says that it is not enforced, and a bad one what is wrong', () => {
  const of = (spec: unknown) =>
    validCondition(
      refusedPolicy(ciliumNetworkPolicyFromK8s({ metadata: { name: 'p', namespace: 'n' }, spec }), 'services alone'),
    );
  const good = of({ endpointSelector: {}, ingress: [{ fromEndpoints: [{}] }] });
  assert.deepEqual([good.status, good.reason, good.message], ['False', 'NotSupported', 'not enforced: services alone']);
  assert.equal(of({ ingress: [{}] }).reason, 'Invalid');
});

const silent = () => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent } as unknown as Log;
const turns = async () => {
  for (let i = 0; i < 20; i += 1) await new Promise(resolve => setImmediate(resolve));
};

test('a NetworkPolicy that is wrong gets an event, one that is right none', async () => {
  const api = new FakeApi();
  const status = new PolicyStatus({ kind: 'NetworkPolicy' }, { api, log });
  const stop = new AbortController();
  status.start(stop.signal);
  const object = (cidr: string) => ({
    metadata: { name: 'p', namespace: 'shop', uid: 'u' },
    spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr } }] }] },
  });
  status.apply(object('10.0.0.0/8'));
  await turns();
  assert.deepEqual([...api.objects.keys()], []);
  status.apply(object('10.0.0.0/33'));
  await turns();
  const [event] = api.objects.values();
  assert.match(JSON.stringify(event), /"kind":"NetworkPolicy".*spec\.ingress\[0\]\.from\[0\]\.ipBlock\.cidr/);
  stop.abort();
  await status.stop();
});

test('a condition is written when it is another than before, and leaves others alone', async () => {
  const api = new FakeApi();
  const status = new PolicyStatus({ kind: 'CiliumNetworkPolicy' }, { api, log });
  const stop = new AbortController();
  status.start(stop.signal);
  const path = '/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies/p';
  const conditions = [{ type: 'Other', status: 'True' }];
  const object = api.put(path, {
    spec: { endpointSelector: {}, ingress: [{ fromEntities: ['wrld'] }] },
    status: { conditions },
  });
  api.put(`${path}/status`, object);
  status.apply(object);
  await turns();
  const written = api.objects.get(`${path}/status`);
  assert.match(JSON.stringify(written?.status), /"Other".*"type":"Valid","status":"False","reason":"Invalid".*wrld/);
  const before = api.requests.length;
  status.apply({ ...object, status: written?.status });
  await turns();
  assert.equal(api.requests.length, before);
  stop.abort();
  await status.stop();
});
