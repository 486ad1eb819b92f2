/** xdp_netdev on native devices, in the driver's own mode, through pinned links. */
import { existsSync, readdirSync } from 'node:fs';
import { AttachType, attachPinned, detachPinned, KernelError, XDP_FLAGS_DRV_MODE } from '@ciliate/kernel';
import type { PinPaths } from './paths.ts';
import { type Programs, programOf } from './programs.ts';
import type { TcDevice } from './tc-attacher.ts';

const program = 'xdp_netdev';

export interface XdpAttacherOptions {
  /** What cannot be attached stays with tc alone, and is told by failure(); else it is an error. */
  readonly bestEffort: boolean;
}

/** What a driver's answer means, and what to do. */
const remedies: Readonly<Record<string, string>> = {
  EOPNOTSUPP: 'its driver runs no XDP programs',
  EBUSY: "another XDP program runs on it: take it off ('ip link set dev DEVICE xdp off')",
  EEXIST: "another XDP program runs on it: take it off ('ip link set dev DEVICE xdp off')",
  ERANGE: 'its MTU is too large for XDP',
  ENOSPC: 'it has fewer receive queues than its peer has transmit queues',
  EINVAL: 'its driver refuses: its MTU is too large for XDP, or an offload (LRO) is on that XDP cannot have',
};

function xdpError(device: string, error: unknown): KernelError {
  if (!(error instanceof KernelError)) throw error;
  const why = (remedies[error.errno] ?? error.message).replace('DEVICE', device);
  return new KernelError(
    { code: 'FEATURE_MISSING', errno: error.errno },
    `no XDP on ${device}: ${why}; or use --bpf-lb-acceleration best-effort, or leave the device out of --devices`,
    { cause: error },
  );
}

export class XdpAttacher {
  readonly #options: XdpAttacherOptions;
  readonly #pins: PinPaths;
  readonly #programs: Programs;
  readonly #failures = new Map<string, string>();

  constructor(options: XdpAttacherOptions, modules: { readonly pins: PinPaths; readonly programs: Programs }) {
    this.#options = options;
    this.#pins = modules.pins;
    this.#programs = modules.programs;
  }

  /** Attaches, adopts or updates. Throws FEATURE_MISSING with the driver's reason, unless best effort is enough; ENODEV is nobody's fault. */
  attach({ device, ifindex }: TcDevice): void {
    const { fd, id } = programOf(this.#programs, program);
    const attachment = { program: fd, target: ifindex, type: AttachType.XDP, flags: XDP_FLAGS_DRV_MODE };
    try {
      attachPinned(this.#pin(device), attachment, id);
      this.#failures.delete(device);
    } catch (error) {
      if (error instanceof KernelError && error.errno === 'ENODEV') throw error;
      const told = xdpError(device, error);
      this.#failures.set(device, told.message);
      if (!this.#options.bestEffort) throw told;
    }
  }

  /** A device that is gone, or never had the program, is fine. */
  detach(device: string): void {
    detachPinned(this.#pin(device));
    this.#failures.delete(device);
  }

  /** Takes the program off all devices but those of `kept`. */
  prune(kept: Iterable<string>): void {
    if (!existsSync(this.#pins.links)) return;
    const keep = new Set([...kept].map(device => this.#pins.deviceLinkName(device, 'xdp')));
    for (const name of readdirSync(this.#pins.links))
      if (name.endsWith('-xdp') && !keep.has(name)) detachPinned(this.#pins.link(name));
  }

  runsOn(device: string): boolean {
    return existsSync(this.#pin(device)) && !this.#failures.has(device);
  }

  /** Why the program does not run on a device that it belongs on. */
  failure(device: string): string | undefined {
    return this.#failures.get(device);
  }

  #pin(device: string): string {
    return this.#pins.deviceLink(device, 'xdp');
  }
}
