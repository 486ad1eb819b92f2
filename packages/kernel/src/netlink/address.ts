/** Addresses and neighbours of devices. Addresses are 4 or 16 bytes as on the wire. */
import {
  attribute,
  decodeAttributes,
  macBytes,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  type Request,
  u16,
  u32,
} from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWNEIGH = 28;
const IFA_F_NODAD = 2;
const NUD_PERMANENT = 0x80;

export const addressFamily = (address: Uint8Array): number => (address.length === 4 ? 2 : 10);

export interface DeviceAddress {
  readonly ifindex: number;
  readonly address: Uint8Array;
  readonly prefixLength: number;
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. */
  readonly scope: number;
}

/** No duplicate address detection: addresses are ours to give. */
export function addAddress(ifindex: number, address: Uint8Array, prefixLength: number): Request {
  const header = Buffer.concat([Buffer.from([addressFamily(address), prefixLength, IFA_F_NODAD, 0]), u32(ifindex)]);
  return {
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([header, attribute(2, address), attribute(1, address)]),
    what: `add an address /${prefixLength} to device ${ifindex}`,
  };
}

export function deleteAddress(ifindex: number, address: Uint8Array, prefixLength: number): Request {
  return {
    ...addAddress(ifindex, address, prefixLength),
    type: 21,
    flags: 0,
    what: `remove an address of device ${ifindex}`,
  };
}

export function listAddresses(socket: NetlinkSocket): readonly DeviceAddress[] {
  return socket.dump({ type: RTM_GETADDR, body: Buffer.alloc(8), what: 'list addresses' }).flatMap(({ body }) => {
    const attributes = decodeAttributes(body, 8);
    const address = attributes.get(2) ?? attributes.get(1);
    if (address === undefined) return [];
    return [
      {
        ifindex: body.readUInt32LE(4),
        address: new Uint8Array(address),
        prefixLength: body.readUInt8(1),
        scope: body.readUInt8(3),
      },
    ];
  });
}

/** A neighbour that needs no resolution and never expires. */
export function setNeighbour(ifindex: number, address: Uint8Array, mac: string): Request {
  const header = Buffer.concat([
    Buffer.from([addressFamily(address), 0, 0, 0]),
    u32(ifindex),
    u16(NUD_PERMANENT),
    Buffer.from([0, 0]),
  ]);
  return {
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([header, attribute(1, address), attribute(2, macBytes(mac))]),
    what: `set a neighbour on device ${ifindex}`,
  };
}
