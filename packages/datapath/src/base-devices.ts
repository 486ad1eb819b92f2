/** The node's own devices: ciliate_host with the router addresses, ciliate_vxlan for the overlay. */

import {
  addAddress,
  createDummy,
  createIfb,
  createVxlan,
  deleteAddress,
  deleteLink,
  findLink,
  KernelError,
  type Link,
  listAddresses,
  type NetlinkSocket,
  setLinkMtu,
  setSysctl,
} from '@ciliate/kernel';
import { type Address, addressBytes, isIPv4 } from '@ciliate/model';

export const hostDevice = 'ciliate_host';
export const overlayDevice = 'ciliate_vxlan';

/** 4 or 16 bytes as on the wire. */
export function wireAddress(address: Address): Uint8Array {
  const bytes = addressBytes(address);
  return isIPv4(address) ? bytes.subarray(12) : bytes;
}

function ensure(socket: NetlinkSocket, name: string, make: () => void, mtu: number): Link {
  const found = findLink(socket, name);
  if (found === undefined) make();
  else if (found.mtu !== mtu) socket.execute(setLinkMtu(found.ifindex, mtu));
  const link = findLink(socket, name);
  if (link === undefined) throw new Error(`device ${name} has gone as soon as it was made`);
  return link;
}

/** Pods' packets come in on one device and are routed on another: strict reverse path filters would drop them. */
export function setDeviceSysctls(device: string): void {
  setSysctl(`net/ipv4/conf/${device}/rp_filter`, 0);
  setSysctl(`net/ipv4/conf/${device}/accept_local`, 1);
  setSysctl(`net/ipv4/conf/${device}/forwarding`, 1);
  setSysctl(`net/ipv6/conf/${device}/forwarding`, 1);
}

export function setNodeSysctls(): void {
  setSysctl('net/ipv4/ip_forward', 1);
  setSysctl('net/ipv6/conf/all/forwarding', 1);
  setSysctl('net/ipv4/conf/all/rp_filter', 0);
  setSysctl('net/ipv4/conf/all/send_redirects', 0);
}

function setAddresses(socket: NetlinkSocket, ifindex: number, wanted: readonly Address[]): void {
  const keep = new Set(wanted.map(address => Buffer.from(wireAddress(address)).toString('hex')));
  const present = listAddresses(socket).filter(entry => entry.ifindex === ifindex && entry.scope !== 253);
  for (const entry of present) {
    if (!keep.has(Buffer.from(entry.address).toString('hex')))
      socket.execute(deleteAddress(ifindex, entry.address, entry.prefixLength));
  }
  for (const address of wanted) {
    const bytes = wireAddress(address);
    socket.execute(addAddress(ifindex, bytes, bytes.length * 8));
  }
}

/** A device that takes what is routed to pods; its egress program sends it on. Some kernels have no dummy driver. */
function makeHostDevice(socket: NetlinkSocket, mtu: number): void {
  try {
    socket.execute(createDummy({ name: hostDevice, mtu }));
  } catch (error) {
    if (!(error instanceof KernelError) || error.errno !== 'EOPNOTSUPP') throw error;
    socket.execute(createIfb({ name: hostDevice, mtu }));
  }
}

export interface BaseDevices {
  readonly host: Link | undefined;
  readonly overlay: Link | undefined;
}

export interface BaseDeviceOptions {
  readonly routers: readonly Address[];
  readonly tunnelPort: number;
  readonly overlay: boolean;
  /** MTU of the device towards other nodes. */
  readonly mtu: number;
}

/** Makes what is missing, adopts what is there. */
export function ensureBaseDevices(socket: NetlinkSocket, options: BaseDeviceOptions): BaseDevices {
  setNodeSysctls();
  const host = ensure(socket, hostDevice, () => makeHostDevice(socket, options.mtu), options.mtu);
  setDeviceSysctls(hostDevice);
  setAddresses(socket, host.ifindex, options.routers);
  if (!options.overlay) {
    if (findLink(socket, overlayDevice) !== undefined) socket.execute(deleteLink(overlayDevice));
    return { host, overlay: undefined };
  }
  const make = (): void =>
    socket.execute(createVxlan({ name: overlayDevice, mtu: options.mtu, port: options.tunnelPort }));
  const overlay = ensure(socket, overlayDevice, make, options.mtu);
  setDeviceSysctls(overlayDevice);
  return { host, overlay };
}

/** Those of an agent that wired pods here before. */
export function removeBaseDevices(socket: NetlinkSocket): BaseDevices {
  for (const name of [hostDevice, overlayDevice]) {
    if (findLink(socket, name) !== undefined) socket.execute(deleteLink(name));
  }
  return { host: undefined, overlay: undefined };
}
