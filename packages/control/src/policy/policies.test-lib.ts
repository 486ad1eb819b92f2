/** Random policies of all three kinds over a small world, so that they overlap, and the somebodies of that world. */
import * as fc from 'fast-check';
import type {
  Flow,
  Party,
  RawBlock,
  RawPeer,
  RawPolicy,
  RawPort,
  RawRule,
  RawSelector,
  RawService,
  RawServiceReference,
  RawSpec,
} from './oracle.test-lib.ts';

const namespaces: Readonly<Record<string, readonly string[]>> = { n1: ['env=prod'], n2: ['env=dev', 'team=x'] };

function pod(namespace: string, labels: readonly string[], cidr: string): Party {
  const http = labels.includes('app=a') ? 80 : 8080;
  return {
    labels: [
      ...labels.map(label => `k8s:${label}`),
      ...(namespaces[namespace] ?? []).map(label => `k8s:io.cilium.k8s.namespace.labels.${label}`),
      `k8s:io.kubernetes.pod.namespace=${namespace}`,
      'k8s:io.cilium.k8s.policy.cluster=default',
    ],
    cidr,
    // Of pods with one label set all call the same port so: a name stands for an identity's ports.
    ports: [
      { name: 'http', protocol: 'TCP', port: http },
      { name: 'dns', protocol: 'UDP', port: 53 },
    ],
  };
}

export const pods: readonly Party[] = [
  pod('n1', ['app=a'], '10.244.1.1'),
  pod('n1', ['app=b', 'tier=x'], '10.244.1.2'),
  pod('n1', ['app=b', 'tier=y'], '10.244.2.1'),
  pod('n2', ['app=a'], '10.244.2.2'),
  pod('n2', ['app=b'], 'fd00:1::5'),
];
export const host: Party = { labels: ['reserved:host', 'k8s:zone=a', 'node:zone=a'], cidr: '192.168.0.1' };
export const init: Party = { labels: ['reserved:init'], cidr: '10.244.1.9' };
const nodes: readonly Party[] = [
  host,
  init,
  { labels: ['reserved:remote-node', 'node:zone=b'], cidr: '192.168.0.2' },
  { labels: ['reserved:kube-apiserver', 'reserved:remote-node', 'node:zone=a', 'node:role=x'], cidr: '192.168.0.3' },
  { labels: ['reserved:health'], cidr: '10.244.1.8' },
];
export const outside: readonly Party[] = [
  ...['172.16.5.9', '172.16.9.9', '203.0.113.7', '203.0.113.8', '8.8.8.8', 'fd00:2::1', '2001:db8::1'],
].map(cidr => ({ labels: ['reserved:world'], cidr }));
export const everybody: readonly Party[] = [...pods, ...nodes, ...outside];

const ports = [79, 80, 81, 443, 1024, 8080, 8090, 65_535];
export const flows: readonly Flow[] = [
  ...(['TCP', 'UDP', 'SCTP'] as const).flatMap(protocol => ports.map(port => ({ protocol, port }))),
  { protocol: 'UDP', port: 53 },
  { protocol: 'ICMP', port: 8 },
  { protocol: 'ICMP', port: 0 },
  { protocol: 'ICMPv6', port: 128 },
];

const some = <T>(one: fc.Arbitrary<T>, maxLength = 2) => fc.array(one, { minLength: 1, maxLength });
const values = fc.constantFrom(['a'], ['b'], ['a', 'b'], ['x'], ['z', 'y']);

function selector(keys: readonly string[]): fc.Arbitrary<RawSelector> {
  const key = fc.constantFrom(...keys);
  return fc.oneof(
    fc.constant({}),
    fc.tuple(key, fc.constantFrom('a', 'b', 'x')).map(([name, value]) => ({ matchLabels: { [name]: value } })),
    fc
      .tuple(key, fc.constantFrom('In', 'NotIn'), values)
      .map(([name, operator, list]) => ({ matchExpressions: [{ key: name, operator, values: list }] })),
    fc
      .tuple(key, fc.constantFrom('Exists', 'DoesNotExist'))
      .map(([name, operator]) => ({ matchExpressions: [{ key: name, operator }] })),
  );
}

const byNamespace: fc.Arbitrary<RawSelector> = fc.constantFrom(
  { matchLabels: { env: 'prod' } },
  { matchExpressions: [{ key: 'team', operator: 'DoesNotExist' }] },
  { matchExpressions: [{ key: 'env', operator: 'In', values: ['dev', 'test'] }] },
  {},
);

