/** Names, paths and addresses of one sandbox. Pure: nothing here touches the machine. */
import { join } from 'node:path';
import { SandboxError } from './errors.ts';

export const podCidrs = ['10.244.0.0/16', 'fd00:10:244::/56'] as const;
export const serviceCidrs = ['10.96.0.0/16', 'fd00:10:96::/112'] as const;
export const dnsAddresses = ['10.96.0.10', 'fd00:10:96::a'] as const;
export const lanAddresses = ['172.30.0.1', 'fd00:172:30::1'] as const;
export const outsideAddresses = ['172.30.0.100', 'fd00:172:30::100'] as const;
/** Port of the API server on the LAN. */
export const apiPort = 6443;

export interface NodeLayout {
  readonly name: string;
  readonly directory: string;
  /** Name under /run/netns. */
  readonly netns: string;
  readonly cgroup: string;
  /** IPv4 then IPv6, without prefix length. */
  readonly addresses: readonly [string, string];
  readonly podCidrs: readonly [string, string];
}

export interface Layout {
  readonly name: string;
  readonly directory: string;
  /** Names of namespaces start with it. */
  readonly prefix: string;
  readonly lan: string;
  readonly outside: string;
  /** Below the mount point of cgroup2. */
  readonly cgroupName: string;
}

/** Names that would make namespace names ambiguous with those of the default sandbox. */
const taken = /^(lan|outside|pod|node)(-|$)/;

/** @throws SandboxError BAD_NAME */
export function layoutOf(name: string): Layout {
  if (!/^[a-z0-9][a-z0-9-]{0,30}$/.test(name) || taken.test(name)) {
    throw new SandboxError(
      { code: 'BAD_NAME', name },
      `'${name}' cannot name a sandbox: use up to 31 lower case letters, digits and '-', not 'lan', 'outside', 'node' or 'pod'`,
    );
  }
  const prefix = name === 'sandbox' ? 'ciliate-' : `ciliate-${name}-`;
  return {
    name,
    directory: join('/run/ciliate', name),
    prefix,
    lan: `${prefix}lan`,
    outside: `${prefix}outside`,
    cgroupName: `ciliate-${name}`,
  };
}

/** `index` counts from 1. `cgroupRoot` is where cgroup2 is mounted. */
export function nodeLayout(layout: Layout, cgroupRoot: string, index: number): NodeLayout {
  const name = `node-${index}`;
  return {
    name,
    directory: join(layout.directory, name),
    netns: `${layout.prefix}${name}`,
    cgroup: join(cgroupRoot, layout.cgroupName, name),
    addresses: [`172.30.0.${10 + index}`, `fd00:172:30::${10 + index}`],
    podCidrs: [`10.244.${index}.0/24`, `fd00:10:244:${index.toString(16)}::/64`],
  };
}

export const netnsPath = (name: string): string => join('/run/netns', name);
