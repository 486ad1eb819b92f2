/** Policies as they are parsed: every kind becomes the same rules, so that one compiler serves all. */
import type { Prefix } from '../address.ts';
import type { Labels } from '../labels.ts';
import type { LabelTerms } from './label-terms.ts';

export type PolicyKind = 'NetworkPolicy' | 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy';
export type PolicyDirectionName = 'ingress' | 'egress';
export type AuditMode = 'off' | 'on' | { readonly until: number };

/** A policy object. Key: kind/namespace/name. */
export interface PolicyRow {
  readonly kind: PolicyKind;
  /** '' for a CiliumClusterwideNetworkPolicy. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  readonly labels: Labels;
  /** Annotation ciliate.io/audit: would-be denies are reported and let through. */
  readonly audit: AuditMode;
  readonly rules: readonly PolicyRule[];
  /** What of it cannot be enforced yet; such a policy is not enforced at all, and its status says so. Empty: nothing. */
  readonly refused: readonly string[];
}

/** One `spec`. */
export interface PolicyRule {
  /** Position among `spec` and `specs`. */
  readonly index: number;
  /** Whom the rule is about; `host`: nodes (nodeSelector), else pods. */
  readonly subject: LabelTerms;
  readonly host: boolean;
  /** Directions that the rule isolates. */
  readonly isolates: { readonly ingress: boolean; readonly egress: boolean };
  readonly ingress: readonly TrafficRule[];
  readonly egress: readonly TrafficRule[];
  readonly description: string;
  /** 'source:key=value' of its `labels`: what its writer calls it by; nobody is selected by them. */
  readonly labels: readonly string[];
}

/** One element of ingress, egress, ingressDeny or egressDeny. Peers and ports are ANDed. */
export interface TrafficRule {
  /** Where in the object: 'spec.ingress[0]'. */
  readonly path: string;
  readonly deny: boolean;
  /** Each flow that it decides is told, with this text; undefined: not asked for. */
  readonly log: string | undefined;
  /** Any of these; undefined: everybody. Empty: nobody. */
  readonly peers: readonly Peer[] | undefined;
  /** Any of these; undefined: every protocol and port. Empty: none. */
  readonly ports: readonly PortRule[] | undefined;
}

export type Peer =
  | { readonly kind: 'everybody' }
  | { readonly kind: 'labels'; readonly terms: LabelTerms }
  /** Nodes by the labels of their Node objects (source node). */
  | { readonly kind: 'nodes'; readonly terms: LabelTerms }
  /** `pods`: addresses of pods count too (ipBlock of NetworkPolicy); else only what has no identity of the cluster's. */
  | { readonly kind: 'cidr'; readonly cidr: Prefix; readonly except: readonly Prefix[]; readonly pods: boolean }
  | { readonly kind: 'cidr-group'; readonly group: CidrGroupReference; readonly except: readonly Prefix[] }
  | { readonly kind: 'service'; readonly service: ServiceReference }
  | { readonly kind: 'fqdn'; readonly pattern: string };

/** By name, or by labels of CiliumCIDRGroup objects. */
export type CidrGroupReference = { readonly name: string } | { readonly terms: LabelTerms };

/** By name, or by labels of Service objects; namespace '' = any. */
export interface ServiceReference {
  readonly namespace: string;
  readonly name: string;
  readonly terms: LabelTerms | undefined;
}

export interface PortRule {
  /** IPPROTO_*; 0: any. */
  readonly protocol: number;
  /** A number (0: every port), a name, or an ICMP type. */
  readonly port: number | string;
  /** Last port of a range; 0: no range. */
  readonly endPort: number;
  /** L7 rules stand on it: what passes at L4 is still to be judged. */
  readonly l7: boolean;
}

/** A CiliumCIDRGroup. Key: name. */
export interface CidrGroupRow {
  readonly name: string;
  readonly labels: Labels;
  readonly cidrs: readonly Prefix[];
}

export function policyKey(policy: Pick<PolicyRow, 'kind' | 'namespace' | 'name'>): string {
  return `${policy.kind}/${policy.namespace}/${policy.name}`;
}

/** Whom its rules name. */
export function peersOf({ rules }: Pick<PolicyRow, 'rules'>): readonly Peer[] {
  return rules.flatMap(rule => [...rule.ingress, ...rule.egress]).flatMap(traffic => traffic.peers ?? []);
}
