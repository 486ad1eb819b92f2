/** One element of ingress, ingressDeny, egress, egressDeny of Cilium's policies: whom, and which ports. */

import type { ParseProblem } from '../k8s/parsed.ts';
import type { Reader } from '../k8s/reader.ts';
import { readBlock, readCidr, readExcept } from './cidr.ts';
import { entityNames, entityPeers } from './entities.ts';
import { checkDnsName, checkL7 } from './l7.ts';
import { type LabelTerms, term } from './label-terms.ts';
import { readCiliumPort, readIcmpFields } from './ports.ts';
import { checkFields, readSelector, scopedSelector } from './read-selector.ts';
import type { Peer, PortRule, TrafficRule } from './rows.ts';

/** Where the rule stands. */
export interface Scope {
  /** '' = clusterwide. */
  readonly namespace: string;
  readonly host: boolean;
  readonly log: string | undefined;
  /** A clusterwide rule about pods that have no labels yet: its selectors are not about pods alone. */
  readonly ofInit: boolean;
  readonly problems: ParseProblem[];
  /** Collects what cannot be enforced yet. */
  readonly refused: Set<string>;
}

const peerFields = {
  ingress: ['fromEndpoints', 'fromEntities', 'fromCIDR', 'fromCIDRSet', 'fromNodes', 'fromGroups', 'fromRequires'],
  egress: ['toEndpoints', 'toEntities', 'toCIDR', 'toCIDRSet', 'toNodes', 'toServices', 'toGroups', 'toRequires'],
} as const;
/** Not of deny rules. */
const allowFields = { ingress: ['authentication'], egress: ['authentication', 'toFQDNs'] } as const;
const authenticationModes = ['disabled', 'required', 'test-always-fail'] as const;

export function readTraffic(rule: Reader, field: string, scope: Scope): TrafficRule {
  const direction = field.startsWith('ingress') ? 'ingress' : 'egress';
  const deny = field.endsWith('Deny');
  const fields = [...peerFields[direction], ...(deny ? [] : allowFields[direction])];
  checkFields(rule, [...fields, 'toPorts', 'icmps']);
  checkAuthentication(rule.at('authentication'), scope);
  const named = fields.filter(name => name !== 'authentication' && !rule.at(name).absent);
  checkTogether(rule, named);
  const ports = readPorts(rule, direction, deny, scope);
  // A list without elements is nobody, whatever stands beside it.
  const isNobody = named.some(name => rule.at(name).list().length === 0);
  const listed = named.flatMap(name => readPeers(rule.at(name), name, scope));
  const peers = named.length === 0 ? undefined : isNobody ? [] : listed;
  // A rule that names neither peers nor ports lets nothing through: `ingress: [{}]` isolates and no more.
  const isEmpty = peers === undefined && ports === undefined;
  return { path: rule.path, deny, log: scope.log, peers: isEmpty ? [] : peers, ports };
}

function checkAuthentication(authentication: Reader, scope: Scope): void {
  if (authentication.absent) return;
  checkFields(authentication, ['mode']);
  const mode = authentication.at('mode').choice(authenticationModes, 'disabled');
  if (mode !== 'disabled') scope.refused.add('mutual authentication is not there yet');
}

/** Kinds of peers that do not go together in one rule, because they would have to be ANDed. A list without elements is none. */
function checkTogether(rule: Reader, named: readonly string[]): void {
  const [first, second] = named.filter(name => !name.endsWith('Requires') && rule.at(name).list().length > 0);
  if (second !== undefined) throw rule.at(second).bad(`stands beside ${first}`, 'make two rules of it');
}

function readPeers(list: Reader, name: string, scope: Scope): readonly Peer[] {
  const kind = name.replace(/^(from|to)/, '');
  switch (kind) {
    case 'Endpoints':
      return list
        .list()
        .map(item => labelPeer(scope.ofInit ? readSelector(item) : scopedSelector(item, scope.namespace)));
    case 'Entities':
      return list.list().flatMap(readEntity);
    case 'CIDR':
      return list.list().map(item => ({ kind: 'cidr', cidr: readCidr(item), except: [], pods: false }));
    case 'CIDRSet':
      return list.list().flatMap(readCidrSet);
    case 'Nodes':
      return list.list().map(item => nodePeer([nodeTerm, ...readSelector(item)]));
    case 'Services':
      return list.list().map(item => readService(item));
    case 'FQDNs':
      return list.list().map(item => readFqdn(item, scope));
    default:
      throw list.bad('is not supported', 'select peers by endpoints, entities, CIDR, nodes, services or names');
  }
}

/** The field's rule: other nodes; this one is the entity host. */
const nodeTerm = term('reserved:remote-node', 'Exists');

/** Nodes are told apart by label only where a selector asks for one: the others are one identity. */
function nodePeer(terms: LabelTerms): Peer {
  return { kind: terms.every(({ source }) => source === 'reserved') ? 'labels' : 'nodes', terms };
}

