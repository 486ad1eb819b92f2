/** Operations that attach programs: to pods' devices and to native ones. */
import { AttachType, attachPinned } from '@ciliate/kernel';
import type { EndpointDeviceRow, NetdevRow } from '@ciliate/model';
import type { Operations } from '@ciliate/tables';
import { hostDevice, overlayDevice } from './base-devices.ts';
import { isEndpointDevice } from './endpoint-device.ts';
import type { PinPaths } from './paths.ts';
import { netdevPrograms, type Programs, programOf } from './programs.ts';
import type { TcAttacher } from './tc-attacher.ts';
import type { XdpAttacher } from './xdp-attacher.ts';

export function endpointDeviceOperations(attacher: TcAttacher): Operations<EndpointDeviceRow> {
  return {
    update: row => attacher.attachSoon(row, 'from_container'),
    delete: row => attacher.detach(row),
    prune: rows => attacher.prune(rows, isEndpointDevice),
  };
}

const isNativeDevice = (name: string): boolean =>
  ![hostDevice, overlayDevice].includes(name) && !isEndpointDevice(name);

/** The device's addresses in the map, the programs of native devices, and xdp_netdev where it belongs, in this order. */
export function netdevProgramOperations(
  {
    attacher,
    xdp,
    programs,
  }: { readonly attacher: TcAttacher; readonly xdp: XdpAttacher; readonly programs: Programs },
  maps: Operations<NetdevRow>,
): Operations<NetdevRow> {
  const deviceOf = (row: NetdevRow) => ({ device: row.device, ifindex: row.key.ifindex });
  return {
    update: async row => {
      await maps.update(row);
      attacher.attach(deviceOf(row), netdevPrograms(programs));
      if (row.acceleration.mode === 'native') xdp.attach(deviceOf(row));
      else xdp.detach(row.device);
    },
    delete: async row => {
      xdp.detach(row.device);
      attacher.detach(deviceOf(row));
      await maps.delete(row);
    },
    prune: rows => {
      const kept = [...rows];
      attacher.prune(kept.map(deviceOf), isNativeDevice);
      xdp.prune(kept.filter(row => row.acceleration.mode === 'native').map(row => row.device));
      return maps.prune?.(kept);
    },
  };
}

const cgroupAttachments = {
  sock4_connect: AttachType.CGROUP_INET4_CONNECT,
  sock6_connect: AttachType.CGROUP_INET6_CONNECT,
  sock4_sendmsg: AttachType.CGROUP_UDP4_SENDMSG,
  sock6_sendmsg: AttachType.CGROUP_UDP6_SENDMSG,
  sock4_recvmsg: AttachType.CGROUP_UDP4_RECVMSG,
  sock6_recvmsg: AttachType.CGROUP_UDP6_RECVMSG,
  sock4_getpeername: AttachType.CGROUP_INET4_GETPEERNAME,
  sock6_getpeername: AttachType.CGROUP_INET6_GETPEERNAME,
  sock4_post_bind: AttachType.CGROUP_INET4_POST_BIND,
  sock6_post_bind: AttachType.CGROUP_INET6_POST_BIND,
} as const;

/** Socket programs on the cgroup that holds the node's processes and pods. */
export function attachCgroup(pins: PinPaths, programs: Programs, cgroupFd: number): void {
  for (const [name, type] of Object.entries(cgroupAttachments)) {
    const program = programOf(programs, name);
    attachPinned(pins.cgroupLink(name), { program: program.fd, target: cgroupFd, type }, program.id);
  }
}
