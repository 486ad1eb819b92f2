/** Where pins live: <bpf-root>/ciliate/{maps,programs,links}. */
import { join } from 'node:path';

export interface PinPaths {
  readonly root: string;
  readonly maps: string;
  readonly programs: string;
  readonly links: string;
  program(name: string): string;
  map(name: string): string;
  link(name: string): string;
  /** One link per device and direction. */
  deviceLink(device: string, direction: 'ingress' | 'egress'): string;
  /** The pin's name: a dot is not allowed in names of bpffs, and VLAN devices have one. */
  deviceLinkName(device: string, direction: 'ingress' | 'egress'): string;
  cgroupLink(program: string): string;
}

const deviceLinkName: PinPaths['deviceLinkName'] = (device, direction) => `${device.replaceAll('.', '_')}-${direction}`;

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
    deviceLink: (device, direction) => join(links, deviceLinkName(device, direction)),
    deviceLinkName,
    cgroupLink: program => join(links, `cgroup-${program}`),
  };
}
