/**
 * What NetworkPolicy v1, CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy say about one flow (L3 and L4), read straight from the
 * objects by the texts of their APIs. Slow and plain, and shares nothing with parser or compiler: tests hold those against it.
 * (kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1; docs.cilium.io/en/stable/security/policy)
 */

export interface RawSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}
export interface RawPort {
  readonly port?: number | string;
  readonly endPort?: number;
  readonly protocol?: string;
}
export interface RawToPorts {
  readonly ports?: readonly RawPort[];
  readonly rules?: Readonly<Record<string, readonly unknown[]>>;
  readonly serverNames?: readonly string[];
}
export interface RawBlock {
  readonly cidr?: string;
  readonly cidrGroupRef?: string;
  readonly except?: readonly string[];
}
export interface RawRule {
  // NetworkPolicy
  readonly from?: readonly RawPeer[];
  readonly to?: readonly RawPeer[];
  readonly ports?: readonly RawPort[];
  // Cilium
  readonly fromEndpoints?: readonly RawSelector[];
  readonly toEndpoints?: readonly RawSelector[];
  readonly fromEntities?: readonly string[];
  readonly toEntities?: readonly string[];
  readonly fromCIDR?: readonly string[];
  readonly toCIDR?: readonly string[];
  readonly fromCIDRSet?: readonly RawBlock[];
  readonly toCIDRSet?: readonly RawBlock[];
  readonly fromNodes?: readonly RawSelector[];
  readonly toNodes?: readonly RawSelector[];
  readonly toServices?: readonly RawServiceReference[];
  readonly toFQDNs?: readonly { readonly matchName?: string; readonly matchPattern?: string }[];
  readonly toPorts?: readonly RawToPorts[];
  readonly icmps?: readonly {
    readonly fields?: readonly { readonly family?: string; readonly type: number | string }[];
  }[];
}
export interface RawServiceReference {
  readonly k8sService?: { readonly serviceName: string; readonly namespace?: string };
  readonly k8sServiceSelector?: { readonly namespace?: string; readonly selector: RawSelector };
}
/** A Service, and who serves it when it selects nobody. */
export interface RawService {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly selector?: Readonly<Record<string, string>>;
  readonly addresses?: readonly string[];
}
export interface RawPeer {
  readonly podSelector?: RawSelector;
  readonly namespaceSelector?: RawSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}
export interface RawSpec {
  readonly podSelector?: RawSelector;
  readonly policyTypes?: readonly string[];
  readonly endpointSelector?: RawSelector;
  readonly nodeSelector?: RawSelector;
  readonly ingress?: readonly RawRule[];
  readonly egress?: readonly RawRule[];
  readonly ingressDeny?: readonly RawRule[];
  readonly egressDeny?: readonly RawRule[];
  readonly enableDefaultDeny?: { readonly ingress?: boolean; readonly egress?: boolean };
}
export interface RawPolicy {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: RawSpec;
  readonly specs?: readonly RawSpec[];
}

