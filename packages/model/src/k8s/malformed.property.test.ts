/** Objects that are wrong somewhere, anywhere: every parser gives a row or an error that names a field, and throws nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  cidrGroupFromK8s,
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumNetworkPolicyFromK8s,
} from '../policy/cilium-policy.ts';
import { networkPolicyFromK8s } from '../policy/network-policy.ts';
import { ciliumEndpointFromK8s, ciliumIdentityFromK8s } from './cilium.ts';
import { endpointSliceFromK8s } from './endpoint-slice.ts';
import { localRedirectFromK8s } from './local-redirect.ts';
import { ciliumNodeFromK8s, nodeFromK8s } from './node.ts';
import type { Parsed } from './parsed.ts';
import { namespaceFromK8s, podFromK8s } from './pod.ts';
import { serviceFromK8s } from './service.ts';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const named = { namespace: 'ns', name: 'n', uid: 'u', labels: { a: 'b' }, creationTimestamp: '2026-01-01T00:00:00Z' };
const annotation = (name: string, value: string) => ({ [`service.cilium.io/${name}`]: value });
const selector = { matchLabels: { a: 'b' }, matchExpressions: [{ key: 'k', operator: 'In', values: ['v'] }] };

const service: Json = {
  metadata: {
    ...named,
    annotations: {
      ...annotation('lb-algorithm', 'maglev'),
      ...annotation('forwarding-mode', 'dsr'),
      ...annotation('type', 'LoadBalancer'),
      ...annotation('node-selector', 'a in (b,c)'),
      ...annotation('src-ranges-policy', 'deny'),
      'service.beta.kubernetes.io/load-balancer-source-ranges': '10.0.0.0/8',
    },
  },
  spec: {
    ...{ type: 'LoadBalancer', clusterIP: '10.0.0.1', clusterIPs: ['10.0.0.1', 'fd00::1'] },
    ...{ externalIPs: ['192.0.2.1'], loadBalancerSourceRanges: ['192.0.2.0/24'], loadBalancerClass: 'c' },
    ports: [{ name: 'x', port: 80, protocol: 'TCP', nodePort: 30080 }],
    ...{ externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Cluster', healthCheckNodePort: 31000 },
    ...{ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 10 } } },
    trafficDistribution: 'PreferSameZone',
  },
  status: { loadBalancer: { ingress: [{ ip: '198.51.100.1', ipMode: 'VIP', hostname: 'h' }] } },
};
const slice: Json = {
  metadata: { ...named, labels: { 'kubernetes.io/service-name': 's' } },
  addressType: 'IPv4',
  ports: [{ name: 'x', port: 80, protocol: 'TCP' }],
  endpoints: [
    {
      addresses: ['10.0.0.1'],
      conditions: { ready: true, serving: true, terminating: false },
      ...{ nodeName: 'a', zone: 'z', hints: { forZones: [{ name: 'z' }], forNodes: [{ name: 'a' }] } },
      targetRef: { kind: 'Pod', namespace: 'ns', name: 'p' },
    },
  ],
};
const container = {
  name: 'c',
  ports: [{ name: 'x', containerPort: 80, protocol: 'TCP', hostPort: 81, hostIP: '127.0.0.1' }],
};
const pod: Json = {
  metadata: named,
  spec: {
    ...{ nodeName: 'a', hostNetwork: false, serviceAccountName: 'sa' },
    ...{ containers: [container], initContainers: [container] },
  },
  status: {
    ...{ phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }] },
    conditions: [{ type: 'Ready', status: 'True' }],
  },
};
const node: Json = {
  metadata: { ...named, deletionTimestamp: null, annotations: { a: 'b' } },
  spec: { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24'], taints: [{ key: 'k' }] },
  status: { addresses: [{ type: 'InternalIP', address: '172.30.0.1' }] },
};
const ciliumNode: Json = {
  metadata: named,
  spec: {
    addresses: [{ type: 'InternalIP', ip: '172.30.0.1' }],
    ...{ ipam: { podCIDRs: ['10.0.0.0/24'] }, health: { ipv4: '10.0.0.5', ipv6: 'fd00::5' } },
  },
};
const namespace: Json = { metadata: { ...named, annotations: { 'ciliate.io/audit': '24h' } } };
const ciliumEndpoint: Json = {
  metadata: named,
  status: {
    identity: { id: 300 },
    networking: { node: '172.30.0.1', addressing: [{ ipv4: '10.0.0.1', ipv6: 'fd00::1' }] },
    'named-ports': [{ name: 'x', port: 80, protocol: 'TCP' }],
  },
};
const identity: Json = { metadata: { name: '300' }, 'security-labels': { 'k8s:a': 'b' } };
const redirect: Json = {
  metadata: named,
  spec: {
    redirectFrontend: {
      addressMatcher: { ip: '169.254.1.1', toPorts: [{ name: 'x', port: '80', protocol: 'TCP' }] },
    },
    redirectBackend: { localEndpointSelector: selector, toPorts: [{ name: 'x', port: '80', protocol: 'TCP' }] },
    ...{ skipRedirectFromBackend: true, description: 'd' },
  },
};
const serviceRedirect: Json = {
  metadata: named,
  spec: {
    redirectFrontend: {
      serviceMatcher: { namespace: 'ns', serviceName: 's', toPorts: [{ name: 'x', port: '80', protocol: 'TCP' }] },
    },
    redirectBackend: { localEndpointSelector: selector, toPorts: [{ name: 'x', port: '80', protocol: 'TCP' }] },
  },
};
const peer = { podSelector: selector, namespaceSelector: selector };
const networkPolicy: Json = {
  metadata: named,
  spec: {
    ...{ podSelector: selector, policyTypes: ['Ingress', 'Egress'] },
    ingress: [{ from: [peer], ports: [{ port: 80, endPort: 90, protocol: 'TCP' }] }],
    egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }], ports: [{ port: 'x' }] }],
  },
};
const http = { http: [{ method: 'GET', path: '/a.*', host: 'h', headers: ['X'] }] };
const rule: Json = {
  ...{ endpointSelector: selector, description: 'd', labels: [{ key: 'k', value: 'v', source: 's' }] },
  enableDefaultDeny: { ingress: true, egress: false },
  log: { value: 'v' },
  ingress: [
    { fromEndpoints: [selector], toPorts: [{ ports: [{ port: '80', endPort: 90, protocol: 'TCP' }] }] },
    { fromEntities: ['world'], toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: http }] },
    { fromCIDR: ['10.0.0.0/8'], icmps: [{ fields: [{ type: 8, family: 'IPv4' }, { type: 'EchoRequest' }] }] },
    { fromCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }], authentication: { mode: 'disabled' } },
    { fromCIDRSet: [{ cidrGroupRef: 'g' }, { cidrGroupSelector: selector }] },
    { fromNodes: [selector], fromRequires: null, fromGroups: null },
  ],
  ingressDeny: [{ fromEndpoints: [selector], toPorts: [{ ports: [{ port: '81' }] }] }],
  egress: [
    { toServices: [{ k8sService: { serviceName: 's', namespace: 'ns' } }] },
    { toServices: [{ k8sServiceSelector: { selector, namespace: 'ns' } }] },
    { toFQDNs: [{ matchName: 'example.com' }, { matchPattern: '*.example.com' }] },
    {
      toEndpoints: [selector],
      toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: '*' }] } }],
    },
    {
      toEntities: ['cluster'],
      toPorts: [{ ports: [{ port: 'http' }], listener: { envoyConfig: { name: 'e' }, name: 'l' } }],
    },
    { toNodes: [selector], toPorts: [{ ports: [{ port: '443' }], serverNames: ['example.com'] }] },
  ],
  egressDeny: [{ toCIDR: ['10.0.0.0/8'] }],
};
const ciliumPolicy: Json = { metadata: named, spec: rule, specs: [rule] };
const clusterPolicy: Json = { metadata: { name: 'n' }, spec: rule };
const hostPolicy: Json = {
  metadata: { name: 'n' },
  spec: {
    nodeSelector: selector,
    ingress: [{ fromEntities: ['cluster'], toPorts: [{ ports: [{ port: '22' }] }] }],
    egressDeny: [{ toCIDRSet: [{ cidr: '10.0.0.0/8' }], icmps: [{ fields: [{ type: 8 }] }] }],
  },
};
const cidrGroup: Json = { metadata: named, spec: { externalCIDRs: ['10.0.0.0/8', 'fd00::/8'] } };

type Parser = (object: unknown) => Parsed<unknown>;
const parsers: Readonly<Record<string, readonly [Parser, Json]>> = {
  service: [serviceFromK8s, service],
  slice: [endpointSliceFromK8s, slice],
  pod: [podFromK8s, pod],
  node: [object => nodeFromK8s(object, 'n'), node],
  ciliumNode: [ciliumNodeFromK8s, ciliumNode],
  namespace: [namespaceFromK8s, namespace],
  ciliumEndpoint: [ciliumEndpointFromK8s, ciliumEndpoint],
  identity: [ciliumIdentityFromK8s, identity],
  redirect: [localRedirectFromK8s, redirect],
  serviceRedirect: [localRedirectFromK8s, serviceRedirect],
  networkPolicy: [networkPolicyFromK8s, networkPolicy],
  ciliumPolicy: [ciliumNetworkPolicyFromK8s, ciliumPolicy],
  clusterPolicy: [ciliumClusterwideNetworkPolicyFromK8s, clusterPolicy],
  hostPolicy: [ciliumClusterwideNetworkPolicyFromK8s, hostPolicy],
  cidrGroup: [cidrGroupFromK8s, cidrGroup],
};

const texts = fc.constantFrom(
  ...['', ' ', '0', '-1', '65536', '99999999999', '080', '1e3', 'ANY', 'any', 'tcp', 'SCTP', 'None', 'constructor'],
  ...['__proto__', 'toString', '10.0.0.1', '10.0.0.0/33', '::ffff:10.0.0.1', 'fe80::1%eth0', '0.0.0.0/0', '::/0', '/'],
  ...['k8s:', ':', 'a=b', '(', ')', 'a in (', '[', '*.', '.*(', '\u0000', '\ud800', 'ü', 'x'.repeat(300)],
);
const numbers = fc.constantFrom(0, -1, 1.5, 255, 256, 65_535, 65_536, 4_294_967_296, Number.MAX_VALUE, -0);
const leaf: fc.Arbitrary<Json> = fc.oneof(texts, numbers, fc.boolean(), fc.constant(null));
const junk: fc.Arbitrary<Json> = fc.oneof(
  { weight: 4, arbitrary: leaf },
  fc.array(leaf, { maxLength: 3 }),
  fc.dictionary(texts, leaf, { maxKeys: 3 }),
  fc.constant([[[]]]),
  fc.constant([{}]),
  fc.constant([null]),
  fc.constant({}),
);
/** Where: which of all places, counted in order; and what to do there. */
const damage = fc.record({
  place: fc.nat({ max: 999 }),
  how: fc.constantFrom('replace', 'replace', 'remove', 'twice', 'add'),
  by: junk,
  name: texts,
});
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function countPlaces(value: Json): number {
  if (typeof value !== 'object' || value === null) return 1;
  return 1 + Object.values(value).reduce<number>((sum, child) => sum + countPlaces(child), 0);
}

