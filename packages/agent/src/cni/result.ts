/** Shapes of a successful ADD per version of the CNI spec (section 5). */
import type { CniReply } from '@ciliate/protocol';
import type { CniVersion } from './config.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * The result of ADD; with `previous` (we are chained behind another plugin) its lists come first and ours refer to
 * interfaces behind them.
 */
export function addResult(version: CniVersion, reply: CniReply, previous?: Fields): Fields {
  const before = list(previous, 'interfaces').length;
  return {
    ...previous,
    cniVersion: version,
    interfaces: [...list(previous, 'interfaces'), ...reply.interfaces.map(device => interfaceOf(version, device))],
    ips: [
      ...list(previous, 'ips'),
      ...reply.ips.map(ip => ({
        ...(hasFamily(version) ? { version: ip.address.includes(':') ? '6' : '4' } : {}),
        address: ip.address,
        ...(ip.gateway === undefined ? {} : { gateway: ip.gateway }),
        interface: before + ip.interface,
      })),
    ],
    routes: [...list(previous, 'routes'), ...reply.routes.map(route => routeOf(version, route))],
    dns: previous?.dns ?? {},
  };
}

/** Up to 0.4.0 an address says its family. */
const hasFamily = (version: CniVersion): boolean => version === '0.3.1' || version === '0.4.0';

function interfaceOf(version: CniVersion, device: CniReply['interfaces'][number]): Fields {
  return {
    name: device.name,
    mac: device.mac,
    ...(version === '1.1.0' && device.mtu !== undefined ? { mtu: device.mtu } : {}),
    ...(device.sandbox === '' ? {} : { sandbox: device.sandbox }),
  };
}

function routeOf(version: CniVersion, route: CniReply['routes'][number]): Fields {
  return {
    dst: route.dst,
    ...(route.gw === undefined ? {} : { gw: route.gw }),
    ...(version === '1.1.0' && route.mtu !== undefined ? { mtu: route.mtu } : {}),
  };
}

function list(previous: Fields | undefined, field: string): readonly unknown[] {
  const value = previous?.[field];
  return Array.isArray(value) ? value : [];
}
