/**
 * Programs on devices: through tcx links (Linux 6.6) or, on older kernels, clsact and direct-action filters. What another run left
 * attached the other way is taken off after ours is on, so that no packet passes by.
 */
import { existsSync, readdirSync } from 'node:fs';
import {
  AttachType,
  attachClsact,
  attachPinned,
  clsactDevices,
  type Direction,
  detachClsact,
  detachPinned,
  findLink,
  KernelError,
  listClsactFilters,
  listLinks,
  type NetlinkSocket,
  tcxSupported,
} from '@ciliate/kernel';
import type { PinPaths } from './paths.ts';
import { type Programs, programOf } from './programs.ts';
import { TcxUpgrades } from './tcx-upgrades.ts';

export type TcMode = 'tcx' | 'clsact';

export interface TcDevice {
  readonly device: string;
  readonly ifindex: number;
}

export type WantedPrograms = Readonly<Partial<Record<Direction, string>>>;

const tcxTypes = { ingress: AttachType.TCX_INGRESS, egress: AttachType.TCX_EGRESS } as const;
const directions = ['ingress', 'egress'] as const;

/** Throws FEATURE_MISSING when tcx is asked for and the kernel has none. */
export function chooseTcMode(asked: TcMode | 'auto', supported: () => boolean = tcxSupported): TcMode {
  if (asked === 'clsact') return 'clsact';
  if (supported()) return 'tcx';
  if (asked === 'auto') return 'clsact';
  throw new KernelError(
    { code: 'FEATURE_MISSING' },
    'this kernel has no tcx links (Linux 6.6): use --tc-attach auto or clsact',
  );
}

export interface TcAttacherModules {
  readonly pins: PinPaths;
  readonly programs: Programs;
  readonly netlink: NetlinkSocket;
  /** A device that keeps its filter because the link could not be made. */
  readonly onError?: (error: unknown) => void;
}

export class TcAttacher {
  readonly mode: TcMode;
  readonly #pins: PinPaths;
  readonly #programs: Programs;
  readonly #netlink: NetlinkSocket;
  readonly #upgrades: TcxUpgrades;

  constructor(options: { readonly mode: TcMode }, modules: TcAttacherModules) {
    this.mode = options.mode;
    this.#pins = modules.pins;
    this.#programs = modules.programs;
    this.#netlink = modules.netlink;
    this.#upgrades = new TcxUpgrades({
      upgraded: ({ ifindex }) => this.#detachFilter(ifindex, 'ingress'),
      onError: modules.onError ?? (() => undefined),
    });
  }

  /** Attaches, adopts or updates. Throws with errno ENODEV when the device has gone. */
  attach(device: TcDevice, wanted: WantedPrograms): void {
    for (const direction of directions) {
      const name = wanted[direction];
      // Versions before this one had a program there.
      if (name === undefined) detachPinned(this.#pins.deviceLink(device.device, direction));
      else this.#attach(device, direction, name);
    }
  }

  /** As attach, at ingress, but a new device runs the program by a filter at once, and by its link a moment later. */
  attachSoon(device: TcDevice, name: string): void {
    const pin = this.#pins.deviceLink(device.device, 'ingress');
    if (this.mode === 'clsact' || existsSync(pin)) {
      this.attach(device, { ingress: name });
      return;
    }
    const program = programOf(this.#programs, name);
    const { ifindex } = device;
    attachClsact(this.#netlink, { ifindex, direction: 'ingress', name, program: program.fd, programId: program.id });
    this.#upgrades.add({ ...device, pin, program: program.fd });
  }

  /** Resolves when no device waits for its link. */
  settled(): Promise<void> {
    return this.#upgrades.flush();
  }

  stop(): void {
    this.#upgrades.stop();
  }

  /** A device that is gone, or never had programs, is fine. */
  detach(device: TcDevice): void {
    for (const direction of directions) this.#detach(device, direction);
    this.#upgrades.cancel(device.device);
  }

  /**
   * Takes off what is attached to devices whose name `concerns` accepts, but not to those of `kept`; from these what is attached the
   * other way. `kept` runs by now.
   */
  prune(kept: Iterable<{ readonly device: string }>, concerns: (device: string) => boolean): void {
    const keep = new Set([...kept].map(row => row.device));
    this.#prunePins(keep, concerns);
    const names = new Map(listLinks(this.#netlink).map(link => [link.ifindex, link.name]));
    for (const ifindex of clsactDevices(this.#netlink)) {
      const name = names.get(ifindex);
      if (name === undefined || !concerns(name) || (this.#runsFilter(name) && keep.has(name))) continue;
      for (const direction of directions) this.#detachFilter(ifindex, direction);
    }
  }

  #runsFilter(device: string): boolean {
    return this.mode === 'clsact' || this.#upgrades.has(device);
  }

  #prunePins(keep: ReadonlySet<string>, concerns: (device: string) => boolean): void {
    if (!existsSync(this.#pins.links)) return;
    const kept = new Set([...keep].flatMap(name => directions.map(it => this.#pins.deviceLinkName(name, it))));
    for (const name of readdirSync(this.#pins.links)) {
      const device = /^(.+)-(ingress|egress)$/.exec(name)?.[1];
      if (device !== undefined && concerns(device) && !kept.has(name)) detachPinned(this.#pins.link(name));
    }
  }

  #attach({ device, ifindex }: TcDevice, direction: Direction, name: string): void {
    const program = programOf(this.#programs, name);
    const pin = this.#pins.deviceLink(device, direction);
    if (this.mode === 'tcx') {
      attachPinned(pin, { program: program.fd, target: ifindex, type: tcxTypes[direction] }, program.id);
      return;
    }
    attachClsact(this.#netlink, { ifindex, direction, name, program: program.fd, programId: program.id });
    detachPinned(pin);
  }

  #detach({ device, ifindex }: TcDevice, direction: Direction): void {
    detachPinned(this.#pins.deviceLink(device, direction));
    // The index may be another device's by now.
    if (this.#runsFilter(device) && findLink(this.#netlink, device)?.ifindex === ifindex)
      this.#detachFilter(ifindex, direction);
  }

  /** A filter in our place that runs no program of ours is another's. */
  #detachFilter(ifindex: number, direction: Direction): void {
    const ours = listClsactFilters(this.#netlink, ifindex, direction).some(
      filter => filter.ours && this.#programs.has(filter.name),
    );
    if (ours) detachClsact(this.#netlink, ifindex, direction);
  }
}
