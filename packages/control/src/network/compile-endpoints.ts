import { EndpointFlags, ReservedIdentity } from '@ciliate/abi';
import {
  type Address,
  addressBytes,
  type DeviceRow,
  type EndpointDeviceRow,
  type EndpointMapRow,
  type EndpointRow,
  type NodeConfig,
  type NodeRow,
  type PodRow,
} from '@ciliate/model';
import { pending } from '@ciliate/tables';
import type { Claim } from '../claims.ts';
import { deviceAddresses, type Families, isEnabled, macBytes, nodeIPs } from './addresses.ts';

type EndpointMapClaims = readonly Claim<EndpointMapRow>[];

/** Of several that name one address the first counts. */
const ranks = { endpoint: 0, router: 1, node: 2, device: 3, foreign: 4 } as const;

/** The addresses of an endpoint: where packets for them are delivered. */
export function endpointEntries(endpoint: EndpointRow, families: Families, now: number): EndpointMapClaims {
  const value = {
    ifindex: endpoint.ifindex,
    identity: endpoint.identity,
    id: endpoint.id,
    flags: endpoint.kind === 'health' ? EndpointFlags.ENDPOINT_HEALTH : 0,
    mac: macBytes(endpoint.mac),
    nodeMac: macBytes(endpoint.nodeMac),
    policyGroup: 0,
    policyRevision: 0,
  };
  return claimsOf(endpoint.addresses, value, ranks.endpoint, families, now);
}

/** This node's own addresses; other nodes have none in this map. */
export function nodeEntries(node: NodeRow, families: Families, now: number): EndpointMapClaims {
  if (!node.local) return [];
  const router = hostEntry(EndpointFlags.ENDPOINT_HOST | EndpointFlags.ENDPOINT_ROUTER);
  return [
    ...claimsOf(node.routerAddresses, router, ranks.router, families, now),
    ...claimsOf(nodeIPs(node), hostEntry(EndpointFlags.ENDPOINT_HOST), ranks.node, families, now),
  ];
}

/** A pod of this node that another CNI has wired: no device of ours leads to it. */
export function foreignEntries(
  pod: PodRow,
  config: Families & Pick<NodeConfig, 'nodeName'>,
  now: number,
): EndpointMapClaims {
  if (pod.nodeName !== config.nodeName || pod.hostNetwork || pod.phase === 'Succeeded' || pod.phase === 'Failed')
    return [];
  const none = new Uint8Array(6);
  const value = {
    ...{ ifindex: 0, identity: ReservedIdentity.IDENTITY_UNMANAGED, id: 0, flags: EndpointFlags.ENDPOINT_FOREIGN },
    ...{ mac: none, nodeMac: none, policyGroup: 0, policyRevision: 0 },
  };
  return claimsOf(pod.podIPs, value, ranks.foreign, config, now);
}

/** Addresses of native devices that the Node object does not name: they are this node's as well. */
export function deviceEntries(device: DeviceRow, families: Families, now: number): EndpointMapClaims {
  if (!device.native) return [];
  return claimsOf(deviceAddresses(device), hostEntry(EndpointFlags.ENDPOINT_HOST), ranks.device, families, now);
}

/** Programs belong on the device of every endpoint that has one. */
export function endpointDevice(endpoint: EndpointRow, now: number): readonly Claim<EndpointDeviceRow>[] {
  if (endpoint.device === '' || endpoint.ifindex === 0) return [];
  const { device, ifindex, id } = endpoint;
  return [{ key: device, rank: 0, row: { device, ifindex, endpointId: id, status: pending(now) } }];
}

function hostEntry(flags: number): EndpointMapRow['value'] {
  const none = new Uint8Array(6);
  return {
    ifindex: 0,
    identity: ReservedIdentity.IDENTITY_HOST,
    id: 0,
    flags,
    mac: none,
    nodeMac: none,
    policyGroup: 0,
    policyRevision: 0,
  };
}

function claimsOf(
  addresses: readonly Address[],
  value: EndpointMapRow['value'],
  rank: number,
  families: Families,
  now: number,
): EndpointMapClaims {
  return addresses
    .filter(address => isEnabled(address, families))
    .map(address => ({
      key: address,
      rank,
      row: { address, key: { address: addressBytes(address) }, value, status: pending(now) },
    }));
}