/** Blocks, and what may be taken out of each. */
const inside: Readonly<Record<string, readonly string[]>> = {
  '0.0.0.0/0': ['10.244.0.0/16', '172.16.0.0/12', '203.0.113.7/32', '10.244.1.1/32'],
  '10.244.0.0/16': ['10.244.1.0/24', '10.244.1.1/32'],
  '10.244.1.0/24': ['10.244.1.2/32'],
  '10.244.1.1/32': [],
  '172.16.0.0/12': ['172.16.5.0/24'],
  '172.16.5.0/24': ['172.16.5.9/32'],
  '192.168.0.0/24': ['192.168.0.2/32'],
  '203.0.113.0/24': ['203.0.113.7/32'],
  'fd00::/8': ['fd00:1::/64'],
  '::/0': ['fd00::/8'],
};
const blocks = Object.keys(inside);
const block = fc
  .constantFrom(...blocks)
  .chain(cidr => fc.subarray([...(inside[cidr] ?? [])]).map(except => ({ cidr, except })));

const rawPeer: fc.Arbitrary<RawPeer> = fc.oneof(
  selector(['app', 'tier']).map(podSelector => ({ podSelector })),
  byNamespace.map(namespaceSelector => ({ namespaceSelector })),
  fc.record({ namespaceSelector: byNamespace, podSelector: selector(['app', 'tier']) }),
  block.map(ipBlock => ({ ipBlock })),
);

const numbers = fc.constantFrom(...ports);
const protocols = fc.constantFrom('TCP', 'UDP', 'SCTP');
const names: fc.Arbitrary<RawPort> = fc.constantFrom(
  { port: 'http', protocol: 'TCP' },
  { port: 'dns', protocol: 'UDP' },
  { port: 'dns', protocol: 'TCP' },
);
const range = fc.tuple(numbers, numbers).map(([a, b]) => ({ port: Math.min(a, b), endPort: Math.max(a, b) }));

const networkPort: fc.Arbitrary<RawPort> = fc.oneof(
  names,
  protocols.map(protocol => ({ protocol })),
  fc
    .tuple(
      fc.option(protocols, { nil: undefined }),
      fc.oneof(
        range,
        numbers.map(port => ({ port })),
      ),
    )
    .map(([protocol, port]) => (protocol === undefined ? port : { ...port, protocol })),
);

function networkRule(field: 'from' | 'to'): fc.Arbitrary<RawRule> {
  const peers = fc.option(fc.array(rawPeer, { maxLength: 2 }), { nil: undefined });
  const list = fc.option(fc.array(networkPort, { maxLength: 2 }), { nil: undefined });
  return fc.tuple(peers, list).map(([who, what]) => ({
    ...(who === undefined ? {} : { [field]: who }),
    ...(what === undefined ? {} : { ports: what }),
  }));
}

const networkPolicy = fc.record(
  {
    podSelector: selector(['app', 'tier']),
    policyTypes: fc.constantFrom(['Ingress'], ['Egress'], ['Ingress', 'Egress']),
    ingress: fc.array(networkRule('from'), { maxLength: 2 }),
    egress: fc.array(networkRule('to'), { maxLength: 2 }),
  },
  { requiredKeys: ['podSelector'] },
);

const ciliumKeys = ['app', 'k8s:tier', 'any:app', 'io.kubernetes.pod.namespace', 'reserved:host', 'reserved:health'];
const ciliumSelector = fc.oneof(
  { weight: 4, arbitrary: selector(ciliumKeys) },
  fc.constantFrom('n1', 'n2').map(name => ({ matchLabels: { 'k8s:io.kubernetes.pod.namespace': name } })),
  fc.constantFrom('prod', 'dev').map(name => ({ matchLabels: { 'k8s:io.cilium.k8s.namespace.labels.env': name } })),
);
const entities = fc.constantFrom(
  ...['all', 'world', 'cluster', 'host', 'remote-node', 'kube-apiserver', 'init', 'health', 'ingress', 'none'],
);
const ciliumPort: fc.Arbitrary<RawPort> = fc.oneof(
  names,
  fc
    .tuple(
      fc.constantFrom('ANY', 'TCP', 'UDP', 'SCTP', undefined),
      fc.oneof(
        range,
        numbers.map(port => ({ port })),
      ),
    )
    .map(([protocol, { port, ...end }]) => ({
      port: String(port),
      ...end,
      ...(protocol === undefined ? {} : { protocol }),
    })),
  fc.constantFrom({ port: '0' }, { port: '0', protocol: 'TCP' }),
);
const icmps = fc.constantFrom(
  [{ fields: [{ type: 8 }] }],
  [
    {
      fields: [
        { family: 'IPv6', type: 'EchoRequest' },
        { family: 'IPv4', type: 'EchoReply' },
      ],
    },
  ],
);
const cidrSet: fc.Arbitrary<RawBlock> = fc.oneof(block, fc.constant({ cidrGroupRef: 'partners' }));
export const cidrGroups = { partners: ['203.0.113.0/24', '172.16.5.9/32'] };

