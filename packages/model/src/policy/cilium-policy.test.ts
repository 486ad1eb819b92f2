/** What a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy may say: a line a case, with the field that an error names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Parsed } from '../k8s/parsed.ts';
import { ciliumClusterwideNetworkPolicyFromK8s, ciliumNetworkPolicyFromK8s } from './cilium-policy.ts';
import type { PolicyRow } from './rows.ts';
import { ruleReference } from './rule-reference.ts';

const inNamespace = (spec: object): Parsed<PolicyRow> =>
  ciliumNetworkPolicyFromK8s({ metadata: { namespace: 'shop', name: 'p' }, spec });
const clusterwide = (spec: object): Parsed<PolicyRow> =>
  ciliumClusterwideNetworkPolicyFromK8s({ metadata: { name: 'p' }, spec });
const everybody = { endpointSelector: {} };
const into = (rule: object) => inNamespace({ ...everybody, ingress: [rule] });
const out = (rule: object) => inNamespace({ ...everybody, egress: [rule] });
const toPorts = (ports: readonly object[], rest: object = {}) => ({ toPorts: [{ ports, ...rest }] });
const tcp = (port: unknown, rest: object = {}) => ({ port, protocol: 'TCP', ...rest });
const http = { http: [{ path: '/' }] };
const host = { nodeSelector: {} };

type Case = readonly [name: string, parsed: Parsed<PolicyRow>, field: string];
const whole: readonly Case[] = [
  ['neither spec nor specs', ciliumNetworkPolicyFromK8s({ metadata: { name: 'p' } }), 'spec'],
  ['no name', ciliumNetworkPolicyFromK8s({ spec: { ...everybody, ingress: [{}] } }), 'metadata.name'],
  ['a spec without rules', inNamespace(everybody), 'spec'],
  ['lists of rules without rules', inNamespace({ ...everybody, ingress: [], egress: [] }), 'spec'],
  [
    'one of several specs without rules',
    ciliumNetworkPolicyFromK8s({ metadata: { name: 'p' }, specs: [{ ...everybody, ingress: [{}] }, everybody] }),
    'specs[1]',
  ],
  ['no selector', inNamespace({ ingress: [{}] }), 'spec.endpointSelector'],
  ['both selectors', clusterwide({ ...everybody, ...host, ingress: [{}] }), 'spec.nodeSelector'],
  ['a nodeSelector in a namespace', inNamespace({ ...host, ingress: [{}] }), 'spec.nodeSelector'],
  ['a field that is none', inNamespace({ ...everybody, ingres: [{}] }), 'spec.ingres'],
  [
    'enableDefaultDeny that is no object',
    inNamespace({ ...everybody, enableDefaultDeny: true, ingress: [{}] }),
    'spec.enableDefaultDeny',
  ],
  ['a log that is no object', inNamespace({ ...everybody, log: 'x', ingress: [{}] }), 'spec.log'],
  ['a log whose value is no text', inNamespace({ ...everybody, log: { value: 5 }, ingress: [{}] }), 'spec.log.value'],
  ['a label without key', inNamespace({ ...everybody, labels: [{ value: 'x' }], ingress: [{}] }), 'spec.labels[0].key'],
];
const selectors: readonly Case[] = [
  [
    'an operator that is none',
    into({ fromEndpoints: [{ matchExpressions: [{ key: 'a', operator: 'Is', values: ['b'] }] }] }),
    'spec.ingress[0].fromEndpoints[0].matchExpressions[0].operator',
  ],
  [
    'In without values',
    into({ fromEndpoints: [{ matchExpressions: [{ key: 'a', operator: 'In' }] }] }),
    'spec.ingress[0].fromEndpoints[0].matchExpressions[0].values',
  ],
  [
    'Exists with values',
    into({ fromEndpoints: [{ matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] }] }),
    'spec.ingress[0].fromEndpoints[0].matchExpressions[0].values',
  ],
  [
    'a number as value',
    into({ fromEndpoints: [{ matchLabels: { a: 1 } }] }),
    'spec.ingress[0].fromEndpoints[0].matchLabels.a',
  ],
  [
    'a value that no label can have',
    into({ fromEndpoints: [{ matchLabels: { a: 'b c' } }] }),
    'spec.ingress[0].fromEndpoints[0].matchLabels.a',
  ],
  [
    'a value too long',
    into({ fromEndpoints: [{ matchLabels: { a: 'b'.repeat(64) } }] }),
    'spec.ingress[0].fromEndpoints[0].matchLabels.a',
  ],
  [
    'a key that no label can have',
    inNamespace({ endpointSelector: { matchLabels: { 'a b': 'c' } }, ingress: [{}] }),
    'spec.endpointSelector.matchLabels.a b',
  ],
  [
    'a key with a bad prefix',
    inNamespace({ endpointSelector: { matchLabels: { 'A_/b': 'c' } }, ingress: [{}] }),
    'spec.endpointSelector.matchLabels.A_/b',
  ],
];
const peers: readonly Case[] = [
  ['endpoints beside blocks', into({ fromEndpoints: [{}], fromCIDR: ['10.0.0.0/8'] }), 'spec.ingress[0].fromCIDR'],
  [
    'blocks beside sets of blocks',
    into({ fromCIDR: ['10.0.0.0/8'], fromCIDRSet: [{ cidr: '10.0.0.0/8' }] }),
    'spec.ingress[0].fromCIDRSet',
  ],
  ['entities beside nodes', into({ fromEntities: ['all'], fromNodes: [{}] }), 'spec.ingress[0].fromNodes'],
  ['names beside entities', out({ toFQDNs: [{ matchName: 'a.b' }], toEntities: ['world'] }), 'spec.egress[0].toFQDNs'],
  [
    'services beside endpoints',
    out({ toServices: [{ k8sService: { serviceName: 's' } }], toEndpoints: [{}] }),
    'spec.egress[0].toServices',
  ],
  ['fromRequires', into({ fromRequires: [{}] }), 'spec.ingress[0].fromRequires'],
  ['groups', out({ toGroups: [{}] }), 'spec.egress[0].toGroups'],
  ['an entity that is none', into({ fromEntities: ['internet'] }), 'spec.ingress[0].fromEntities[0]'],
  // Every object has something of this name.
  ['an entity that is no word of ours', into({ fromEntities: ['constructor'] }), 'spec.ingress[0].fromEntities[0]'],
  [
    'an ICMP type that is no word of ours',
    into({ icmps: [{ fields: [{ type: 'toString' }] }] }),
    'spec.ingress[0].icmps[0].fields[0].type',
  ],
  ['an entity in capitals', into({ fromEntities: ['World'] }), 'spec.ingress[0].fromEntities[0]'],
  ['a block that is none', into({ fromCIDR: ['10.0.0.0/33'] }), 'spec.ingress[0].fromCIDR[0]'],
  ['an empty block', into({ fromCIDR: [''] }), 'spec.ingress[0].fromCIDR[0]'],
  ['a block with leading zeros', into({ fromCIDR: ['010.0.0.0/8'] }), 'spec.ingress[0].fromCIDR[0]'],
  ['a set of an address', into({ fromCIDRSet: [{ cidr: '10.1.2.3' }] }), 'spec.ingress[0].fromCIDRSet[0].cidr'],
  [
    'an exception outside',
    into({ fromCIDRSet: [{ cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] }] }),
    'spec.ingress[0].fromCIDRSet[0].except[0]',
  ],
  [
    'an exception of the other family',
    into({ fromCIDRSet: [{ cidr: '0.0.0.0/0', except: ['fd00::/8'] }] }),
    'spec.ingress[0].fromCIDRSet[0].except[0]',
  ],
  [
    'an exception that is an address',
    into({ fromCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.2.3'] }] }),
    'spec.ingress[0].fromCIDRSet[0].except[0]',
  ],
  ['a reference to no service', out({ toServices: [{}] }), 'spec.egress[0].toServices[0]'],
  [
    'a service by name and by labels',
    out({ toServices: [{ k8sService: { serviceName: 's' }, k8sServiceSelector: { selector: {} } }] }),
    'spec.egress[0].toServices[0]',
  ],
  [
    'a selector of services that is missing',
    out({ toServices: [{ k8sServiceSelector: { namespace: 'shop' } }] }),
    'spec.egress[0].toServices[0].k8sServiceSelector.selector',
  ],
  [
    'a group of blocks by a label with a source',
    into({ fromCIDRSet: [{ cidrGroupSelector: { matchLabels: { 'k8s:trust': 'high' } } }] }),
    'spec.ingress[0].fromCIDRSet[0].cidrGroupSelector.matchLabels.k8s:trust',
  ],
  ['a set of nothing', into({ fromCIDRSet: [{ except: ['10.0.0.0/8'] }] }), 'spec.ingress[0].fromCIDRSet[0]'],
  [
    'a set of two things',
    into({ fromCIDRSet: [{ cidr: '10.0.0.0/8', cidrGroupRef: 'g' }] }),
    'spec.ingress[0].fromCIDRSet[0]',
  ],
  ['a name and a pattern', out({ toFQDNs: [{ matchName: 'a.b', matchPattern: '*.b' }] }), 'spec.egress[0].toFQDNs[0]'],
  ['a name with a star', out({ toFQDNs: [{ matchName: '*.b' }] }), 'spec.egress[0].toFQDNs[0].matchName'],
  ['a pattern that is none', out({ toFQDNs: [{ matchPattern: 'a/b' }] }), 'spec.egress[0].toFQDNs[0].matchPattern'],
  [
    'names in a deny rule',
    inNamespace({ ...everybody, egressDeny: [{ toFQDNs: [{ matchName: 'a.b' }] }] }),
    'spec.egressDeny[0].toFQDNs',
  ],
  [
    'authentication in a deny rule',
    inNamespace({ ...everybody, ingressDeny: [{ authentication: { mode: 'required' } }] }),
    'spec.ingressDeny[0].authentication',
  ],
  [
    'authentication of a mode that is none',
    into({ authentication: { mode: 'maybe' } }),
    'spec.ingress[0].authentication.mode',
  ],
  ['peers of the other direction', into({ toEndpoints: [{}] }), 'spec.ingress[0].toEndpoints'],
];
const ports: readonly Case[] = [
  ['no port', into(toPorts([{ protocol: 'TCP' }])), 'spec.ingress[0].toPorts[0].ports[0].port'],
  ['an empty port', into(toPorts([tcp('')])), 'spec.ingress[0].toPorts[0].ports[0].port'],
  ['a number that is no text', into(toPorts([tcp(80)])), 'spec.ingress[0].toPorts[0].ports[0].port'],
  ['a number too high', into(toPorts([tcp('65536')])), 'spec.ingress[0].toPorts[0].ports[0].port'],
  ['a name of 16 characters', into(toPorts([tcp('abcdefghijklmnop')])), 'spec.ingress[0].toPorts[0].ports[0].port'],
  ['a name with two dashes', into(toPorts([tcp('a--b')])), 'spec.ingress[0].toPorts[0].ports[0].port'],
  ['a number that some read as octal', into(toPorts([tcp('0070')])), 'spec.ingress[0].toPorts[0].ports[0].port'],
  [
    'a port of a protocol without ports',
    into(toPorts([{ port: '8', protocol: 'VRRP' }])),
    'spec.ingress[0].toPorts[0].ports[0].port',
  ],
  ['a negative end', into(toPorts([tcp('80', { endPort: -1 })])), 'spec.ingress[0].toPorts[0].ports[0].endPort'],
  [
    'a protocol that is none',
    into(toPorts([{ port: '80', protocol: 'QUIC' }])),
    'spec.ingress[0].toPorts[0].ports[0].protocol',
  ],
  [
    '41 ports',
    into(toPorts(Array.from({ length: 41 }, (_, i) => tcp(String(i + 1))))),
    'spec.ingress[0].toPorts[0].ports',
  ],
  [
    '41 ports to deny',
    inNamespace({ ...everybody, egressDeny: [toPorts(Array.from({ length: 41 }, (_, i) => tcp(String(i + 1))))] }),
    'spec.egressDeny[0].toPorts[0].ports',
  ],
  ['ICMP beside ports', into({ ...toPorts([tcp('80')]), icmps: [{ fields: [{ type: 8 }] }] }), 'spec.ingress[0].icmps'],
  [
    'ICMP of a family that is none',
    into({ icmps: [{ fields: [{ family: 'ipv6', type: 8 }] }] }),
    'spec.ingress[0].icmps[0].fields[0].family',
  ],
  ['an ICMP type too high', into({ icmps: [{ fields: [{ type: 256 }] }] }), 'spec.ingress[0].icmps[0].fields[0].type'],
  ['an ICMP type without number', into({ icmps: [{ fields: [{}] }] }), 'spec.ingress[0].icmps[0].fields[0].type'],
  [
    'an ICMP name of the other family',
    into({ icmps: [{ fields: [{ family: 'IPv4', type: 'NeighborSolicitation' }] }] }),
    'spec.ingress[0].icmps[0].fields[0].type',
  ],
  [
    '41 ICMP types',
    into({ icmps: [{ fields: Array.from({ length: 41 }, (_, type) => ({ type })) }] }),
    'spec.ingress[0].icmps[0].fields',
  ],
];
const l7: readonly Case[] = [
  [
    'HTTP over UDP',
    into(toPorts([{ port: '80', protocol: 'UDP' }], { rules: http })),
    'spec.ingress[0].toPorts[0].ports[0].protocol',
  ],
  [
    'HTTP over any protocol',
    into(toPorts([{ port: '80' }], { rules: http })),
    'spec.ingress[0].toPorts[0].ports[0].protocol',
  ],
  ['HTTP on every port', into(toPorts([tcp('0')], { rules: http })), 'spec.ingress[0].toPorts[0].ports[0].port'],
  [
    'HTTP in a deny rule',
    inNamespace({ ...everybody, ingressDeny: [toPorts([tcp('80')], { rules: http })] }),
    'spec.ingressDeny[0].toPorts[0].rules',
  ],
  [
    'HTTP into the host',
    clusterwide({ ...host, ingress: [toPorts([tcp('80')], { rules: http })] }),
    'spec.ingress[0].toPorts[0].rules',
  ],
  [
    'HTTP out of the host',
    clusterwide({ ...host, egress: [toPorts([tcp('80')], { rules: http })] }),
    'spec.egress[0].toPorts[0].rules',
  ],
  [
    'two protocols',
    out(toPorts([tcp('80')], { rules: { ...http, dns: [{ matchName: 'a' }] } })),
    'spec.egress[0].toPorts[0].rules.dns',
  ],
  [
    'a path that is no expression',
    into(toPorts([tcp('80')], { rules: { http: [{ path: '/(' }] } })),
    'spec.ingress[0].toPorts[0].rules.http[0].path',
  ],
  [
    'an expression that looks ahead',
    into(toPorts([tcp('80')], { rules: { http: [{ path: '/(?=a)' }] } })),
    'spec.ingress[0].toPorts[0].rules.http[0].path',
  ],
  [
    'l7 without its protocol',
    into(toPorts([tcp('80')], { rules: { l7: [{ a: 'b' }] } })),
    'spec.ingress[0].toPorts[0].rules.l7proto',
  ],
  ...(
    [
      ['apiKey', { role: 'produce', apiKey: 'fetch' }],
      ['role', { role: 'admin' }],
      ['apiKey', { apiKey: 'toString' }],
      ['apiVersion', { apiVersion: 'one' }],
      ['topic', { topic: 'a b' }],
      ['acks', { acks: 'all' }],
    ] as const
  ).map(
    ([field, rule]): Case => [
      `Kafka of a ${field} that does not fit`,
      into(toPorts([tcp('9092')], { rules: { kafka: [rule] } })),
      `spec.ingress[0].toPorts[0].rules.kafka[0].${field}`,
    ],
  ),
  [
    'DNS on ingress',
    into(toPorts([{ port: '53', protocol: 'UDP' }], { rules: { dns: [{ matchName: 'a' }] } })),
    'spec.ingress[0].toPorts[0].rules.dns',
  ],
  ['DNS without ports', out(toPorts([], { rules: { dns: [{ matchName: 'a' }] } })), 'spec.egress[0].toPorts[0].ports'],
  [
    'DNS on a range',
    out(toPorts([{ port: '53', endPort: 60 }], { rules: { dns: [{ matchName: 'a' }] } })),
    'spec.egress[0].toPorts[0].ports',
  ],
  [
    'DNS of a name that is none',
    out(toPorts([{ port: '53' }], { rules: { dns: [{ matchName: 'a b' }] } })),
    'spec.egress[0].toPorts[0].rules.dns[0].matchName',
  ],
  [
    'server names beside HTTP',
    out(toPorts([tcp('443')], { serverNames: ['a.b'], rules: http })),
    'spec.egress[0].toPorts[0].serverNames',
  ],
  [
    'an empty server name',
    out(toPorts([tcp('443')], { serverNames: [''] })),
    'spec.egress[0].toPorts[0].serverNames[0]',
  ],
  [
    'a listener on ingress',
    into(toPorts([tcp('80')], { listener: { name: 'l' } })),
    'spec.ingress[0].toPorts[0].listener',
  ],
  [
    'a listener beside HTTP',
    out(toPorts([tcp('80')], { listener: { name: 'l' }, rules: http })),
    'spec.egress[0].toPorts[0].listener',
  ],
];
for (const [name, parsed, field] of [...whole, ...selectors, ...peers, ...ports, ...l7]) {
  test(`refused: ${name}`, () => {
    assert.ok('error' in parsed, 'it is taken');
    assert.equal(parsed.error.field, field);
    assert.notEqual(parsed.error.remedy, '');
  });
}

const taken: readonly (readonly [name: string, parsed: Parsed<PolicyRow>])[] = [
  ['nothing let in', into({})],
  [
    'spec and specs',
    ciliumNetworkPolicyFromK8s({
      metadata: { name: 'p' },
      spec: { ...everybody, ingress: [{}] },
      specs: [{ ...everybody, egress: [{}] }],
    }),
  ],
  ['lists without elements', into({ fromEndpoints: [], fromEntities: [], toPorts: [] })],
  ['null where a list may be', into({ fromEndpoints: null, toPorts: null })],
  [
    'labels with sources',
    into({ fromEndpoints: [{ matchLabels: { 'k8s:a': '', 'any:b.c/d': 'e', 'reserved:host': '' } }] }),
  ],
  [
    'every entity',
    into({
      fromEntities: [
        'all',
        'world',
        'world-ipv4',
        'world-ipv6',
        'cluster',
        'host',
        'remote-node',
        'kube-apiserver',
        'ingress',
        'init',
        'health',
        'unmanaged',
        'none',
      ],
    }),
  ],
  ['an address for a block', into({ fromCIDR: ['10.1.2.3', 'fd00::1'] })],
  [
    'a block with bits after its length',
    into({ fromCIDRSet: [{ cidr: '10.1.2.3/8', except: ['10.9.8.7/16', '10.0.0.0/8'] }] }),
  ],
  [
    'a group of blocks',
    into({ fromCIDRSet: [{ cidrGroupRef: 'g', except: ['10.0.0.0/8'] }, { cidrGroupSelector: {} }] }),
  ],
  [
    'port 0, names, ranges',
    into(
      toPorts([
        tcp('0'),
        tcp('HTTP-alt'),
        tcp('80', { endPort: 90 }),
        { port: '53' },
        { port: '0', protocol: 'vrrp' },
        { port: '1', protocol: 'udp' },
      ]),
    ),
  ],
  ['ports of no port', into({ toPorts: [{}] })],
  [
    'ICMP by number and name',
    into({
      icmps: [{ fields: [{ type: 8 }, { family: 'IPv6', type: 'EchoRequest' }, { family: 'IPv4', type: '0' }] }, {}],
    }),
  ],
  ['authentication that is off', into({ authentication: { mode: 'disabled' } })],
  ['rules of L7 without rules', into(toPorts([{ port: '80' }], { rules: { http: [] } }))],
  [
    'services with ports',
    out({ toServices: [{ k8sServiceSelector: { selector: { matchLabels: { a: 'b' } } } }], ...toPorts([tcp('80')]) }),
  ],
];
for (const [name, parsed] of taken) {
  test(`taken: ${name}`, () => {
    assert.ok('row' in parsed, JSON.stringify(parsed));
    assert.deepEqual([parsed.row.refused, parsed.problems], [[], []]);
  });
}

const notYet: readonly (readonly [name: string, parsed: Parsed<PolicyRow>])[] = [
  ['HTTP', into(toPorts([tcp('80')], { rules: { http: [{ path: '(?i)/a', method: 'GET', host: '(?P<x>a)' }] } }))],
  [
    'DNS out of the host',
    clusterwide({ ...host, egress: [toPorts([{ port: '53' }], { rules: { dns: [{ matchPattern: '*.a' }] } })] }),
  ],
  ['names', out({ toFQDNs: [{ matchPattern: '*.cilium.io' }, { matchName: 'a.b' }] })],
  ['authentication', into({ authentication: { mode: 'required' } })],
  [
    'Kafka',
    into(toPorts([tcp('9092')], { rules: { kafka: [{ apiKey: 'Produce', topic: 'a.b' }, { role: 'consume' }] } })),
  ],
  ['server names', out(toPorts([tcp('443')], { serverNames: ['a.b'] }))],
  ['TLS', out(toPorts([tcp('443')], { terminatingTLS: {}, originatingTLS: {}, rules: http }))],
  ['a listener', out(toPorts([tcp('80')], { listener: { name: 'l' } }))],
];
for (const [name, parsed] of notYet) {
  test(`read, and refused until it is there: ${name}`, () => {
    assert.ok('row' in parsed, JSON.stringify(parsed));
    assert.notDeepEqual(parsed.row.refused, []);
  });
}

const noted: readonly (readonly [name: string, parsed: Parsed<PolicyRow>, field: string])[] = [
  [
    'an end beside a name',
    into(toPorts([tcp('http', { endPort: 90 })])),
    'spec.ingress[0].toPorts[0].ports[0].endPort',
  ],
  ['an end below the port', into(toPorts([tcp('80', { endPort: 70 })])), 'spec.ingress[0].toPorts[0].ports[0].endPort'],
  [
    'pods of another namespace',
    inNamespace({ endpointSelector: { matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'other' } }, ingress: [{}] }),
    'spec.endpointSelector',
  ],
];
for (const [name, parsed, field] of noted) {
  test(`taken without: ${name}`, () => {
    assert.ok('row' in parsed, JSON.stringify(parsed));
    assert.deepEqual(
      parsed.problems.map(problem => problem.field),
      [field],
    );
  });
}

test('description, labels and the text of its log are kept', () => {
  const parsed = inNamespace({
    ...everybody,
    description: 'who may pay',
    labels: [{ key: 'team', value: 'payments', source: 'k8s' }, { key: 'reviewed' }],
    log: { value: 'PCI' },
    ingress: [{ fromEndpoints: [{}] }],
    ingressDeny: [{ fromEntities: ['world'] }],
  });
  assert.ok('row' in parsed, JSON.stringify(parsed));
  const [rule] = parsed.row.rules;
  assert.deepEqual([rule?.description, rule?.labels], ['who may pay', ['k8s:team=payments', 'reviewed']]);
  assert.deepEqual(
    rule?.ingress.map(traffic => ruleReference(parsed.row, rule, traffic, 'ingress')).map(of => 'log' in of && of.log),
    ['PCI', 'PCI'],
  );
  const logOf = (log: unknown) => {
    const other = inNamespace({ ...everybody, log, ingress: [{}] });
    return 'row' in other ? other.row.rules[0]?.ingress[0]?.log : 'refused';
  };
  assert.deepEqual([logOf({}), logOf(null)], ['', undefined]);
});

test('a policy in a namespace is about pods of that one, whatever it says', () => {
  const parsed = inNamespace({
    endpointSelector: { matchLabels: { a: 'b', 'k8s:io.kubernetes.pod.namespace': 'other', 'reserved:init': '' } },
    ingress: [{}],
  });
  assert.ok('row' in parsed);
  assert.deepEqual(
    parsed.row.rules[0]?.subject.map(({ source, key, values }) => `${source}:${key}=${values.join()}`),
    [':a=b', 'reserved:init=', 'k8s:io.kubernetes.pod.namespace=shop'],
  );
});
