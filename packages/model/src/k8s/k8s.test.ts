import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ciliumEndpointFromK8s, ciliumIdentityFromK8s } from './cilium.ts';
import { endpointSliceFromK8s } from './endpoint-slice.ts';
import { ciliumNodeFromK8s, mergeNode, nodeFromK8s } from './node.ts';
import type { Parsed } from './parsed.ts';
import { namespaceFromK8s, podFromK8s } from './pod.ts';
import { serviceFromK8s } from './service.ts';

function rowOf<Row>(parsed: Parsed<Row>): Row {
  assert.ok('row' in parsed, 'error' in parsed ? `${parsed.error.field}: ${parsed.error.message}` : '');
  return parsed.row;
}

const metadata = { namespace: 'ns', name: 'x', uid: 'u' };

test('a service: defaults, both families, status addresses, affinity', () => {
  const row = rowOf(
    serviceFromK8s({
      metadata,
      spec: {
        type: 'LoadBalancer',
        clusterIP: '10.96.0.1',
        clusterIPs: ['10.96.0.1', 'FD00::1'],
        externalIPs: ['203.0.113.1'],
        sessionAffinity: 'ClientIP',
        ports: [{ port: 80, nodePort: 30080, targetPort: 'web' }],
      },
      status: { loadBalancer: { ingress: [{ ip: '198.51.100.1' }, { hostname: 'lb.example' }] } },
    }),
  );
  assert.deepEqual(row.clusterIPs, ['10.96.0.1', 'fd00::1']);
  assert.deepEqual(row.loadBalancerIPs, ['198.51.100.1']);
  assert.deepEqual(row.ports, [{ name: '', port: 80, protocol: 'TCP', nodePort: 30080 }]);
  assert.equal(row.affinityTimeout, 10_800);
  assert.equal(row.externalTrafficPolicy, 'Cluster');
});

test('headless and ExternalName services have no cluster addresses', () => {
  const spec = { ports: [{ port: 80 }] };
  assert.deepEqual(
    rowOf(serviceFromK8s({ metadata, spec: { ...spec, clusterIP: 'None', clusterIPs: ['None'] } })).clusterIPs,
    [],
  );
  assert.deepEqual(
    rowOf(serviceFromK8s({ metadata, spec: { type: 'ExternalName', externalName: 'a.b' } })).clusterIPs,
    [],
  );
});

test('an endpoint slice: absent conditions, problems, ports without number, no service', () => {
  const parsed = endpointSliceFromK8s({
    metadata,
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 80 }, { name: 'all' }],
    endpoints: [
      { addresses: ['10.0.0.1'] },
      { addresses: ['10.0.0.2'], conditions: { ready: false } },
      { addresses: ['nonsense'], conditions: { ready: true } },
      { addresses: ['fd00::1'] },
      {
        addresses: ['10.0.0.3'],
        conditions: { ready: null, serving: true, terminating: true },
        targetRef: { kind: 'Pod', namespace: 'ns', name: 'p' },
      },
    ],
  });
  const row = rowOf(parsed);
  assert.ok('problems' in parsed);
  assert.deepEqual(
    parsed.problems.map(problem => problem.field),
    ['endpoints[2].addresses[0]'],
  );
  assert.equal(row.service, '');
  assert.deepEqual(row.ports, [{ name: 'http', port: 80, protocol: 'TCP' }]);
  const conditions = row.endpoints.map(
    it => `${it.address} ${it.ready} ${it.serving} ${it.terminating} ${it.targetPod}`,
  );
  assert.deepEqual(conditions, [
    '10.0.0.1 true true false ',
    '10.0.0.2 false true false ',
    'fd00::1 true true false ',
    '10.0.0.3 true true true ns/p',
  ]);
});

