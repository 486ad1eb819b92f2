/**
 * Programs on a device without tcx (Linux before 6.6): a clsact queueing discipline with one direct-action filter for each
 * direction. The filter holds the program, so it outlives the agent without a pin; replacing it swaps the program in place.
 * Source: tc-bpf(8), linux/pkt_sched.h, linux/pkt_cls.h.
 */
import { KernelError } from '../errors.ts';
import {
  attribute,
  attributeText,
  decodeAttributes,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  nested,
  type Request,
  text,
  u32,
} from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWQDISC = 36;
const RTM_GETQDISC = 38;
const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;
const TC_H_CLSACT = 0xfffffff1;
const clsactHandle = 0xffff0000;
const TCA = { KIND: 1, OPTIONS: 2 } as const;
const TCA_BPF = { FD: 6, NAME: 7, FLAGS: 8, ID: 11 } as const;
const TCA_BPF_FLAG_ACT_DIRECT = 1;
/** Filters of others at other priorities are left alone. */
const priority = 1;
const handle = 1;

export type Direction = 'ingress' | 'egress';
const parents = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;

/** struct tcmsg */
function tcmsg(ifindex: number, handleOf: number, parent: number, info: number): Buffer {
  return Buffer.concat([Buffer.alloc(4), u32(ifindex), u32(handleOf), u32(parent), u32(info)]);
}

/** Priority in the upper half; ETH_P_ALL in network byte order in the lower. */
const filterInfo = (priority << 16) | 0x0300;

function addClsact(ifindex: number): Request {
  return {
    type: RTM_NEWQDISC,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([tcmsg(ifindex, clsactHandle, TC_H_CLSACT, 0), attribute(TCA.KIND, text('clsact'))]),
    what: `add clsact to device ${ifindex}`,
  };
}

function isErrno(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof KernelError && names.includes(error.errno);
}

/** A BPF filter of a device. */
export interface ClsactFilter {
  /** At the priority and handle that attachClsact uses. */
  readonly ours: boolean;
  readonly name: string;
  readonly programId: number | undefined;
}

/** The BPF filters of one direction; a device that is gone or has no clsact has none. */
export function listClsactFilters(
  socket: NetlinkSocket,
  ifindex: number,
  direction: Direction,
): readonly ClsactFilter[] {
  const body = tcmsg(ifindex, 0, parents[direction], 0);
  const messages = [...socket.dump({ type: RTM_GETTFILTER, body, what: `list filters of device ${ifindex}` })];
  return messages.flatMap(message => {
    const attributes = decodeAttributes(message.body, 20);
    const options = attributes.get(TCA.OPTIONS);
    if (attributeText(attributes.get(TCA.KIND)) !== 'bpf' || options === undefined) return [];
    const of = decodeAttributes(options, 0);
    const name = of.get(TCA_BPF.NAME);
    // The kernel tells of a priority first, without a program.
    if (name === undefined) return [];
    return {
      ours: message.body.readUInt32LE(8) === handle && message.body.readUInt32LE(16) >>> 16 === priority,
      name: attributeText(name),
      programId: of.get(TCA_BPF.ID)?.readUInt32LE(0),
    };
  });
}

/** Id of the program that our filter runs; undefined when there is none. */
export function clsactProgram(socket: NetlinkSocket, ifindex: number, direction: Direction): number | undefined {
  return listClsactFilters(socket, ifindex, direction).find(filter => filter.ours)?.programId;
}

/** Indexes of the devices that have clsact. */
export function clsactDevices(socket: NetlinkSocket): readonly number[] {
  const messages = [...socket.dump({ type: RTM_GETQDISC, body: tcmsg(0, 0, 0, 0), what: 'list queueing disciplines' })];
  return messages
    .filter(message => attributeText(decodeAttributes(message.body, 20).get(TCA.KIND)) === 'clsact')
    .map(message => message.body.readInt32LE(4));
}

export interface ClsactAttachment {
  readonly ifindex: number;
  readonly direction: Direction;
  /** Descriptor and id of the program. */
  readonly program: number;
  readonly programId: number;
  readonly name: string;
}

/** Makes sure that the device runs the program; a filter that does already is left untouched. */
export function attachClsact(socket: NetlinkSocket, attachment: ClsactAttachment): 'adopted' | 'updated' | 'created' {
  const { ifindex, direction } = attachment;
  try {
    socket.execute(addClsact(ifindex));
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
  }
  const running = clsactProgram(socket, ifindex, direction);
  if (running === attachment.programId) return 'adopted';
  const options = nested(
    TCA.OPTIONS,
    attribute(TCA_BPF.FD, u32(attachment.program)),
    attribute(TCA_BPF.NAME, text(attachment.name)),
    attribute(TCA_BPF.FLAGS, u32(TCA_BPF_FLAG_ACT_DIRECT)),
  );
  const header = tcmsg(ifindex, handle, parents[direction], filterInfo);
  socket.execute({
    type: RTM_NEWTFILTER,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([header, attribute(TCA.KIND, text('bpf')), options]),
    what: `attach ${attachment.name} to device ${ifindex} ${direction}`,
  });
  return running === undefined ? 'created' : 'updated';
}

/** Takes our filter off; clsact itself stays, it may carry others' filters. Nothing there is fine. */
export function detachClsact(socket: NetlinkSocket, ifindex: number, direction: Direction): void {
  const header = tcmsg(ifindex, handle, parents[direction], filterInfo);
  try {
    socket.execute({
      type: RTM_DELTFILTER,
      flags: 0,
      body: Buffer.concat([header, attribute(TCA.KIND, text('bpf'))]),
      what: `detach from device ${ifindex} ${direction}`,
    });
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'EINVAL', 'ENODEV')) throw error;
  }
}
