/** What policy the kernel's maps held when the agent started, so that nothing opens or closes before all policies are known. */
import type { EndpointEntry, EndpointKey, IpcacheEntry, IpcacheKey, PolicyClass } from '@ciliate/abi';
import { EndpointFlags } from '@ciliate/abi';
import {
  type Address,
  addressFromBytes,
  firstCidrIdentity,
  firstClassIdentity,
  isIPv4,
  makePrefix,
  minClusterIdentity,
  type Prefix,
  prefixAddress,
} from '@ciliate/model';
import { isExactClass } from './exact-classes.ts';
import type { PolicyRestore, RestoredPolicy } from './policy-controller.ts';

/** Numbers of blocks and addresses that the kernel held before this agent started. */
export interface BlockRestore {
  readonly cidrs: readonly (readonly [prefix: Prefix, id: number])[];
  readonly classes: readonly (readonly [prefix: Prefix, id: number])[];
  /** Of pods. */
  readonly identities: readonly number[];
  /** Of node_classes, and of single addresses in policy_classes. */
  readonly exact: readonly (readonly [address: Address, id: number])[];
}

export const noBlocksRestored: BlockRestore = { cidrs: [], classes: [], identities: [], exact: [] };

/** ms that a number stays in policy maps when no address has it any more, and a group when no endpoint is in it. */
export const linger = 10_000;

export function restorePolicies(entries: Iterable<readonly [EndpointKey, EndpointEntry]>): PolicyRestore {
  const kinds = EndpointFlags.ENDPOINT_HOST | EndpointFlags.ENDPOINT_ROUTER | EndpointFlags.ENDPOINT_HEALTH;
  const endpoints = new Map<string, RestoredPolicy>();
  for (const [{ address }, { policyGroup: group, policyRevision: revision, flags, ifindex }] of entries) {
    endpoints.set(addressFromBytes(address), { group, revision, flags: flags & ~kinds, ifindex });
  }
  return { endpoints };
}

export function restoreBlocks(
  ipcache: Iterable<readonly [IpcacheKey, IpcacheEntry]>,
  classes: Iterable<readonly [IpcacheKey, PolicyClass]>,
  nodeClasses: Iterable<readonly [EndpointKey, PolicyClass]>,
): BlockRestore {
  const entries = [...ipcache];
  const cidrs = entries.filter(([, { identity }]) => identity >= firstCidrIdentity && identity < firstClassIdentity);
  const ofPods = entries.map(([, { identity }]) => identity).filter(id => id >= minClusterIdentity);
  const ofPrefixes = [...classes].map(numberOf);
  const ofNodes = [...nodeClasses].map(([{ address }, { identity }]) => [addressFromBytes(address), identity] as const);
  const ofAddresses = ofPrefixes.map(([prefix, id]) => [prefixAddress(prefix), id] as const);
  // Numbers say which are which: exact classes have a range of their own.
  return {
    cidrs: cidrs.map(numberOf),
    classes: ofPrefixes.filter(([, id]) => !isExactClass(id)),
    identities: [...new Set(ofPods.filter(id => id < firstCidrIdentity))],
    exact: [...ofNodes, ...ofAddresses],
  };
}

function numberOf([key, { identity }]: readonly [IpcacheKey, { readonly identity: number }]): readonly [
  Prefix,
  number,
] {
  const address = addressFromBytes(key.address);
  return [makePrefix(address, isIPv4(address) ? key.prefixlen - 96 : key.prefixlen), identity];
}