/** Somebody with an address: a pod, a node, or a block of the outside all of which is meant. */
export interface Party {
  /** 'k8s:app=web', 'reserved:host'. Pods carry k8s:io.kubernetes.pod.namespace; the outside reserved:world. */
  readonly labels: readonly string[];
  /** Address, or block. */
  readonly cidr?: string;
  readonly ports?: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

export interface Flow {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP' | 'ICMPv6';
  /** ICMP: the type. */
  readonly port: number;
}

export interface OracleOptions {
  readonly mode?: 'default' | 'always' | 'never';
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  readonly allowLocalHost?: boolean;
  readonly services?: readonly RawService[];
  /** Option policy-cidr-match-mode: nodes. */
  readonly cidrMatchesNodes?: boolean;
}

type Direction = 'ingress' | 'egress';

/** What one side's policy says; both sides must allow. */
export function oracleVerdict(
  policies: readonly RawPolicy[],
  direction: Direction,
  subject: Party,
  peer: Party,
  flow: Flow,
  options: OracleOptions = {},
): 'allowed' | 'denied' {
  if (options.mode === 'never') return 'allowed';
  let isolated = options.mode === 'always' || has(subject, 'reserved:init');
  let allowed = false;
  const named = direction === 'ingress' ? subject : peer;
  for (const policy of policies) {
    for (const spec of policy.kind === 'NetworkPolicy' ? [policy.spec] : [policy.spec, ...(policy.specs ?? [])]) {
      if (spec === undefined || !isSubject(policy, spec, subject)) continue;
      const namespace =
        policy.metadata.namespace ?? (policy.kind === 'CiliumClusterwideNetworkPolicy' ? '' : 'default');
      if (policy.kind === 'NetworkPolicy') {
        const types = spec.policyTypes ?? ['Ingress', ...((spec.egress ?? []).length === 0 ? [] : ['Egress'])];
        if (!types.includes(direction === 'ingress' ? 'Ingress' : 'Egress')) continue;
        isolated = true;
        for (const rule of spec[direction] ?? []) {
          const peers = (direction === 'ingress' ? rule.from : rule.to) ?? [];
          const isPeer = peers.length === 0 || peers.some(one => matchesRawPeer(one, namespace, peer));
          const ports = rule.ports ?? [];
          if (isPeer && (ports.length === 0 || ports.some(port => matchesPort(port, flow, named, 'TCP'))))
            allowed = true;
        }
        continue;
      }
      const denies = (direction === 'ingress' ? spec.ingressDeny : spec.egressDeny) ?? [];
      const allows = spec[direction] ?? [];
      for (const rule of denies)
        if (matchesRule(rule, direction, namespace, peer, named, flow, options)) return 'denied';
      if (allows.some(rule => matchesRule(rule, direction, namespace, peer, named, flow, options))) allowed = true;
      if (spec.enableDefaultDeny?.[direction] ?? denies.length + allows.length > 0) isolated = true;
    }
  }
  // A deny of a later policy counts as much as one of an earlier: it has returned above.
  if (allowed || !isolated) return 'allowed';
  const fromHost = direction === 'ingress' && has(peer, 'reserved:host') && !has(subject, 'reserved:host');
  return fromHost && options.allowLocalHost === true ? 'allowed' : 'denied';
}

function has(party: Party, label: string): boolean {
  return party.labels.some(one => one === label || one === `${label}=`);
}

function labelValue(party: Party, key: string): string | undefined {
  const found = party.labels.find(label => label === key || label.startsWith(`${key}=`));
  return found === undefined ? undefined : found.slice(key.length + 1);
}

const namespaceKey = 'k8s:io.kubernetes.pod.namespace';
const namespaceLabels = 'k8s:io.cilium.k8s.namespace.labels.';

function isSubject(policy: RawPolicy, spec: RawSpec, subject: Party): boolean {
  const namespace = labelValue(subject, namespaceKey);
  if (policy.kind === 'NetworkPolicy') {
    const own = policy.metadata.namespace ?? 'default';
    return namespace === own && matches(spec.podSelector ?? {}, key => labelValue(subject, `k8s:${key}`));
  }
  const isHost = has(subject, 'reserved:host');
  if (spec.nodeSelector !== undefined) return isHost && matches(spec.nodeSelector, key => ciliumValue(subject, key));
  if (isHost || spec.endpointSelector === undefined) return false;
  if (policy.kind === 'CiliumClusterwideNetworkPolicy') {
    return matches(spec.endpointSelector, key => ciliumValue(subject, key));
  }
  // Of its own namespace, whatever the selector says of namespaces.
  const own = policy.metadata.namespace ?? 'default';
  const { [namespaceKey]: _, ...labels } = spec.endpointSelector.matchLabels ?? {};
  return (
    namespace === own && matches({ ...spec.endpointSelector, matchLabels: labels }, key => ciliumValue(subject, key))
  );
}

/** A selector without a word about namespaces is about the policy's own; in a clusterwide policy about every pod. */
function selects(selector: RawSelector, namespace: string, party: Party): boolean {
  const keys = [
    ...Object.keys(selector.matchLabels ?? {}),
    ...(selector.matchExpressions ?? []).map(expression => expression.key),
  ];
  const isReserved = keys.some(key => key.startsWith('reserved:'));
  const namesNamespace = keys.some(key => key.replace(/^(k8s|any):/, '') === 'io.kubernetes.pod.namespace');
  const namesLabels = keys.some(key => key.replace(/^(k8s|any):/, '').startsWith('io.cilium.k8s.namespace.labels.'));
  if (!matches(selector, key => ciliumValue(party, key))) return false;
  if (isReserved || namesNamespace) return true;
  if (namespace === '') return labelValue(party, namespaceKey) !== undefined;
  return namesLabels || labelValue(party, namespaceKey) === namespace;
}

/** A key without source is of any source. */
function ciliumValue(party: Party, key: string): string | undefined {
  const [, source = '', name = ''] = /^(?:(k8s|reserved|any|cidr|fqdn|node):)?(.*)$/s.exec(key) ?? [];
  if (source !== '' && source !== 'any') return labelValue(party, `${source}:${name}`);
  return ['k8s', 'reserved', 'node'].map(one => labelValue(party, `${one}:${name}`)).find(value => value !== undefined);
}

function matches(selector: RawSelector, value: (key: string) => string | undefined): boolean {
  for (const [key, wanted] of Object.entries(selector.matchLabels ?? {})) if (value(key) !== wanted) return false;
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const found = value(key);
    const isIn = found !== undefined && values.includes(found);
    if (operator === 'In' && !isIn) return false;
    if (operator === 'NotIn' && isIn) return false;
    if (operator === 'Exists' && found === undefined) return false;
    if (operator === 'DoesNotExist' && found !== undefined) return false;
  }
  return true;
}

