/** Routes of the node's main table that are ours, told apart by their protocol number. */
import {
  deleteRoute,
  findLink,
  KernelError,
  listRoutes,
  type NetlinkSocket,
  type Route,
  replaceRoute,
} from '@ciliate/kernel';
import { isIPv4, prefixAddress, prefixLength, type RouteRow } from '@ciliate/model';
import type { Operations } from '@ciliate/tables';
import { wireAddress } from './base-devices.ts';

/** RTPROT_* of every route that we make; not one of those that iproute2 names. */
export const routeProtocol = 76;

function routeOf(socket: NetlinkSocket, row: RouteRow): Route {
  const link = findLink(socket, row.device);
  if (link === undefined)
    throw new KernelError({ code: 'NETLINK', errno: 'ENODEV' }, `route ${row.prefix}: no device ${row.device}`);
  return {
    family: isIPv4(row.prefix) ? 'IPv4' : 'IPv6',
    destination: wireAddress(prefixAddress(row.prefix)),
    prefixLength: prefixLength(row.prefix),
    ifindex: link.ifindex,
    protocol: routeProtocol,
    ...(row.gateway === undefined ? {} : { gateway: wireAddress(row.gateway) }),
    ...(row.source === undefined ? {} : { source: wireAddress(row.source) }),
    ...(row.mtu === 0 ? {} : { mtu: row.mtu }),
  };
}

function routeKey(route: Pick<Route, 'destination' | 'prefixLength'>): string {
  return `${Buffer.from(route.destination).toString('hex')}/${route.prefixLength}`;
}

function remove(socket: NetlinkSocket, route: Route): void {
  try {
    socket.execute(deleteRoute(route));
  } catch (error) {
    if (!(error instanceof KernelError) || !['ESRCH', 'ENODEV', 'ENOENT'].includes(error.errno)) throw error;
  }
}

export function routeOperations(socket: NetlinkSocket): Operations<RouteRow> {
  const wanted = (row: RouteRow): string =>
    routeKey({ destination: wireAddress(prefixAddress(row.prefix)), prefixLength: prefixLength(row.prefix) });
  return {
    update: row => socket.execute(replaceRoute(routeOf(socket, row))),
    delete: row => {
      for (const route of listRoutes(socket, routeProtocol)) if (routeKey(route) === wanted(row)) remove(socket, route);
    },
    prune: rows => {
      const keep = new Set(rows.map(wanted));
      for (const route of listRoutes(socket, routeProtocol)) if (!keep.has(routeKey(route))) remove(socket, route);
    },
  };
}
