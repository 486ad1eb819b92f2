import { addressBytes, type DeviceRow, isIPv4, type NetdevRow, type NodeMapRow, type NodeRow } from '@ciliate/model';
import { pending } from '@ciliate/tables';
import type { Claim } from '../claims.ts';
import { deviceAddresses, type Families, isEnabled, macBytes, noAddress, nodeIPs } from './addresses.ts';

/** Native devices that are up: what leaves by them is masqueraded as their first address that others can reach. */
export function netdevEntries(device: DeviceRow, families: Families, now: number): readonly Claim<NetdevRow>[] {
  if (!device.native || !device.up) return [];
  const addresses = deviceAddresses(device).filter(address => isEnabled(address, families));
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
      bridge: device.kind === 'bridge' ? 1 : 0,
    },
    status: pending(now),
  };
  return [{ key: device.name, rank: 0, row }];
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
