/** Where pins live: <bpf-root>/ciliate/{maps,programs,links}. */
import { join } from 'node:path';

export type DeviceHook = 'ingress' | 'egress' | 'xdp';

export interface PinPaths {
  readonly root: string;
  readonly maps: string;
  readonly programs: string;
  readonly links: string;
  program(name: string): string;
  map(name: string): string;
  link(name: string): string;
  /** One link per device and hook. */
  deviceLink(device: string, hook: DeviceHook): string;
  /** The pin's name: a dot is not allowed in names of bpffs, and VLAN devices have one. */
  deviceLinkName(device: string, hook: DeviceHook): string;
  cgroupLink(program: string): string;
}

const deviceLinkName: PinPaths['deviceLinkName'] = (device, hook) => `${device.replaceAll('.', '_')}-${hook}`;

export function pinPaths(bpfRoot: string): PinPaths {
  const root = join(bpfRoot, 'ciliate');
  const [maps, programs, links] = [join(root, 'maps'), join(root, 'programs'), join(root, 'links')];
  return {
    root,
    maps,
    programs,
    links,
    program: name => join(programs, name),
    map: name => join(maps, name),
    link: name => join(links, name),
    deviceLink: (device, hook) => join(links, deviceLinkName(device, hook)),
    deviceLinkName,
    cgroupLink: program => join(links, `cgroup-${program}`),
  };
}
