/** Rows between policies and the kernel's policy maps. */
import type { IpcacheKey, PolicyClass, PolicyEntry, PolicyKey } from '@ciliate/abi';
import type { Reconcilable } from '@ciliate/tables';
import type { Prefix } from '../address.ts';
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
}

export const firstCidrIdentity = 0x0100_0000;
export const firstClassIdentity = 0x0200_0000;

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
  readonly entries: readonly (readonly [PolicyKey, PolicyEntry])[];
  /** Directions that are judged at all. */
  readonly ingress: boolean;
  readonly egress: boolean;
  readonly usesClasses: boolean;
  /** Of the whole node, growing: flows allowed under another one are judged again. */
  readonly revision: number;
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
