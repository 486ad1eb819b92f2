/** How endpoints are named in results, files and logs. */
import type { Address, EndpointRow } from '@ciliate/model';
import type { CniReply } from '@ciliate/protocol';

export const attachmentKey = (containerId: string, ifname: string): string => `${containerId}/${ifname}`;

export function ownerOf(row: EndpointRow): string {
  if (row.kind === 'health') return 'health';
  return row.podName === '' ? row.containerId : `${row.podNamespace}/${row.podName}`;
}

/** Host side first, as runtimes expect; addresses belong to the second interface. */
export function addReply(row: EndpointRow, routers: readonly Address[], mtu: number): CniReply {
  const routerOf = (address: string): Address | undefined => routers.find(router => isV6(router) === isV6(address));
  return {
    interfaces: [
      { name: row.device, mac: row.nodeMac, mtu, sandbox: '' },
      { name: row.containerDevice, mac: row.mac, mtu, sandbox: row.netns },
    ],
    ips: row.addresses.map(address => {
      const gateway = routerOf(address);
      return {
        address: `${address}/${isV6(address) ? 128 : 32}`,
        interface: 1,
        ...(gateway === undefined ? {} : { gateway }),
      };
    }),
    routes: row.addresses.flatMap(address => {
      const gw = routerOf(address);
      return gw === undefined ? [] : [{ dst: isV6(address) ? '::/0' : '0.0.0.0/0', gw, mtu }];
    }),
    agentMicroseconds: 0,
  };
}

export const isV6 = (address: string): boolean => address.includes(':');