function matchesRawPeer(peer: RawPeer, namespace: string, party: Party): boolean {
  if (peer.ipBlock !== undefined) return inBlock(peer.ipBlock.cidr, peer.ipBlock.except ?? [], party.cidr);
  const own = labelValue(party, namespaceKey);
  if (own === undefined) return false;
  if (peer.namespaceSelector === undefined ? own !== namespace : false) return false;
  if (!matches(peer.namespaceSelector ?? {}, key => labelValue(party, namespaceLabels + key))) return false;
  return matches(peer.podSelector ?? {}, key => labelValue(party, `k8s:${key}`));
}

function matchesRule(
  rule: RawRule,
  direction: Direction,
  namespace: string,
  peer: Party,
  named: Party,
  flow: Flow,
  options: OracleOptions,
): boolean {
  const ingress = direction === 'ingress';
  const endpoints = ingress ? rule.fromEndpoints : rule.toEndpoints;
  const entities = ingress ? rule.fromEntities : rule.toEntities;
  const cidrs = ingress ? rule.fromCIDR : rule.toCIDR;
  const cidrSet = ingress ? rule.fromCIDRSet : rule.toCIDRSet;
  const nodes = ingress ? rule.fromNodes : rule.toNodes;
  const fqdns = ingress ? undefined : rule.toFQDNs;
  const services = ingress ? undefined : rule.toServices;
  const kinds = [endpoints, entities, cidrs, cidrSet, nodes, services, fqdns].filter(kind => kind !== undefined);
  const hasPorts = (rule.toPorts ?? []).length + (rule.icmps ?? []).length > 0;
  if (kinds.length === 0 && !hasPorts) return false;
  const outside = has(peer, 'reserved:world') || peer.labels.every(label => label.startsWith('cidr:'));
  const isNode = has(peer, 'reserved:remote-node') || has(peer, 'reserved:host');
  const byAddress = outside || (isNode && options.cidrMatchesNodes === true);
  if (kinds.some(kind => kind.length === 0)) return false;
  const isPeer =
    kinds.length === 0 ||
    (endpoints ?? []).some(selector => selects(selector, namespace, peer)) ||
    (entities ?? []).some(entity => isEntity(entity, peer)) ||
    (cidrs ?? []).some(cidr => byAddress && inBlock(cidr, [], peer.cidr)) ||
    (cidrSet ?? []).some(set => byAddress && inSet(set, peer.cidr, options)) ||
    (nodes ?? []).some(one => has(peer, 'reserved:remote-node') && matches(one, key => ciliumValue(peer, key))) ||
    (services ?? []).some(one => isServing(one, peer, byAddress, options)) ||
    (fqdns ?? []).some(one => has(peer, `fqdn:${one.matchName ?? one.matchPattern}`));
  if (!isPeer) return false;
  if (!hasPorts) return true;
  const ports = (rule.toPorts ?? []).some(one => {
    // What a proxy has to judge does not pass without one.
    if (needsProxy(one)) return false;
    return (one.ports ?? []).some(port => matchesPort(port, flow, named, 'ANY'));
  });
  return ports || (rule.icmps ?? []).some(icmp => (icmp.fields ?? []).some(field => matchesIcmp(field, flow)));
}

