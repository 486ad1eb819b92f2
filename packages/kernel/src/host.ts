/** Facts of the machine: where bpffs and cgroup v2 are, sysctls, what the kernel can do. */
import { existsSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { KernelError } from './errors.ts';
import { c } from './ffi.ts';

const BPF_FS_MAGIC = 0xcafe4a11;

/** Where cgroup v2 is mounted; it is /sys/fs/cgroup on most machines and /sys/fs/cgroup/unified beside v1. */
export function findCgroupRoot(): string | undefined {
  const lines = readFileSync('/proc/mounts', 'utf8').split('\n');
  return lines.map(line => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1];
}

/** Writes a sysctl given by path parts ('net/ipv4/ip_forward'); one that this kernel does not have is left. */
export function setSysctl(path: string, value: string | number): void {
  const file = `/proc/sys/${path}`;
  if (existsSync(file)) writeFileSync(file, String(value));
}

export interface Feature {
  readonly name: string;
  readonly present: boolean;
  /** What was looked at, and what to do when it is missing. */
  readonly remedy: string;
}

function kernelVersion(): readonly [number, number] {
  const [major = 0, minor = 0] = readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number);
  return [major, minor];
}

/** True when the kernel is this version or newer. */
export function kernelAtLeast(major: number, minor: number): boolean {
  const [ownMajor, ownMinor] = kernelVersion();
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

export function isBpfFilesystem(path: string): boolean {
  return existsSync(path) && statfsSync(path).type === BPF_FS_MAGIC;
}

export interface FeatureOptions {
  readonly bpfRoot: string;
  readonly cgroupRoot: string | undefined;
}

/** What the agent cannot do without. */
export function probeFeatures(options: FeatureOptions): readonly Feature[] {
  return [
    {
      name: 'root',
      present: process.geteuid?.() === 0,
      remedy: 'run as root, or in a pod with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN',
    },
    { name: 'Linux 5.15', present: kernelAtLeast(5, 15), remedy: 'this kernel is older than 5.15: upgrade the kernel' },
    {
      name: 'kernel BTF',
      present: existsSync('/sys/kernel/btf/vmlinux'),
      remedy: 'the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)',
    },
    {
      name: 'bpffs',
      present: isBpfFilesystem(options.bpfRoot),
      remedy: `no BPF file system at ${options.bpfRoot}: run 'mount -t bpf bpf ${options.bpfRoot}', or name another place with --bpf-root`,
    },
    {
      name: 'cgroup v2',
      present: options.cgroupRoot !== undefined && existsSync(`${options.cgroupRoot}/cgroup.procs`),
      remedy: `no cgroup v2 at ${options.cgroupRoot ?? 'any mount point'}: mount it ('mount -t cgroup2 none /run/ciliate/cgroup') and name it with --cgroup-root`,
    },
  ];
}

/** Throws FEATURE_MISSING that names every missing feature and its remedy. */
export function requireFeatures(features: readonly Feature[]): void {
  const missing = features.filter(feature => !feature.present);
  if (missing.length === 0) return;
  const list = missing.map(feature => `  ${feature.name}: ${feature.remedy}`).join('\n');
  throw new KernelError({ code: 'FEATURE_MISSING' }, `this node cannot run the datapath:\n${list}`);
}

/** An exclusive flock(2) on an open file, without waiting. It ends with the process. */
export function tryLock(fd: number): boolean {
  const LOCK_EX_NB = 2 | 4;
  return c.flock(fd, LOCK_EX_NB) === 0;
}

/** Names of mallopt(3). */
const [M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX] = [-1, -3, -8];

/**
 * The C library gives each thread an arena of its own, and takes large buffers from them once it has seen some: both keep what is freed.
 * Early, since arenas that are there stay.
 */
export function boundNativeMemory(): void {
  c.mallopt(M_ARENA_MAX, 1);
  c.mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  c.mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

/** Gives back to the system what native code of this process (libbpf, buffers) has freed; the C library keeps it for itself. */
export function trimMemory(): void {
  c.mallocTrim(0);
}
