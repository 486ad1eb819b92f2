import { isIPv4, type NodeRow, type Prefix } from '@ciliate/model';
import type { NodeAddressingElement, NodeElement } from '@ciliate/protocol';

/** A node as `node list` shows it: its first InternalIP of each family, its pod CIDRs, its health addresses. */
export function nodeElement(row: NodeRow, cluster: string): NodeElement {
  const internal = row.addresses.filter(address => address.type === 'InternalIP').map(address => address.address);
  const ipv4 = internal.find(address => !address.includes(':'));
  const ipv6 = internal.find(address => address.includes(':'));
  const secondary = row.addresses.filter(
    item => item.type !== 'Hostname' && item.address !== ipv4 && item.address !== ipv6,
  );
  return {
    name: `${cluster}/${row.name}`,
    'primary-address': {
      ipv4: addressing(ipv4, row.podCIDRs.find(isIPv4)),
      ipv6: addressing(
        ipv6,
        row.podCIDRs.find(prefix => !isIPv4(prefix)),
      ),
    },
    'secondary-addresses': [
      ...secondary.map(item => ({ enabled: true, ip: item.address, 'address-type': item.type })),
      ...row.routerAddresses.map(ip => ({ enabled: true, ip, 'address-type': 'CiliumInternalIP' })),
    ],
    'health-endpoint-address': {
      ipv4: addressing(row.healthAddresses.find(isIPv4), undefined),
      ipv6: addressing(
        row.healthAddresses.find(address => !isIPv4(address)),
        undefined,
      ),
    },
    source: row.local ? 'local' : 'custom-resource',
  };
}

function addressing(ip: string | undefined, range: Prefix | undefined): NodeAddressingElement {
  return { enabled: ip !== undefined, ip: ip ?? '', ...(range === undefined ? {} : { 'alloc-range': range }) };
}