/** undefined: it is taken out. */
function damaged(value: Json, place: number, { how, by, name }: Damage): Json | undefined {
  if (place === 0) {
    if (how === 'remove') return undefined;
    if (how === 'twice' && Array.isArray(value)) return [...value, ...value];
    if (how === 'add' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return Object.fromEntries([...Object.entries(value), [name, by]]);
    }
    return by;
  }
  if (typeof value !== 'object' || value === null) return value;
  let left = place - 1;
  const children = Object.entries(value).flatMap(([key, child]: [string, Json]) => {
    const size = countPlaces(child);
    const here = left >= 0 && left < size ? damaged(child, left, { place, how, by, name }) : child;
    left -= size;
    return here === undefined ? [] : [[key, here] as const];
  });
  return Array.isArray(value) ? children.map(([, child]) => child) : Object.fromEntries(children);
}

/** What other parts rely on, whatever the kind. */
function assertSound(value: unknown, path: string): void {
  if (typeof value === 'number') assert.ok(!Number.isNaN(value), `${path} is a number`);
  assert.notEqual(typeof value, 'function', path);
  if (typeof value !== 'object' || value === null) return;
  for (const [key, child] of Object.entries(value)) assertSound(child, `${path}.${key}`);
  for (const key of ['port', 'endPort', 'nodePort', 'hostPort', 'containerPort', 'healthCheckNodePort']) {
    const number: unknown = Object.hasOwn(value, key) ? Reflect.get(value, key) : 0;
    if (typeof number === 'number')
      assert.ok(Number.isInteger(number) && number >= 0 && number <= 65_535, `${path}.${key}`);
  }
}

