import {
  type Address,
  type DeviceRow,
  isIPv4,
  type NodeConfig,
  type NodeRow,
  type Prefix,
  tryParseAddress,
} from '@ciliate/model';

/** 16 zero bytes: no address, in the kernel's maps. */
export const noAddress: Uint8Array = new Uint8Array(16);

export type Families = Pick<NodeConfig, 'ipv4' | 'ipv6'>;

export function isEnabled(address: Address | Prefix, families: Families): boolean {
  return isIPv4(address) ? families.ipv4 : families.ipv6;
}

/** fe80::/10 and 169.254.0.0/16: the same on every link, so they say nothing about who it is. */
export function isLinkLocal(address: Address): boolean {
  return /^fe[89ab]/.test(address) || address.startsWith('169.254.');
}

/** Addresses under which a node is reached, without the router's, the internal ones first. */
export function nodeIPs(node: NodeRow): readonly Address[] {
  const ofType = (type: string) => node.addresses.filter(item => item.type === type);
  const ips = [...ofType('InternalIP'), ...ofType('ExternalIP')].map(item => tryParseAddress(item.address));
  return [...new Set(ips.filter(address => address !== undefined))];
}

/** A node's first address of a family. */
export function nodeIP(node: NodeRow, ipv4: boolean): Address | undefined {
  return nodeIPs(node).find(address => isIPv4(address) === ipv4);
}

/** Where tunnelled packets for a node go: its IPv4 address if it has one. */
export function tunnelEndpoint(node: NodeRow, families: Families): Address | undefined {
  const ips = nodeIPs(node).filter(address => isEnabled(address, families));
  return ips.find(isIPv4) ?? ips[0];
}

/** 'aa:bb:cc:dd:ee:ff' → 6 bytes; zeros for a device without one. */
export function macBytes(mac: string): Uint8Array {
  const bytes = mac.split(':').map(part => Number.parseInt(part, 16));
  return bytes.length === 6 && bytes.every(byte => byte >= 0 && byte <= 255)
    ? Uint8Array.from(bytes)
    : new Uint8Array(6);
}

/** A device's own addresses that are worth something beyond its link. */
export function deviceAddresses(device: DeviceRow): readonly Address[] {
  const own = device.addresses.map(text => tryParseAddress(text.split('/')[0] ?? ''));
  return own.filter(address => address !== undefined).filter(address => !isLinkLocal(address));
}
