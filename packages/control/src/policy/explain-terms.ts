/** Which part of a rule does not fit a flow, in words. */
import {
  hostPrefix,
  type Labels,
  type LabelTerms,
  matchesTerms,
  type Peer,
  type PortRule,
  type Prefix,
  prefixContains,
  splitKey,
  type TrafficRule,
  termsText,
} from '@ciliate/model';
import { groupsOf, type PeerContext } from './peers.ts';
import type { Somebody } from './scene.ts';
import type { ServiceTargets } from './service-peers.ts';

const protocolNames: Readonly<Record<number, string>> = {
  0: 'ANY',
  1: 'ICMP',
  6: 'TCP',
  17: 'UDP',
  58: 'ICMPv6',
  132: 'SCTP',
};

export function protocolText(protocol: number): string {
  return protocolNames[protocol] ?? String(protocol);
}

/** '5432/TCP', 'ICMP type 8'. */
export function portText(protocol: number, port: number): string {
  const name = protocolText(protocol);
  return name.startsWith('ICMP') ? `${name} type ${port}` : `${port}/${name}`;
}

/** Terms that do not hold; empty: all do. */
export function failedTerms(terms: LabelTerms, labels: Labels): readonly string[] {
  return terms
    .filter(term => !matchesTerms([term], labels))
    .map(term => {
      const found = Object.entries(labels).find(([name]) => {
        const { source, key } = splitKey(name);
        return key === term.key && (term.source === '' || term.source === source);
      });
      const has = found === undefined ? 'it has no such label' : `it has ${found[1] === '' ? 'it' : `'${found[1]}'`}`;
      return `${termsText([term])}: ${has}`;
    });
}

/** What of the peers does not fit: of the one that comes nearest. */
export function failedPeer(traffic: TrafficRule, peer: Somebody, context: PeerContext): readonly string[] {
  if (traffic.peers === undefined) return [];
  const each = traffic.peers.map(one => failedOne(one, peer, context)).toSorted((a, b) => a.length - b.length);
  return each[0] ?? ['the rule names nobody'];
}

function failedOne(one: Peer, peer: Somebody, context: PeerContext): readonly string[] {
  switch (one.kind) {
    case 'everybody':
      return [];
    case 'labels':
      return failedTerms(one.terms, peer.labels);
    case 'nodes':
      return isNode(peer) ? failedTerms(one.terms, peer.labels) : [`${termsText(one.terms)}: it is no node`];
    case 'cidr':
      if (!one.pods && !isOutside(peer, context)) return [`${one.cidr} is about addresses outside of the cluster`];
      return inBlock(one.cidr, one.except, peer);
    case 'cidr-group': {
      if (!isOutside(peer, context)) return ['groups of blocks are about addresses outside of the cluster'];
      const each = groupsOf(one.group, context).flatMap(group =>
        group.cidrs.map(cidr => inBlock(cidr, one.except, peer)),
      );
      return each.toSorted((a, b) => a.length - b.length)[0] ?? ['the group has no blocks'];
    }
    case 'service': {
      const { namespace, name } = one.service;
      if (isServing(context.serviceTargets(one), peer)) return [];
      return [`service ${namespace}/${name === '' ? 'by labels' : name}: it does not serve it`];
    }
    case 'fqdn':
      return [`name ${one.pattern} is not enforced yet`];
  }
}

function isServing(
  { selectors, ids, prefixes }: ServiceTargets,
  { kind, identity, labels, addresses }: Somebody,
): boolean {
  if (kind === 'pod') return ids.includes(identity) || selectors.some(terms => matchesTerms(terms, labels));
  return addresses.some(address => prefixes.includes(hostPrefix(address)));
}

const isNode = ({ labels }: Somebody): boolean => 'reserved:remote-node' in labels || 'reserved:host' in labels;

/** For blocks of Cilium's policies. */
const isOutside = (peer: Somebody, { cidrMatchesNodes }: PeerContext): boolean =>
  peer.kind === 'outside' || (cidrMatchesNodes && isNode(peer));

function inBlock(cidr: Prefix, except: readonly Prefix[], peer: Somebody): readonly string[] {
  const [address] = peer.addresses;
  if (address === undefined) return [`${cidr}: no address is known`];
  const has = (prefix: Prefix) => prefixContains(prefix, address);
  if (!has(cidr)) return [`${cidr}: ${address} is not in it`];
  const taken = except.find(has);
  return taken === undefined ? [] : [`${cidr} except ${taken}: ${address} is in the exception`];
}

/** What of the ports does not fit. */
export function failedPort(
  traffic: TrafficRule,
  protocol: number,
  port: number,
  named: Somebody['namedPorts'],
): readonly string[] {
  if (traffic.ports === undefined) return [];
  const fits = traffic.ports.some(one => !one.l7 && fitsPort(one, protocol, port, named));
  if (fits) return [];
  const wanted = [...new Set(traffic.ports.map(portRuleText))].join(', ');
  return [`ports ${wanted === '' ? '(none)' : wanted}: the flow is ${portText(protocol, port)}`];
}

function fitsPort(one: PortRule, protocol: number, port: number, named: Somebody['namedPorts']): boolean {
  if (one.protocol !== 0 && one.protocol !== protocol) return false;
  if (typeof one.port === 'string') return named.get(`${one.protocol}/${one.port}`)?.includes(port) ?? false;
  const isIcmp = one.protocol === 1 || one.protocol === 58;
  if (one.port === 0 && one.endPort === 0 && !isIcmp) return true;
  return port >= one.port && port <= Math.max(one.port, one.endPort);
}

function portRuleText({ protocol, port, endPort, l7 }: PortRule): string {
  const number = port === 0 && endPort === 0 && protocol !== 1 && protocol !== 58 ? 'every port' : String(port);
  return `${number}${endPort > 0 ? `-${endPort}` : ''}/${protocolText(protocol)}${l7 ? ' (with L7 rules)' : ''}`;
}
