/** bpf_obj_get_info_by_fd: what a file descriptor of a map, program or link is. Host byte order. */

import { syscallError } from './errors.ts';
import { bpf, errno } from './ffi.ts';

function infoBytes(fd: number, size: number): DataView {
  const info = new Uint8Array(size);
  const length = new Uint8Array(4);
  const view = new DataView(length.buffer);
  view.setUint32(0, size, true);
  if (bpf.info(fd, info, length) !== 0) throw syscallError('bpf_obj_get_info_by_fd', errno());
  return new DataView(info.buffer);
}

function text(view: DataView, offset: number, length: number): string {
  const bytes = new Uint8Array(view.buffer, offset, length);
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.subarray(0, end < 0 ? length : end)).toString('latin1');
}

export interface MapInfo {
  readonly type: number;
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
}

/** struct bpf_map_info */
export function mapInfo(fd: number): MapInfo {
  const view = infoBytes(fd, 88);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  return {
    type: u32(0),
    id: u32(4),
    keySize: u32(8),
    valueSize: u32(12),
    maxEntries: u32(16),
    flags: u32(20),
    name: text(view, 24, 16),
  };
}

export interface ProgramInfo {
  readonly type: number;
  readonly id: number;
  /** Hash of the instructions: equal means the same program. */
  readonly tag: string;
  readonly name: string;
  /** Instructions after translation. */
  readonly instructions: number;
  /** Instructions that the verifier walked; 0 before Linux 5.16. */
  readonly verifiedInstructions: number;
}

/** struct bpf_prog_info */
export function programInfo(fd: number): ProgramInfo {
  const view = infoBytes(fd, 232);
  const tag = Buffer.from(new Uint8Array(view.buffer, 8, 8)).toString('hex');
  return {
    type: view.getUint32(0, true),
    id: view.getUint32(4, true),
    tag,
    instructions: view.getUint32(20, true) / 8,
    name: text(view, 64, 16),
    verifiedInstructions: view.getUint32(216, true),
  };
}

export interface LinkInfo {
  readonly type: number;
  readonly id: number;
  readonly programId: number;
  /** tcx and XDP links: the device; 0 when it is gone. Cgroup links: low half of the cgroup's id. */
  readonly target: number;
  readonly attachType: number;
}

/** struct bpf_link_info. XDP links have the ifindex only; tcx links ifindex and attach type. */
export function linkInfo(fd: number): LinkInfo {
  const view = infoBytes(fd, 64);
  return {
    type: view.getUint32(0, true),
    id: view.getUint32(4, true),
    programId: view.getUint32(8, true),
    target: view.getUint32(16, true),
    attachType: view.getUint32(20, true),
  };
}