function assertParsed(parsed: Parsed<unknown>): void {
  const problems = 'row' in parsed ? parsed.problems : [parsed.error];
  for (const { field, message, remedy } of problems) assert.ok(field !== '' && message !== '' && remedy !== '');
  if ('row' in parsed) assertSound(parsed.row, 'row');
}

for (const [name, [parse, whole]] of Object.entries(parsers)) {
  test(`${name}: the whole object has a row, and a damaged one a row or an error`, () => {
    const parsed = parse(whole);
    assert.ok('row' in parsed, 'error' in parsed ? JSON.stringify(parsed.error) : '');
    assertParsed(parsed);
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), damages => {
        let object: Json = whole;
        for (const one of damages) object = damaged(object, one.place % countPlaces(object), one) ?? null;
        assertParsed(parse(object));
      }),
      { numRuns: Number(process.env.FUZZ ?? 1) * 200 },
    );
  });
  test(`${name}: anything else is an error, or a row`, () => {
    for (const object of [undefined, null, 0, '', 'x', true, [], {}, [{}], { metadata: null }, { metadata: [] }]) {
      assertParsed(parse(object));
    }
    fc.assert(
      fc.property(fc.jsonValue(), object => assertParsed(parse(object))),
      { numRuns: 50 },
    );
  });
}
