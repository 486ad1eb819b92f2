/** BPF_PROG_TEST_RUN and friends. */
import { syscallError } from './errors.ts';
import { alloc, bpf, errno, free, type Pointer, type TestRunOpts, testRunOptsSize, viewMemory } from './ffi.ts';

export interface TestRunInput {
  /** Packet from its Ethernet header; absent for SEC("syscall") programs. */
  readonly data?: Uint8Array;
  /** struct __sk_buff, struct xdp_md, or the argument of a syscall program. */
  readonly context?: Uint8Array;
  readonly repeat?: number;
  /**
   * The packet comes with its sum as from a device (CHECKSUM_COMPLETE), and EBADMSG is thrown when the program has let the two part. The kernel must
   * know BPF_F_TEST_SKB_CHECKSUM_COMPLETE.
   */
  readonly checksumComplete?: boolean;
  /** XDP: frames really go where the program says, so many at a time; nothing is given back. */
  readonly liveFrames?: number;
}

export interface TestRunResult {
  /** Unsigned as the kernel gives it; `verdict | 0` for TC_ACT_* numbers. */
  readonly retval: number;
  readonly data: Uint8Array;
  readonly context: Uint8Array;
  /** Nanoseconds of one run, mean over `repeat`. */
  readonly duration: number;
}

const outSize = 70_000;
/** BPF_F_TEST_SKB_CHECKSUM_COMPLETE of <linux/bpf.h>. */
const checksumCompleteFlag = 1 << 2;
/** BPF_F_TEST_XDP_LIVE_FRAMES of <linux/bpf.h>, Linux 5.18. */
const liveFramesFlag = 1 << 1;

/** Throws KernelError SYSCALL. A syscall program's context is written back. */
export function testRun(fd: number, input: TestRunInput): TestRunResult {
  const isPacket = input.data !== undefined && input.liveFrames === undefined;
  const dataOut: Pointer | null = isPacket ? alloc(outSize) : null;
  const context = input.context === undefined ? null : new Uint8Array(input.context);
  const contextOut = context === null || !isPacket ? null : new Uint8Array(context.length);
  const opts: TestRunOpts = {
    sz: testRunOptsSize,
    data_in: input.data ?? null,
    data_out: dataOut,
    data_size_in: input.data?.length ?? 0,
    data_size_out: isPacket ? outSize : 0,
    ctx_in: context,
    ctx_out: contextOut,
    ctx_size_in: context?.length ?? 0,
    ctx_size_out: contextOut?.length ?? 0,
    retval: 0,
    repeat: input.repeat ?? (isPacket ? 1 : 0),
    duration: 0,
    flags:
      (input.checksumComplete === true ? checksumCompleteFlag : 0) |
      (input.liveFrames === undefined ? 0 : liveFramesFlag),
    cpu: 0,
    batch_size: input.liveFrames ?? 0,
  };
  try {
    if (bpf.testRun(fd, opts) !== 0) throw syscallError('BPF_PROG_TEST_RUN', errno());
    const data =
      dataOut === null ? new Uint8Array() : new Uint8Array(viewMemory(dataOut, outSize)).slice(0, opts.data_size_out);
    return { retval: opts.retval, data, context: contextOut ?? context ?? new Uint8Array(), duration: opts.duration };
  } finally {
    if (dataOut !== null) free(dataOut);
  }
}
