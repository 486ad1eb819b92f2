/**
 * A tcx link waits for a grace period (some 10 ms) under the kernel's lock for all devices. A pod must not wait for that: its device gets a
 * clsact filter at once, and the link takes its place a moment later, one device after the other.
 */
import { AttachType, attachPinnedAside, KernelError } from '@ciliate/kernel';

/** So long a burst of new pods keeps the lock for itself. Milliseconds. */
const settleTime = 250;

export interface Upgrade {
  readonly device: string;
  readonly ifindex: number;
  /** Where the link is pinned. */
  readonly pin: string;
  /** Descriptor of the program, for ingress. */
  readonly program: number;
}

export interface TcxUpgradesModules {
  /** The link runs: the filter may go. */
  readonly upgraded: (upgrade: Upgrade) => void;
  readonly onError: (error: unknown) => void;
}

export class TcxUpgrades {
  readonly #modules: TcxUpgradesModules;
  readonly #waiting = new Map<string, Upgrade>();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(modules: TcxUpgradesModules) {
    this.#modules = modules;
  }

  has(device: string): boolean {
    return this.#waiting.has(device);
  }

  add(upgrade: Upgrade): void {
    if (this.#waiting.get(upgrade.device)?.ifindex !== upgrade.ifindex) this.#waiting.set(upgrade.device, upgrade);
    this.#timer ??= setTimeout(() => this.flush(), settleTime).unref();
  }

  /** The device goes: whatever is under way for it comes to nothing. */
  cancel(device: string): void {
    this.#waiting.delete(device);
  }

  /** Brings all that waits to its end. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Devices that still wait keep their filters; the next agent goes on. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }

  async #run(): Promise<void> {
    for (let next = this.#next(); next !== undefined; next = this.#next()) await this.#upgrade(next);
  }

  #next(): Upgrade | undefined {
    return this.#waiting.values().next().value;
  }

  /** What cannot have a link keeps its filter; that its device has gone is no error. */
  async #upgrade(upgrade: Upgrade): Promise<void> {
    const wanted = () => this.#waiting.get(upgrade.device) === upgrade;
    const attachment = { program: upgrade.program, target: upgrade.ifindex, type: AttachType.TCX_INGRESS };
    try {
      if (await attachPinnedAside(upgrade.pin, attachment, wanted)) this.#modules.upgraded(upgrade);
    } catch (error) {
      if (!(error instanceof KernelError && error.errno === 'ENODEV')) this.#modules.onError(error);
    }
    if (wanted()) this.#waiting.delete(upgrade.device);
  }
}
