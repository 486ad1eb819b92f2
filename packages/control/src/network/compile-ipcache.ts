import { IpcacheFlags, ReservedIdentity } from '@ciliate/abi';
import {
  type Address,
  type AddressBlockRow,
  addressBytes,
  allIPv4,
  coversMapped,
  type EndpointRow,
  hostPrefix,
  type IpcacheRow,
  type NodeConfig,
  type NodeRow,
  type Prefix,
  prefixAddress,
  prefixBits,
  type RemoteEndpointRow,
} from '@ciliate/model';
import { pending } from '@ciliate/tables';
import type { Claim } from '../claims.ts';
import { isEnabled, noAddress, nodeIPs, tunnelEndpoint } from './addresses.ts';

export type IpcacheConfig = Pick<NodeConfig, 'ipv4' | 'ipv6' | 'routingMode' | 'serviceOnly'>;
type IpcacheClaims = readonly Claim<IpcacheRow>[];

/** Of several that name one prefix the first counts. */
const ranks = {
  endpoint: 0,
  host: 1,
  node: 2,
  'remote-endpoint': 3,
  'pod-cidr': 4,
  cidr: 5,
  'kube-apiserver': 6,
  world: 7,
} as const;
type Source = keyof typeof ranks;
const apiServer = ReservedIdentity.IDENTITY_KUBE_APISERVER;

/**
 * A node's own addresses and its pod CIDRs; those of another node are behind its tunnel endpoint in tunnel mode. `apiServers`: addresses
 * on which the API server listens; where this node is one of them its identity stays the host's, and gets the label.
 */
export function nodeIpcache(
  node: NodeRow,
  config: IpcacheConfig,
  now: number,
  apiServers: ReadonlySet<Address> = new Set(),
): IpcacheClaims {
  const tunnel = node.local ? undefined : tunnelEndpoint(node, config);
  const identity = node.local ? ReservedIdentity.IDENTITY_HOST : ReservedIdentity.IDENTITY_REMOTE_NODE;
  const row = rowMaker(config, tunnel, now);
  return [
    ...[...nodeIPs(node), ...node.routerAddresses].map(address =>
      row(
        hostPrefix(address),
        !node.local && apiServers.has(address) ? apiServer : identity,
        node.local ? 'host' : 'node',
      ),
    ),
    ...(node.local ? [] : node.healthAddresses).map(address =>
      row(hostPrefix(address), ReservedIdentity.IDENTITY_HEALTH, 'node'),
    ),
    // An address of the CIDR that no endpoint is known for yet. Of another CNI's pods that says nothing: a backend may be there.
    ...(config.serviceOnly ? [] : node.podCIDRs).map(prefix =>
      row(prefix, ReservedIdentity.IDENTITY_UNMANAGED, 'pod-cidr'),
    ),
  ].flat();
}

export function remoteEndpointIpcache(row: RemoteEndpointRow, config: IpcacheConfig, now: number): IpcacheClaims {
  const make = rowMaker(config, row.nodeAddress, now);
  return row.addresses.flatMap(address => make(hostPrefix(address), row.identity, 'remote-endpoint'));
}

export function endpointIpcache(row: EndpointRow, config: IpcacheConfig, now: number): IpcacheClaims {
  const make = rowMaker(config, undefined, now);
  return row.addresses.flatMap(address => make(hostPrefix(address), row.identity, 'endpoint'));
}

/** Addresses outside the cluster that a policy tells from the rest of the world. */
export function blockIpcache({ kind, prefix, id }: AddressBlockRow, config: IpcacheConfig, now: number): IpcacheClaims {
  if (kind !== 'cidr') return [];
  const make = rowMaker(config, undefined, now);
  // In the map IPv4 is inside of ::/0: the longest match must not find that.
  const others = coversMapped(prefix) ? make(allIPv4, ReservedIdentity.IDENTITY_WORLD, 'world') : [];
  return [...make(prefix, id, 'cidr'), ...others].map(claim => ({
    ...claim,
    row: { ...claim.row, value: { ...claim.row.value, flags: 0 } },
  }));
}

/** Claims of at most one row: none for a family that is off. */
function rowMaker(config: IpcacheConfig, tunnel: Address | undefined, now: number) {
  const tunnelBytes = config.routingMode === 'tunnel' && tunnel !== undefined ? addressBytes(tunnel) : noAddress;
  return (prefix: Prefix, identity: number, source: Source): IpcacheClaims => {
    if (!isEnabled(prefix, config)) return [];
    const row: IpcacheRow = {
      prefix,
      key: { prefixlen: prefixBits(prefix), address: addressBytes(prefixAddress(prefix)) },
      value: { identity, tunnelEndpoint: tunnelBytes, flags: IpcacheFlags.IPCACHE_IN_CLUSTER },
      source,
      status: pending(now),
    };
    return [{ key: prefix, rank: ranks[source], row }];
  };
}
