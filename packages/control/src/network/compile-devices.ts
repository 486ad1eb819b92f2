import { NetdevFlags } from '@ciliate/abi';
import {
  addressBytes,
  type DeviceRow,
  isIPv4,
  type NetdevRow,
  type NodeConfig,
  type NodeMapRow,
  type NodeRow,
} from '@ciliate/model';
import { pending } from '@ciliate/tables';
import type { Claim } from '../claims.ts';
import { accelerationOf } from './acceleration.ts';
import { deviceAddresses, type Families, isEnabled, macBytes, noAddress, nodeIPs } from './addresses.ts';

/** Native devices that are up: what leaves by them is masqueraded as their first address that others can reach. */
export function netdevEntries(
  device: DeviceRow,
  config: Families & Pick<NodeConfig, 'lbAcceleration'>,
  now: number,
): readonly Claim<NetdevRow>[] {
  if (!device.native || !device.up) return [];
  const addresses = deviceAddresses(device).filter(address => isEnabled(address, config));
  const first = (ipv4: boolean) => {
    const address = addresses.find(candidate => isIPv4(candidate) === ipv4);
    return address === undefined ? noAddress : addressBytes(address);
  };
  const row: NetdevRow = {
    device: device.name,
    key: { ifindex: device.ifindex },
    value: {
      ipv4: first(true),
      ipv6: first(false),
      mac: macBytes(device.mac),
      l3: device.mac === '' ? 1 : 0,
      flags: netdevFlags(device),
    },
    acceleration: accelerationOf(device, config.lbAcceleration),
    status: pending(now),
  };
  return [{ key: device.name, rank: 0, row }];
}

/** Flags of enum netdev_flags. */
function netdevFlags({ xdp, kind }: DeviceRow): number {
  const { NETDEV_BRIDGE, NETDEV_XDP_XMIT, NETDEV_XDP_XMIT_SG, NETDEV_XDP_TX } = NetdevFlags;
  return (
    (kind === 'bridge' ? NETDEV_BRIDGE : 0) |
    (xdp?.transmits === true ? NETDEV_XDP_XMIT : 0) |
    (xdp?.transmitsScattered === true ? NETDEV_XDP_XMIT_SG : 0) |
    // Of a veth, frames sent by XDP_TX lie at the other end until something else wakes it, unless a program runs there.
    (kind === 'veth' ? 0 : NETDEV_XDP_TX)
  );
}

/** Addresses of every node, this one too. `idOf` gives a node's number, 1 to 65535. */
export function nodeMapEntries(
  node: NodeRow,
  idOf: (name: string) => number,
  families: Families,
  now: number,
): readonly Claim<NodeMapRow>[] {
  const id = idOf(node.name);
  return nodeIPs(node)
    .filter(address => isEnabled(address, families))
    .map(address => ({
      key: address,
      rank: 0,
      row: { address, key: { address: addressBytes(address) }, value: { id, flags: 0 }, status: pending(now) },
    }));
}