/** A selector of endpoints may name node labels too, together with what makes it one of nodes. */
function labelPeer(terms: LabelTerms): Peer {
  const has = (source: string) => terms.some(one => one.source === source);
  return { kind: has('node') && has('reserved') ? 'nodes' : 'labels', terms };
}

function readEntity(entity: Reader): readonly Peer[] {
  const name = entity.text();
  const peers = entityPeers(name);
  if (peers === undefined) throw entity.bad(`'${name}' is no entity`, `use one of ${entityNames.join(', ')}`);
  return peers;
}

function readCidrSet(item: Reader): readonly Peer[] {
  checkFields(item, ['cidr', 'cidrGroupRef', 'cidrGroupSelector', 'except']);
  const [cidr, ref, selector] = [item.at('cidr'), item.at('cidrGroupRef'), item.at('cidrGroupSelector')];
  if ([cidr, ref, selector].filter(one => !one.absent).length !== 1) {
    throw item.bad('does not have exactly one of cidr, cidrGroupRef, cidrGroupSelector', 'keep one of them');
  }
  if (!cidr.absent) return readExcept(item).map(block => ({ kind: 'cidr', ...block, pods: false }));
  const except = item.at('except').list().map(readBlock);
  const group = ref.absent ? { terms: readGroupSelector(selector) } : { name: ref.text() };
  return [{ kind: 'cidr-group', group, except }];
}

/** Labels of CiliumCIDRGroup objects have no source. */
function readGroupSelector(selector: Reader): LabelTerms {
  const labels = selector.at('matchLabels');
  const keys = [
    ...labels.keys().map(name => [labels.at(name), name] as const),
    ...selector
      .at('matchExpressions')
      .list()
      .map(item => [item.at('key'), item.at('key').text()] as const),
  ];
  for (const [at, key] of keys) {
    if (key.includes(':')) throw at.bad(`'${key}' names a source`, 'write the label as the CiliumCIDRGroup has it');
  }
  return readSelector(selector);
}

/** Without a namespace services of every one are meant, as in Cilium. */
function readService(item: Reader): Peer {
  checkFields(item, ['k8sService', 'k8sServiceSelector']);
  const [service, selector] = [item.at('k8sService'), item.at('k8sServiceSelector')];
  if (service.absent === selector.absent) {
    throw item.bad('does not have exactly one of k8sService, k8sServiceSelector', 'keep one of them');
  }
  checkFields(service, ['serviceName', 'namespace']);
  checkFields(selector, ['selector', 'namespace']);
  const namespace = (service.absent ? selector : service).at('namespace').text('');
  if (!service.absent) {
    return { kind: 'service', service: { namespace, name: service.at('serviceName').text(), terms: undefined } };
  }
  const labels = selector.at('selector');
  if (labels.absent) throw labels.bad('is missing', 'select services by label, with {} all of them');
  return { kind: 'service', service: { namespace, name: '', terms: readSelector(labels) } };
}

function readFqdn(item: Reader, scope: Scope): Peer {
  const [name, pattern] = [item.at('matchName').text(''), item.at('matchPattern').text('')];
  const text = name === '' ? pattern : name;
  checkDnsName(item);
  scope.refused.add('rules by DNS name (toFQDNs) are not there yet');
  return { kind: 'fqdn', pattern: text.toLowerCase() };
}

const portRuleFields = ['ports', 'rules', 'listener', 'terminatingTLS', 'originatingTLS', 'serverNames'];

/** Undefined: no restriction. */
function readPorts(
  rule: Reader,
  direction: 'ingress' | 'egress',
  deny: boolean,
  scope: Scope,
): readonly PortRule[] | undefined {
  const toPorts = rule.at('toPorts').list();
  const icmps = rule.at('icmps').list();
  if (toPorts.length > 0 && icmps.length > 0) {
    throw rule.at('icmps').bad('stands beside toPorts', 'make two rules of it');
  }
  if (toPorts.length === 0 && icmps.length === 0) return undefined;
  return [...toPorts.flatMap(item => readPortRule(item, direction, deny, scope)), ...icmps.flatMap(readIcmpFields)];
}

function readPortRule(item: Reader, direction: 'ingress' | 'egress', deny: boolean, scope: Scope): readonly PortRule[] {
  checkFields(item, portRuleFields);
  const ports = item.at('ports').list();
  if (ports.length > 40) {
    throw item.at('ports').bad(`has ${ports.length} entries, and 40 are allowed`, 'split the rule, or use endPort');
  }
  const l7 = checkL7(item, { direction, deny, host: scope.host, refused: scope.refused });
  const rules = ports.flatMap(port => readCiliumPort(port, l7, scope.problems));
  if (rules.some(one => one.endPort > 0) && item.at('rules', 'dns').list().length > 0) {
    throw item.at('ports').bad('has a range with DNS rules', 'name each port');
  }
  return rules;
}