/** A service that selects stands for the pods that it selects, one that does not for its endpoints. */
function isServing(
  { k8sService, k8sServiceSelector }: RawServiceReference,
  peer: Party,
  byAddress: boolean,
  options: OracleOptions,
): boolean {
  const namespace = k8sService?.namespace ?? k8sServiceSelector?.namespace ?? '';
  return (options.services ?? []).some(service => {
    if (namespace !== '' && service.namespace !== namespace) return false;
    if (k8sService !== undefined && k8sService.serviceName !== service.name) return false;
    if (k8sServiceSelector !== undefined && !matches(k8sServiceSelector.selector, key => service.labels[key])) {
      return false;
    }
    const own = labelValue(peer, namespaceKey);
    if (service.selector === undefined) {
      return (own !== undefined || byAddress) && (service.addresses ?? []).includes(peer.cidr ?? '');
    }
    return (
      own === service.namespace && matches({ matchLabels: service.selector }, key => labelValue(peer, `k8s:${key}`))
    );
  });
}

function needsProxy(ports: RawToPorts): boolean {
  return (ports.serverNames ?? []).length > 0 || Object.values(ports.rules ?? {}).some(rules => rules.length > 0);
}

function inSet(set: RawBlock, cidr: string | undefined, options: OracleOptions): boolean {
  const cidrs = set.cidr === undefined ? (options.groups?.[set.cidrGroupRef ?? ''] ?? []) : [set.cidr];
  return cidrs.some(one => inBlock(one, set.except ?? [], cidr));
}

function isEntity(entity: string, peer: Party): boolean {
  if (entity === 'all') return true;
  if (entity === 'none') return false;
  const isPod = labelValue(peer, 'k8s:io.cilium.k8s.policy.cluster') !== undefined;
  const inCluster = ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'];
  if (entity === 'cluster') return isPod || inCluster.some(one => has(peer, `reserved:${one}`));
  const isWorld = peer.labels.length === 0 || has(peer, 'reserved:world');
  if (entity === 'world') return isWorld;
  if (entity === 'world-ipv4' || entity === 'world-ipv6') return has(peer, `reserved:${entity}`);
  return has(peer, `reserved:${entity}`);
}

function matchesPort(port: RawPort, flow: Flow, named: Party, byDefault: string): boolean {
  const protocol = (port.protocol ?? byDefault).toUpperCase();
  const hasPorts = ['TCP', 'UDP', 'SCTP'].includes(flow.protocol);
  const wanted = port.port;
  const isAny = wanted === undefined || wanted === 0 || wanted === '0';
  if (!hasPorts || (protocol !== 'ANY' && protocol !== flow.protocol)) return false;
  if (isAny) return true;
  if (typeof wanted === 'string' && !/^\d+$/.test(wanted)) {
    return (named.ports ?? []).some(
      one => one.name === wanted.toLowerCase() && one.protocol === flow.protocol && one.port === flow.port,
    );
  }
  const first = Number(wanted);
  return flow.port >= first && flow.port <= Math.max(first, port.endPort ?? 0);
}

const icmpNames: Readonly<Record<string, number>> = {
  'IPv4 EchoRequest': 8,
  'IPv4 EchoReply': 0,
  'IPv6 EchoRequest': 128,
  'IPv6 EchoReply': 129,
};

function matchesIcmp(field: { readonly family?: string; readonly type: number | string }, flow: Flow): boolean {
  const family = field.family ?? 'IPv4';
  const type = icmpNames[`${family} ${field.type}`] ?? Number(field.type);
  return flow.protocol === (family === 'IPv6' ? 'ICMPv6' : 'ICMP') && flow.port === type;
}

/** True when all of `inner` is in the block and none of it in an exception. */
function inBlock(cidr: string, except: readonly string[], inner: string | undefined): boolean {
  if (inner === undefined || !covers(cidr, inner)) return false;
  return !except.some(one => covers(one, inner));
}

function covers(outer: string, inner: string): boolean {
  const [a, b] = [range(outer), range(inner)];
  return a.family === b.family && a.first <= b.first && b.last <= a.last;
}

function range(cidr: string): { readonly family: 4 | 6; readonly first: bigint; readonly last: bigint } {
  const [address = '', length] = cidr.split('/');
  const family = address.includes(':') ? 6 : 4;
  const bits = family === 4 ? 32 : 128;
  const size = 1n << BigInt(bits - (length === undefined ? bits : Number(length)));
  const number = family === 4 ? number4(address) : number6(address);
  const first = (number / size) * size;
  return { family, first, last: first + size - 1n };
}

function number4(address: string): bigint {
  return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
}

function number6(address: string): bigint {
  const [head = '', tail] = address.split('::');
  const words = (text: string) => (text === '' ? [] : text.split(':'));
  const [left, right] = [words(head), words(tail ?? '')];
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].reduce((sum, word) => sum * 65_536n + BigInt(`0x${word}`), 0n);
}
