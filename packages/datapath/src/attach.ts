/** Operations that attach programs: to pods' devices and to native ones. */
import { AttachType, attachPinned, detachPinned, KernelError } from '@ciliate/kernel';
import type { EndpointDeviceRow, NetdevRow } from '@ciliate/model';
import type { Operations } from '@ciliate/tables';
import type { PinPaths } from './paths.ts';
import type { NodeProgram } from './programs.ts';

export type Programs = ReadonlyMap<string, NodeProgram>;

function programOf(programs: Programs, name: string): NodeProgram {
  const program = programs.get(name);
  if (program === undefined)
    throw new KernelError({ code: 'PROGRAM_NOT_FOUND', program: name }, `program ${name} is not loaded`);
  return program;
}

const directions = { ingress: AttachType.TCX_INGRESS, egress: AttachType.TCX_EGRESS } as const;

/** Attaches, adopts or updates. Throws with errno ENODEV when the device has gone. */
export function attachDevice(
  pins: PinPaths,
  programs: Programs,
  device: { readonly device: string; readonly ifindex: number },
  wanted: { readonly ingress?: string; readonly egress?: string },
): void {
  for (const direction of ['ingress', 'egress'] as const) {
    const name = wanted[direction];
    if (name === undefined) continue;
    const program = programOf(programs, name);
    attachPinned(
      pins.deviceLink(device.device, direction),
      { program: program.fd, target: device.ifindex, type: directions[direction] },
      program.id,
    );
  }
}

export function detachDevice(pins: PinPaths, device: string): void {
  detachPinned(pins.deviceLink(device, 'ingress'));
  detachPinned(pins.deviceLink(device, 'egress'));
}

export function endpointDeviceOperations(pins: PinPaths, programs: Programs): Operations<EndpointDeviceRow> {
  return {
    update: row => {
      attachDevice(pins, programs, row, { ingress: 'from_container' });
      // Versions before this one had a program there as well; from_host does its work.
      detachPinned(pins.deviceLink(row.device, 'egress'));
    },
    delete: row => detachDevice(pins, row.device),
  };
}

/** from_netdev and to_netdev, and the device's addresses in the map, in this order. */
export function netdevProgramOperations(
  pins: PinPaths,
  programs: Programs,
  maps: Operations<NetdevRow>,
): Operations<NetdevRow> {
  return {
    update: async row => {
      await maps.update(row);
      attachDevice(
        pins,
        programs,
        { device: row.device, ifindex: row.key.ifindex },
        { ingress: 'from_netdev', egress: 'to_netdev' },
      );
    },
    delete: async row => {
      detachDevice(pins, row.device);
      await maps.delete(row);
    },
    prune: rows => maps.prune?.(rows),
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
