/** What policy the kernel's maps held when the agent started, so that nothing opens or closes before all policies are known. */
import type { EndpointEntry, EndpointKey, IpcacheEntry, IpcacheKey, PolicyClass } from '@ciliate/abi';
import { EndpointFlags } from '@ciliate/abi';
import { addressFromBytes, firstCidrIdentity, firstClassIdentity, isIPv4, makePrefix } from '@ciliate/model';
import type { BlockRestore } from './address-blocks.ts';
import type { PolicyRestore } from './policy-controller.ts';

export function restorePolicies(entries: Iterable<readonly [EndpointKey, EndpointEntry]>): PolicyRestore {
  const kinds = EndpointFlags.ENDPOINT_HOST | EndpointFlags.ENDPOINT_ROUTER | EndpointFlags.ENDPOINT_HEALTH;
  const endpoints = new Map<string, { group: number; revision: number; flags: number }>();
  for (const [{ address }, { policyGroup: group, policyRevision: revision, flags }] of entries) {
    if (group > 0) endpoints.set(addressFromBytes(address), { group, revision, flags: flags & ~kinds });
  }
  return { endpoints };
}

export function restoreBlocks(
  ipcache: Iterable<readonly [IpcacheKey, IpcacheEntry]>,
  classes: Iterable<readonly [IpcacheKey, PolicyClass]>,
): BlockRestore {
  const cidrs = [...ipcache].filter(
    ([, { identity }]) => identity >= firstCidrIdentity && identity < firstClassIdentity,
  );
  return { cidrs: cidrs.map(numberOf), classes: [...classes].map(numberOf) };
}

function numberOf([key, { identity }]: readonly [IpcacheKey, { readonly identity: number }]): readonly [
  string,
  number,
] {
  const address = addressFromBytes(key.address);
  return [makePrefix(address, isIPv4(address) ? key.prefixlen - 96 : key.prefixlen), identity];
}
