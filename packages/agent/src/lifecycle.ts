/** Things that run: started in order, stopped in reverse (STYLE rule 10). */
export interface Service {
  readonly name: string;
  start(signal: AbortSignal): void | Promise<void>;
  stop?(): void | Promise<void>;
}

export class Lifecycle {
  readonly #services: Service[] = [];
  readonly #started: Service[] = [];
  readonly #abort = new AbortController();

  append(service: Service): void {
    this.#services.push(service);
  }

  /** Stops what had started when one fails, then throws its error. */
  async start(): Promise<void> {
    for (const service of this.#services) {
      try {
        await service.start(this.#abort.signal);
      } catch (error) {
        await this.stop().catch(() => undefined);
        throw error;
      }
      this.#started.push(service);
    }
  }

  /** Waits for each; the first error is thrown after all have been asked. */
  async stop(): Promise<void> {
    this.#abort.abort();
    let failure: unknown;
    for (const service of this.#started.splice(0).reverse()) {
      try {
        await service.stop?.();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }
}
