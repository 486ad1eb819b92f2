/**
 * Attaching programs through links: tcx (Linux 6.6+), cgroup, XDP. A pinned link keeps its program attached when the process
 * has gone; updating it swaps the program atomically. Without tcx: clsact and a direct-action filter (netlink/clsact.ts).
 */
import { existsSync, unlinkSync } from 'node:fs';
import { errnoName, KernelError, syscallError } from './errors.ts';
import { bpf, c, errno } from './ffi.ts';
import { type LinkInfo, linkInfo } from './info.ts';
import { openPin, pinObject } from './object.ts';

/** enum bpf_attach_type */
export const AttachType = {
  CGROUP_INET4_CONNECT: 10,
  CGROUP_INET6_CONNECT: 11,
  CGROUP_INET4_POST_BIND: 12,
  CGROUP_INET6_POST_BIND: 13,
  CGROUP_UDP4_SENDMSG: 14,
  CGROUP_UDP6_SENDMSG: 15,
  CGROUP_UDP4_RECVMSG: 19,
  CGROUP_UDP6_RECVMSG: 20,
  CGROUP_INET4_GETPEERNAME: 29,
  CGROUP_INET6_GETPEERNAME: 30,
  XDP: 37,
  TCX_INGRESS: 46,
  TCX_EGRESS: 47,
} as const;
export type AttachType = (typeof AttachType)[keyof typeof AttachType];

export interface Attachment {
  readonly program: number;
  /** ifindex (tcx, XDP), or an open descriptor of the cgroup's folder. */
  readonly target: number;
  readonly type: AttachType;
  /** XDP: XDP_FLAGS_* of linux/if_link.h; the driver's own mode by XDP_FLAGS_DRV_MODE. */
  readonly flags?: number;
}

/** The driver runs the program itself, before there is an sk_buff; fails where it cannot. */
export const XDP_FLAGS_DRV_MODE = 4;

/** struct bpf_link_create_opts up to its flags. */
function linkOptions(flags: number | undefined): Uint8Array | null {
  if (flags === undefined) return null;
  const options = Buffer.alloc(16);
  options.writeBigUInt64LE(16n, 0);
  options.writeUInt32LE(flags, 8);
  return options;
}

/** A new link's descriptor; closing it detaches unless it is pinned. */
export function createLink(attachment: Attachment): number {
  const fd = bpf.linkCreate(attachment.program, attachment.target, attachment.type, linkOptions(attachment.flags));
  if (fd >= 0) return fd;
  const code = errno();
  if (errnoName(code) === 'EINVAL' && attachment.type >= AttachType.TCX_INGRESS) {
    throw new KernelError(
      { code: 'FEATURE_MISSING', errno: 'EINVAL' },
      'tcx links need Linux 6.6 or newer: use clsact',
    );
  }
  throw syscallError(`attach (type ${attachment.type}, target ${attachment.target})`, code);
}

/** Whether the kernel knows tcx (Linux 6.6, or a backport): it is asked what runs on the loopback device. */
export function tcxSupported(): boolean {
  const loopback = 1;
  return bpf.programQuery(loopback, AttachType.TCX_INGRESS, 0, null, null, [0]) === 0;
}

/** What the link pinned at `path` is attached to; undefined without a pin. */
export function pinnedLinkInfo(path: string): LinkInfo | undefined {
  if (!existsSync(path)) return undefined;
  const fd = openPin(path);
  try {
    return linkInfo(fd);
  } finally {
    c.close(fd);
  }
}

/** How attachPinned got there: nothing changed, the program was swapped, or a new link was made. */
export type AttachOutcome = 'adopted' | 'updated' | 'created';

/**
 * Makes sure that the link pinned at `path` runs `program` on the target. A link that does already is adopted untouched; one
 * with another program is updated in place, so that no packet misses it; one whose device is gone is replaced.
 */
export function attachPinned(path: string, attachment: Attachment, programId: number): AttachOutcome {
  const pinned = pinnedLinkInfo(path);
  const isDevice = attachment.type >= AttachType.TCX_INGRESS || attachment.type === AttachType.XDP;
  if (pinned !== undefined && (!isDevice || pinned.target === attachment.target)) {
    if (pinned.programId === programId) return 'adopted';
    const fd = openPin(path);
    const failed = bpf.linkUpdate(fd, attachment.program, null) !== 0;
    const code = failed ? errno() : 0;
    c.close(fd);
    if (!failed) return 'updated';
    if (!['ENOLINK', 'EINVAL'].includes(errnoName(code)))
      throw syscallError(`update of the link ${path}`, code, { path });
  }
  if (pinned !== undefined) unlinkSync(path);
  const fd = createLink(attachment);
  try {
    pinObject(fd, path);
  } finally {
    c.close(fd);
  }
  return 'created';
}

/**
 * A new link pinned at `path`, without blocking: the kernel's grace period is waited for in another thread. `wanted` is asked when it is
 * over; with false the link is dropped again. Resolves to whether it stays. Throws KernelError.
 */
export async function attachPinnedAside(path: string, attachment: Attachment, wanted: () => boolean): Promise<boolean> {
  const { program, target, type } = attachment;
  const fd = await bpf.linkCreateAside(program, target, type);
  if (fd < 0) throw syscallError(`attach (type ${type}, target ${target})`, -fd);
  try {
    if (!wanted()) return false;
    if (existsSync(path)) unlinkSync(path);
    pinObject(fd, path);
    return true;
  } finally {
    c.close(fd);
  }
}

/** Detaches and unpins; nothing there is fine. */
export function detachPinned(path: string): void {
  if (!existsSync(path)) return;
  const fd = openPin(path);
  bpf.linkDetach(fd);
  c.close(fd);
  unlinkSync(path);
}
