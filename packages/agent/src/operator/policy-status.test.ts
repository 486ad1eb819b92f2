import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ciliumNetworkPolicyFromK8s } from '@ciliate/model';
import { refusedPolicy } from '@ciliate/sources';
import { validCondition } from './policy-status.ts';

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