test('a node and its CiliumNode make one row; either may be missing', () => {
  const node = rowOf(
    nodeFromK8s(
      {
        metadata: { name: 'node-1' },
        spec: { podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24', 'fd00:1::/64'] },
        status: {
          addresses: [
            { type: 'InternalIP', address: '172.30.0.11' },
            { type: 'Hostname', address: 'node-1' },
            { type: 'InternalDNS', address: 'n' },
          ],
        },
      },
      'node-1',
    ),
  );
  const cilium = rowOf(
    ciliumNodeFromK8s({
      metadata: { name: 'node-1' },
      spec: {
        addresses: [
          { type: 'InternalIP', ip: '172.30.0.11' },
          { type: 'CiliumInternalIP', ip: '10.1.0.1' },
        ],
        health: { ipv4: '10.1.0.2', ipv6: '' },
        ipam: { podCIDRs: ['10.9.0.0/24'] },
      },
    }),
  );
  const merged = mergeNode(node, cilium, 'node-1');
  assert.equal(merged?.local, true);
  assert.deepEqual(
    merged?.addresses.map(it => it.type),
    ['InternalIP', 'Hostname'],
  );
  assert.deepEqual(merged?.routerAddresses, ['10.1.0.1']);
  assert.deepEqual(merged?.healthAddresses, ['10.1.0.2']);
  assert.deepEqual(merged?.podCIDRs, ['10.1.0.0/24', 'fd00:1::/64']);
  assert.deepEqual(mergeNode(node, cilium, 'node-1', 'ciliumNode')?.podCIDRs, ['10.9.0.0/24']);
  const without = { ...cilium, podCIDRs: [] };
  assert.deepEqual(mergeNode(node, without, 'node-1', 'ciliumNode')?.podCIDRs, [], 'never those of the Node');
  assert.deepEqual(mergeNode(node, undefined, 'node-1', 'ciliumNode')?.podCIDRs, []);
  assert.deepEqual(mergeNode(undefined, cilium, 'other')?.local, false);
  assert.equal(mergeNode(undefined, undefined, 'x'), undefined);
});

test('a pod: addresses, named ports of all containers', () => {
  const row = rowOf(
    podFromK8s({
      metadata: { ...metadata, labels: { app: 'x' } },
      spec: {
        nodeName: 'node-1',
        initContainers: [{ ports: [{ name: 'side', containerPort: 15000 }] }],
        containers: [
          { ports: [{ name: 'web', containerPort: 80 }, { containerPort: 81 }] },
          { ports: [{ name: 'dns', containerPort: 53, protocol: 'UDP' }] },
        ],
      },
      status: { phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] },
    }),
  );
  assert.deepEqual(row.podIPs, ['10.0.0.1', 'fd00::1']);
  assert.deepEqual(row.namedPorts, {
    side: { port: 15000, protocol: 'TCP' },
    web: { port: 80, protocol: 'TCP' },
    dns: { port: 53, protocol: 'UDP' },
  });
  assert.equal(row.serviceAccount, 'default');
  assert.deepEqual(rowOf(podFromK8s({ metadata })).podIPs, []);
});

test('CiliumEndpoint and CiliumIdentity', () => {
  const status = {
    identity: { id: 300 },
    networking: { node: '172.30.0.12', addressing: [{ ipv4: '10.2.0.1', ipv6: 'fd00::2' }] },
  };
  assert.deepEqual(rowOf(ciliumEndpointFromK8s({ metadata, status })).addresses, ['10.2.0.1', 'fd00::2']);
  const identity = { metadata: { name: '4242' }, 'security-labels': { 'k8s:app': 'x' } };
  assert.deepEqual(rowOf(ciliumIdentityFromK8s(identity)), { id: 4242, labels: { 'k8s:app': 'x' }, reserved: false });
});

test('a pod: a name that every object has is a port name like others, and a host address that is none asks for no address', () => {
  const ports = [
    { name: 'constructor', containerPort: 80, hostPort: 8080, hostIP: 'localhost' },
    { name: 'other', containerPort: 81, hostPort: 8081, hostIP: '127.0.0.1' },
  ];
  const parsed = podFromK8s({ metadata, spec: { containers: [{ ports }] } });
  const pod = rowOf(parsed);
  assert.deepEqual(Object.keys(pod.namedPorts), ['constructor', 'other']);
  assert.deepEqual(
    pod.hostPorts.map(({ hostPort }) => hostPort),
    [8081],
  );
  assert.ok('problems' in parsed);
  assert.deepEqual(
    parsed.problems.map(({ field }) => field),
    ['spec.containers[0].ports[0].hostIP'],
  );
});

const bad: readonly (readonly [name: string, parsed: Parsed<unknown>, field: string])[] = [
  ['no object', serviceFromK8s(null), 'metadata.namespace'],
  ['a text', serviceFromK8s('x'), 'object'],
  ['no name', serviceFromK8s({ metadata: { namespace: 'ns' } }), 'metadata.name'],
  ['a port out of range', serviceFromK8s({ metadata, spec: { ports: [{ port: 0 }] } }), 'spec.ports[0].port'],
  [
    'an unknown protocol',
    serviceFromK8s({ metadata, spec: { ports: [{ port: 1, protocol: 'ICMP' }] } }),
    'spec.ports[0].protocol',
  ],
  ['labels that are no texts', namespaceFromK8s({ metadata: { name: 'x', labels: { a: 1 } } }), 'metadata.labels.a'],
  ['ports that are no list', serviceFromK8s({ metadata, spec: { ports: {} } }), 'spec.ports'],
  ['a slice of names', endpointSliceFromK8s({ metadata, addressType: 'FQDN' }), 'addressType'],
  ['an endpoint without node', ciliumEndpointFromK8s({ metadata }), 'status.networking.node'],
  ['an identity that is no number', ciliumIdentityFromK8s({ metadata: { name: 'abc' } }), 'metadata.name'],
];
for (const [name, parsed, field] of bad) {
  test(`${name}: an error that names ${field}`, () => {
    assert.ok('error' in parsed);
    assert.equal(parsed.error.field, field);
    assert.notEqual(parsed.error.remedy, '');
  });
}

test('a namespace says whether its policies are only tried out', () => {
  const audit = (value: string) =>
    namespaceFromK8s({
      metadata: { name: 'x', annotations: { 'ciliate.io/audit': value }, creationTimestamp: '2026-01-01T00:00:00Z' },
    });
  const row = { name: 'x', labels: {} };
  assert.deepEqual(audit('false'), { row, problems: [] });
  assert.deepEqual(audit('true'), { row: { ...row, audit: 'on' }, problems: [] });
  assert.deepEqual(audit('24h'), { row: { ...row, audit: { until: Date.UTC(2026, 0, 2) } }, problems: [] });
});
