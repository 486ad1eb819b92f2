/** Runs the probes of one running container on time and remembers what they say. */
import type { ContainerSpec, Probe } from './pod.ts';
import type { PodSandbox } from './pod-sandbox.ts';
import { runProbe } from './probe.ts';

export interface ProberEvents {
  changed(): void;
  /** Startup or liveness failed often enough: the container is to be restarted. */
  unhealthy(reason: string): void;
  failed(kind: string, reason: string): void;
}

export class Prober {
  readonly #spec: ContainerSpec;
  readonly #sandbox: PodSandbox;
  readonly #events: ProberEvents;
  #stopped = false;
  #timers = new Set<NodeJS.Timeout>();
  #started: boolean;
  #ready: boolean;

  constructor(spec: ContainerSpec, sandbox: PodSandbox, events: ProberEvents) {
    this.#spec = spec;
    this.#sandbox = sandbox;
    this.#events = events;
    this.#started = spec.startupProbe === undefined;
    this.#ready = spec.readinessProbe === undefined;
  }

  get started(): boolean {
    return this.#started;
  }

  get ready(): boolean {
    return this.#started && this.#ready;
  }

  start(): void {
    const { startupProbe } = this.#spec;
    if (startupProbe === undefined) this.#startOthers();
    else this.#repeat('Startup', startupProbe, passed => this.#startup(passed));
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #startup(passed: boolean): boolean {
    if (!passed) {
      this.#events.unhealthy('startup probe failed');
      return false;
    }
    this.#started = true;
    this.#events.changed();
    this.#startOthers();
    return false;
  }

  #startOthers(): void {
    const { readinessProbe, livenessProbe } = this.#spec;
    if (readinessProbe !== undefined) {
      this.#repeat('Readiness', readinessProbe, passed => {
        if (passed !== this.#ready) {
          this.#ready = passed;
          this.#events.changed();
        }
        return true;
      });
    }
    if (livenessProbe !== undefined) {
      this.#repeat('Liveness', livenessProbe, passed => {
        if (!passed) this.#events.unhealthy('liveness probe failed');
        return passed;
      });
    }
  }

  /** `decided` is called when a threshold is reached, and says whether to go on. */
  #repeat(kind: string, probe: Probe, decided: (passed: boolean) => boolean): void {
    let passes = 0;
    let failures = 0;
    const later = (seconds: number): void => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        void once();
      }, seconds * 1000);
      this.#timers.add(timer);
    };
    const once = async (): Promise<void> => {
      const reason = await runProbe(probe, this.#spec, this.#sandbox);
      if (this.#stopped) return;
      passes = reason === undefined ? passes + 1 : 0;
      failures = reason === undefined ? 0 : failures + 1;
      if (reason !== undefined) this.#events.failed(kind, reason);
      const enough = passes >= (probe.successThreshold ?? 1) || failures >= (probe.failureThreshold ?? 3);
      if (!enough || decided(passes > 0)) later(probe.periodSeconds ?? 10);
    };
    later(probe.initialDelaySeconds ?? 0.05);
  }
}
