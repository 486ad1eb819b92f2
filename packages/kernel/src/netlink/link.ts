/** Network devices. */
import {
  attribute,
  attributeText,
  be16,
  decodeAttributes,
  macBytes,
  macText,
  NLM_F_CREATE,
  NLM_F_EXCL,
  nested,
  type Request,
  text,
  u8,
  u32,
} from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const IFLA = { ADDRESS: 1, IFNAME: 3, MTU: 4, LINK: 5, LINKINFO: 18, NET_NS_FD: 28, GSO_MAX_SIZE: 41 } as const;
const IFF_UP = 1;

/** struct ifinfomsg */
function ifinfo(ifindex: number, flags = 0, change = 0): Buffer {
  return Buffer.concat([Buffer.alloc(4), u32(ifindex), u32(flags), u32(change)]);
}

export interface Link {
  readonly ifindex: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** 'veth', 'bridge', 'dummy', 'vxlan', …; '' for hardware. */
  readonly kind: string;
  readonly loopback: boolean;
}

export function listLinks(socket: NetlinkSocket): readonly Link[] {
  return socket.dump({ type: RTM_GETLINK, body: ifinfo(0), what: 'list devices' }).map(({ body }) => {
    const attributes = decodeAttributes(body, 16);
    const info = attributes.get(IFLA.LINKINFO);
    const flags = body.readUInt32LE(8);
    return {
      ifindex: body.readInt32LE(4),
      name: attributeText(attributes.get(IFLA.IFNAME)),
      mac: macText(attributes.get(IFLA.ADDRESS) ?? Buffer.alloc(6)),
      mtu: attributes.get(IFLA.MTU)?.readUInt32LE(0) ?? 0,
      up: (flags & IFF_UP) !== 0,
      loopback: (flags & 8) !== 0,
      kind: info === undefined ? '' : attributeText(decodeAttributes(info, 0).get(1)),
    };
  });
}

export function findLink(socket: NetlinkSocket, name: string): Link | undefined {
  return listLinks(socket).find(link => link.name === name);
}

interface NewLink {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
}

function linkAttributes(link: NewLink): Buffer {
  return Buffer.concat([
    attribute(IFLA.IFNAME, text(link.name)),
    ...(link.mac === undefined ? [] : [attribute(IFLA.ADDRESS, macBytes(link.mac))]),
    ...(link.mtu === undefined ? [] : [attribute(IFLA.MTU, u32(link.mtu))]),
  ]);
}

function create(link: NewLink, kind: string, data: Buffer, up: boolean): Request {
  const info = nested(IFLA.LINKINFO, attribute(1, text(kind)), data);
  return {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([ifinfo(0, up ? IFF_UP : 0, up ? IFF_UP : 0), linkAttributes(link), info]),
    what: `make ${kind} device ${link.name}`,
  };
}

export const createDummy = (link: NewLink): Request => create(link, 'dummy', Buffer.alloc(0), true);

/** Like a dummy (no ARP, drops what it is given), for kernels without that driver. */
export const createIfb = (link: NewLink): Request => create(link, 'ifb', Buffer.alloc(0), true);

/** VXLAN whose tunnel comes with each packet (collect metadata); no learning, no checksum over IPv6 required. */
export function createVxlan(link: NewLink & { readonly port: number }): Request {
  const data = nested(
    2,
    attribute(15, be16(link.port)),
    attribute(25, u8(1)),
    attribute(7, u8(0)),
    attribute(20, u8(1)),
  );
  return create(link, 'vxlan', data, true);
}

/** A pair in one request: this side here and up, the other inside the namespace that `netnsFd` is open on. */
export function createVeth(link: NewLink & { readonly peer: NewLink & { readonly netnsFd: number } }): Request {
  const peer = Buffer.concat([ifinfo(0), linkAttributes(link.peer), attribute(IFLA.NET_NS_FD, u32(link.peer.netnsFd))]);
  return create(link, 'veth', nested(2, attribute(1, peer)), true);
}

export function setLinkUp(ifindex: number): Request {
  return { type: RTM_NEWLINK, flags: 0, body: ifinfo(ifindex, IFF_UP, IFF_UP), what: `set device ${ifindex} up` };
}

export function setLinkMtu(ifindex: number, mtu: number): Request {
  return {
    type: RTM_NEWLINK,
    flags: 0,
    body: Buffer.concat([ifinfo(ifindex), attribute(IFLA.MTU, u32(mtu))]),
    what: `set MTU ${mtu} of device ${ifindex}`,
  };
}

export function deleteLink(name: string): Request {
  return {
    type: RTM_DELLINK,
    flags: 0,
    body: Buffer.concat([ifinfo(0), attribute(IFLA.IFNAME, text(name))]),
    what: `remove device ${name}`,
  };
}
