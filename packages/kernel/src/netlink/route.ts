/** Routes of the main table. */
import { addressFamily } from './address.ts';
import { attribute, decodeAttributes, NLM_F_CREATE, NLM_F_REPLACE, nested, type Request, u32 } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RT_TABLE_MAIN = 254;
const RTNH_F_ONLINK = 4;
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PREFSRC: 7, METRICS: 8 } as const;

export interface Route {
  readonly family: 'IPv4' | 'IPv6';
  /** Empty with prefixLength 0: the default route. */
  readonly destination: Uint8Array;
  readonly prefixLength: number;
  readonly ifindex: number;
  readonly gateway?: Uint8Array;
  readonly source?: Uint8Array;
  readonly mtu?: number;
  /** Who made it (RTPROT_*): routes of ours are told from others' by it. */
  readonly protocol: number;
  /** The gateway is on the link although no prefix says so. */
  readonly onlink?: boolean;
}

/** struct rtmsg */
function header(route: Route): Buffer {
  const linkScope = route.family === 'IPv4' && route.gateway === undefined ? 253 : 0;
  return Buffer.concat([
    Buffer.from([
      route.family === 'IPv4' ? 2 : 10,
      route.prefixLength,
      0,
      0,
      RT_TABLE_MAIN,
      route.protocol,
      linkScope,
      1,
    ]),
    u32(route.onlink === true ? RTNH_F_ONLINK : 0),
  ]);
}

function body(route: Route): Buffer {
  return Buffer.concat([
    header(route),
    ...(route.prefixLength === 0 ? [] : [attribute(RTA.DST, route.destination)]),
    attribute(RTA.OIF, u32(route.ifindex)),
    ...(route.gateway === undefined ? [] : [attribute(RTA.GATEWAY, route.gateway)]),
    ...(route.source === undefined ? [] : [attribute(RTA.PREFSRC, route.source)]),
    ...(route.mtu === undefined ? [] : [nested(RTA.METRICS, attribute(2, u32(route.mtu)))]),
  ]);
}

export function replaceRoute(route: Route): Request {
  return {
    type: RTM_NEWROUTE,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: body(route),
    what: `set a route /${route.prefixLength} on device ${route.ifindex}`,
  };
}

export function deleteRoute(route: Route): Request {
  return {
    type: RTM_DELROUTE,
    flags: 0,
    body: body(route),
    what: `remove a route /${route.prefixLength} on device ${route.ifindex}`,
  };
}

/** Routes of the main table, of one protocol or all. */
export function listRoutes(socket: NetlinkSocket, protocol?: number): readonly Route[] {
  return socket.dump({ type: RTM_GETROUTE, body: Buffer.alloc(12), what: 'list routes' }).flatMap(message => {
    const attributes = decodeAttributes(message.body, 12);
    const destination = attributes.get(RTA.DST) ?? Buffer.alloc(0);
    const gateway = attributes.get(RTA.GATEWAY);
    const owner = message.body.readUInt8(5);
    if (message.body.readUInt8(4) !== RT_TABLE_MAIN || (protocol !== undefined && owner !== protocol)) return [];
    return [
      {
        family: message.body.readUInt8(0) === addressFamily(Buffer.alloc(4)) ? ('IPv4' as const) : ('IPv6' as const),
        destination: new Uint8Array(destination),
        prefixLength: message.body.readUInt8(1),
        ifindex: attributes.get(RTA.OIF)?.readUInt32LE(0) ?? 0,
        protocol: owner,
        ...(gateway === undefined ? {} : { gateway: new Uint8Array(gateway) }),
      },
    ];
  });
}
