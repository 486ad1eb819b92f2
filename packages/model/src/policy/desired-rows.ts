/** Rows between policies and the kernel's policy maps. */
import type { EndpointKey, IpcacheKey, PolicyClass } from '@ciliate/abi';
import type { Reconcilable } from '@ciliate/tables';
import type { Address, Prefix } from '../address.ts';
import type { Labels } from '../labels.ts';
import type { LabelTerms } from './label-terms.ts';
import type { PolicyContent } from './policy-content.ts';
import type { RuleReference } from './rule-reference.ts';

/**
 * An address block that policies name, with a number of this node's own. `cidr`: an identity of addresses outside the cluster
 * (0x01000000 …); `class`: of addresses that pods may have, asked beside their identity (0x02000000 …). Key: kind prefix.
 */
export interface AddressBlockRow {
  readonly kind: 'cidr' | 'class';
  readonly prefix: Prefix;
  readonly id: number;
  /** The API server's address, outside of the cluster. */
  readonly apiServer?: true;
  /** Nobody names it any more. The number stays in policy maps until no address has it. */
  readonly leaving?: true;
}

export const firstCidrIdentity = 0x0100_0000;
export const firstClassIdentity = 0x0200_0000;

/**
 * Addresses of which policies ask more than the block that they are in: of nodes the labels, of pods what they call a port. Those of which
 * the answers are alike share one number of the classes. Key: key.
 */
export interface AddressClassRow {
  /** What the policies know of them, as text: a number never stands for something else. */
  readonly key: string;
  readonly id: number;
  /** Whose they are decides which lookup finds them: a node's count only for who has a node's identity. */
  readonly of: 'node' | 'pod';
  /** reserved:remote-node or reserved:host, and the labels (node:…) that some policy names. */
  readonly labels: Labels;
  /** The longest block that a policy names and that holds them. */
  readonly block: Prefix | undefined;
  /** '6/http' → numbers. */
  readonly namedPorts: readonly (readonly [string, readonly number[]])[];
  /** Empty: the number stays in policy maps a while longer. */
  readonly addresses: readonly Address[];
}

/** Whom a toServices reference stands for. Key: the reference as text. */
export interface ServiceTargetsRow {
  readonly key: string;
  /** Of services that select pods: what they select, any of these. */
  readonly selectors: readonly LabelTerms[];
  /** Of services whose endpoints somebody else writes: identities of pods, and addresses that no pod has. */
  readonly ids: readonly number[];
  readonly prefixes: readonly Prefix[];
}

/** A block or class that the policy maps know, from a revision on: only then may an address get its number. Key: id. */
export interface PolicyPeerRow {
  readonly id: number;
  /** PolicyGroupRow.revision */
  readonly revision: number;
}

/** An entry of node_classes. Key: the address. */
export interface NodeClassRow extends Reconcilable {
  readonly address: Address;
  readonly key: EndpointKey;
  readonly value: PolicyClass;
}

/** An entry of policy_classes. Key: the prefix. */
export interface PolicyClassRow extends Reconcilable {
  readonly prefix: Prefix;
  readonly key: IpcacheKey;
  readonly value: PolicyClass;
}

/**
 * The policy map of all endpoints that have one identity and the same named ports. Key: id. What the datapath holds is the content of
 * the last revision whose status is done.
 */
export interface PolicyGroupRow extends Reconcilable {
  readonly id: number;
  readonly identity: number;
  readonly host: boolean;
  readonly content: PolicyContent;
  /** Directions that are judged at all. */
  readonly ingress: boolean;
  readonly egress: boolean;
  readonly usesClasses: boolean;
  /** Other rules, another number: contents under one number differ by single identities, each for itself. */
  readonly rules: number;
  /** Of the whole node, growing: flows allowed under another one are judged again. */
  readonly revision: number;
  /** Why the policy that is asked for is not this one, which stays in force. Absent: it is this one. */
  readonly unfit?: string;
}

/** Which group an endpoint is in. Key: endpoint id, or 'host'. */
export interface EndpointPolicyRow {
  readonly endpoint: string;
  readonly group: number;
}

/** What a rule id in a policy map or a verdict event stands for. Key: id. */
export interface PolicyRuleRow {
  readonly id: number;
  readonly reference: RuleReference;
}

export const hostEndpoint = 'host';
