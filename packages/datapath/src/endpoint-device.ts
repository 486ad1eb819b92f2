/**
 * The device pair of a pod: one netlink request makes both ends, the second batch runs inside the pod's namespace. The router is a
 * permanent neighbour, so the pod never asks for it.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import {
  addAddress,
  createVeth,
  deleteLink,
  findLink,
  KernelError,
  listLinks,
  NetlinkSocket,
  namespaceInode,
  type Request,
  replaceRoute,
  setLinkUp,
  setNeighbour,
} from '@ciliate/kernel';
import { type Address, isIPv4 } from '@ciliate/model';
import { setDeviceSysctls, wireAddress } from './base-devices.ts';

export interface EndpointDeviceSpec {
  readonly containerId: string;
  /** CNI_IFNAME */
  readonly containerDevice: string;
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly addresses: readonly Address[];
  readonly routers: readonly Address[];
  /** Of the pod's routes: what fits through the path to other nodes. */
  readonly mtu: number;
  /** Of both ends: as large as what the node's own devices may bring in. */
  readonly deviceMtu: number;
}

export interface EndpointDevice {
  /** Host side. */
  readonly device: string;
  readonly ifindex: number;
  /** The pod's own. */
  readonly mac: string;
  /** The host side's: the pod takes it for its router. */
  readonly nodeMac: string;
}

/** 'lxc' and 12 hexadecimal digits: the same container and interface always have the same name. */
export function endpointDeviceName(containerId: string, containerDevice: string): string {
  return `lxc${createHash('sha256').update(`${containerId}/${containerDevice}`).digest('hex').slice(0, 12)}`;
}

/** Locally administered unicast, from the name: a retry gets the same. */
function macFrom(seed: string): string {
  const digest = createHash('sha256').update(seed).digest();
  digest[0] = ((digest[0] ?? 0) & 0xfc) | 0x02;
  return [...digest.subarray(0, 6)].map(byte => byte.toString(16).padStart(2, '0')).join(':');
}

/** Addresses as host prefixes, the router as neighbour, default routes through it. */
function insideRequests(ifindex: number, spec: EndpointDeviceSpec, nodeMac: string): readonly Request[] {
  const requests = [setLinkUp(1), setLinkUp(ifindex)];
  for (const address of spec.addresses) {
    const bytes = wireAddress(address);
    requests.push(addAddress(ifindex, bytes, bytes.length * 8));
  }
  for (const router of spec.routers) {
    const gateway = wireAddress(router);
    const family = isIPv4(router) ? ('IPv4' as const) : ('IPv6' as const);
    if (!spec.addresses.some(address => isIPv4(address) === isIPv4(router))) continue;
    requests.push(
      setNeighbour(ifindex, gateway, nodeMac),
      replaceRoute({ family, destination: gateway, prefixLength: gateway.length * 8, ifindex, protocol: 3 }),
      replaceRoute({
        family,
        destination: new Uint8Array(),
        prefixLength: 0,
        ifindex,
        gateway,
        onlink: true,
        mtu: spec.mtu,
        protocol: 3,
      }),
    );
  }
  return requests;
}

function checkNetns(path: string): void {
  if (namespaceInode(path) !== undefined) return;
  throw new KernelError(
    { code: 'SYSCALL', errno: 'ENOENT', path },
    `${path} is no network namespace: the runtime has removed it, or CNI_NETNS is wrong`,
  );
}

/** Throws KernelError (EEXIST: the device is there already); then nothing is left of the attempt. */
export function createEndpointDevice(socket: NetlinkSocket, spec: EndpointDeviceSpec): EndpointDevice {
  checkNetns(spec.netns);
  const device = endpointDeviceName(spec.containerId, spec.containerDevice);
  const mac = macFrom(`${device}/pod`);
  const nodeMac = macFrom(`${device}/node`);
  const netnsFd = openSync(spec.netns, 'r');
  try {
    socket.execute(
      createVeth({
        name: device,
        mac: nodeMac,
        mtu: spec.deviceMtu,
        peer: { name: spec.containerDevice, mac, mtu: spec.deviceMtu, netnsFd },
      }),
    );
  } finally {
    closeSync(netnsFd);
  }
  try {
    setDeviceSysctls(device);
    configureInside(spec, nodeMac);
    const link = findLink(socket, device);
    if (link === undefined)
      throw new KernelError({ code: 'NETLINK', errno: 'ENODEV' }, `device ${device} has gone as soon as it was made`);
    return { device, ifindex: link.ifindex, mac, nodeMac };
  } catch (error) {
    removeEndpointDevice(socket, device);
    throw error;
  }
}

function configureInside(spec: EndpointDeviceSpec, nodeMac: string): void {
  const inside = new NetlinkSocket(spec.netns);
  try {
    const link = findLink(inside, spec.containerDevice);
    if (link === undefined)
      throw new KernelError({ code: 'NETLINK', errno: 'ENODEV' }, `no ${spec.containerDevice} in ${spec.netns}`);
    inside.execute(...insideRequests(link.ifindex, spec, nodeMac));
  } finally {
    inside.close();
  }
}

/** A device that is gone is no error. */
export function removeEndpointDevice(socket: NetlinkSocket, device: string): void {
  try {
    socket.execute(deleteLink(device));
  } catch (error) {
    if (!(error instanceof KernelError) || error.errno !== 'ENODEV') throw error;
  }
}

export interface DeviceIdentity {
  readonly device: string;
  readonly ifindex: number;
  readonly netns: string;
  readonly containerDevice: string;
  readonly mac: string;
}

/** Both ends are there and are the ones that we made. */
export function endpointDeviceAlive(socket: NetlinkSocket, expected: DeviceIdentity): boolean {
  const host = findLink(socket, expected.device);
  if (host === undefined || host.ifindex !== expected.ifindex || namespaceInode(expected.netns) === undefined)
    return false;
  const inside = new NetlinkSocket(expected.netns);
  try {
    return findLink(inside, expected.containerDevice)?.mac === expected.mac;
  } finally {
    inside.close();
  }
}

/** Whether a device of this name is the host side of a pod's. */
export const isEndpointDevice = (name: string): boolean => /^lxc[0-9a-f]{12}$/.test(name);

/** Host sides of every pod device on this node. */
export function listEndpointDevices(socket: NetlinkSocket): readonly string[] {
  return listLinks(socket)
    .map(link => link.name)
    .filter(isEndpointDevice);
}