/** Pods selected, and addresses that somebody has written: outside, of a pod, of a node. */
export const services: readonly RawService[] = [
  { namespace: 'n1', name: 'web', labels: { env: 'prod' }, selector: { app: 'a' } },
  { namespace: 'n2', name: 'web', labels: {}, selector: { app: 'b' } },
  { namespace: 'n2', name: 'ext', labels: { env: 'prod' }, addresses: ['172.16.5.9', 'fd00:2::1', '192.168.0.2'] },
  { namespace: 'n1', name: 'manual', labels: { env: 'dev' }, addresses: ['10.244.2.1'] },
];
const toServices: fc.Arbitrary<RawServiceReference> = fc.oneof(
  fc.constantFrom(
    { k8sService: { serviceName: 'web', namespace: 'n1' } },
    { k8sService: { serviceName: 'web' } },
    { k8sService: { serviceName: 'ext', namespace: 'n2' } },
    { k8sService: { serviceName: 'manual', namespace: 'n1' } },
    { k8sService: { serviceName: 'nobody', namespace: 'n1' } },
  ),
  fc.constantFrom('prod', 'dev').map(env => ({ k8sServiceSelector: { selector: { matchLabels: { env } } } })),
  fc.constantFrom({ k8sServiceSelector: { namespace: 'n2', selector: {} } }),
);

function ciliumRule(side: 'from' | 'to'): fc.Arbitrary<RawRule> {
  const who = fc.oneof(
    fc.constant({}),
    fc.array(ciliumSelector, { maxLength: 2 }).map(list => ({ [`${side}Endpoints`]: list })),
    some(entities).map(list => ({ [`${side}Entities`]: list })),
    some(fc.constantFrom(...blocks)).map(list => ({ [`${side}CIDR`]: list })),
    some(cidrSet).map(list => ({ [`${side}CIDRSet`]: list })),
    some(selector(['zone', 'node:role'])).map(list => ({ [`${side}Nodes`]: list })),
    ...(side === 'to' ? [some(toServices).map(list => ({ toServices: list }))] : []),
  );
  const what = fc.oneof(
    fc.constant({}),
    some(fc.array(ciliumPort, { maxLength: 2 }).map(list => ({ ports: list }))).map(toPorts => ({ toPorts })),
    icmps.map(list => ({ icmps: list })),
  );
  return fc.tuple(who, what).map(([peer, port]) => ({ ...peer, ...port }));
}

const ciliumRules = fc
  .record(
    {
      ingress: fc.array(ciliumRule('from'), { maxLength: 2 }),
      egress: fc.array(ciliumRule('to'), { maxLength: 2 }),
      ingressDeny: fc.array(ciliumRule('from'), { maxLength: 1 }),
      egressDeny: fc.array(ciliumRule('to'), { maxLength: 1 }),
      enableDefaultDeny: fc.record({ ingress: fc.boolean(), egress: fc.boolean() }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  )
  .map(rules => {
    // One without any rule is no policy.
    const { ingress = [], egress = [], ingressDeny = [], egressDeny = [] } = rules;
    return [ingress, egress, ingressDeny, egressDeny].some(list => list.length > 0)
      ? rules
      : { ...rules, egress: [{}] };
  });
const podSpec: fc.Arbitrary<RawSpec> = fc
  .tuple(selector(['app', 'k8s:tier', 'io.kubernetes.pod.namespace', 'k8s:io.kubernetes.pod.namespace']), ciliumRules)
  .map(([endpointSelector, rules]) => ({ endpointSelector, ...rules }));
const hostSpec: fc.Arbitrary<RawSpec> = fc
  .tuple(selector(['zone']), ciliumRules)
  .map(([nodeSelector, rules]) => ({ nodeSelector, ...rules }));

function named(kind: string, name: string, namespace: string | undefined, specs: readonly RawSpec[]): RawPolicy {
  const metadata = namespace === undefined ? { name } : { name, namespace };
  const [spec, ...more] = specs;
  if (spec === undefined) return { kind, metadata };
  return more.length === 0 ? { kind, metadata, spec } : { kind, metadata, specs };
}

const policyNames = fc.constantFrom('p', 'q', 'r');
const policyNamespaces = fc.constantFrom('n1', 'n2', undefined);

/** Without namespace it is in `default`, where nobody is. */
export const policies: fc.Arbitrary<RawPolicy> = fc.oneof(
  fc
    .tuple(policyNames, policyNamespaces, networkPolicy)
    .map(([name, namespace, spec]) => named('NetworkPolicy', name, namespace, [spec])),
  fc
    .tuple(policyNames, policyNamespaces, some(podSpec))
    .map(([name, namespace, specs]) => named('CiliumNetworkPolicy', name, namespace, specs)),
  fc
    .tuple(policyNames, some(fc.oneof(podSpec, hostSpec)))
    .map(([name, specs]) => named('CiliumClusterwideNetworkPolicy', name, undefined, specs)),
);
