/**
 * One resource of the API server, listed and watched into a sink. Facts relied on (Kubernetes API concepts, "Efficient
 * detection of changes"): a watch resumes after a resourceVersion; 410 Gone means that version is no longer known;
 * bookmarks carry a newer version without a change.
 */

import { setImmediate } from 'node:timers/promises';
import { Backoff, type Random } from './backoff.ts';
import { apiStatus, SourceError } from './errors.ts';
import type { KubeApi, Query } from './kube-client.ts';
import type { KubeObject } from './kube-object.ts';
import { isOlderVersion } from './resource-version.ts';

/** Where objects go. Called synchronously, in order, never concurrently. */
export interface Sink {
  /** The whole truth: what is not in it is gone. The first call also reports the initializer. */
  replace(objects: readonly KubeObject[]): void;
  /** In place of replace, for sinks that keep less than the objects: those of a long list would need more than all else. */
  pages?(): Pages;
  apply(object: KubeObject): void;
  remove(object: KubeObject): void;
}

/** A list that comes in pages. One that never ends changes nothing. */
export interface Pages {
  add(objects: readonly KubeObject[]): void;
  /** What was added is the whole truth, as of Sink.replace. */
  end(): void;
}

function collect(sink: Sink): Pages {
  const objects: KubeObject[] = [];
  return { add: page => void objects.push(...page), end: () => sink.replace(objects) };
}

export interface ReflectorOptions {
  /** Shown in health: 'services'. */
  readonly name: string;
  /** '/api/v1/services' */
  readonly path: string;
  /** fieldSelector, labelSelector. */
  readonly query?: Query;
  /** Objects per page of a list. */
  readonly pageSize?: number;
  /** An optional resource (a CRD that may not be registered yet) is empty on 404, and asked for again. */
  readonly optional?: boolean;
}

export interface ReflectorHealth {
  readonly name: string;
  readonly connected: boolean;
  readonly synced: boolean;
  readonly lists: number;
  readonly watches: number;
  readonly lastError: string | undefined;
  /** Milliseconds since 1970; undefined = never. */
  readonly lastSuccess: number | undefined;
  readonly lastFailure: number | undefined;
  readonly successes: number;
  readonly failures: number;
  readonly consecutiveFailures: number;
}

export interface ReflectorModules {
  readonly api: KubeApi;
  readonly sink: Sink;
  readonly random?: Random;
  readonly log?: (message: string, data: Readonly<Record<string, unknown>>) => void;
}

/** Seconds after which the server ends a watch by itself; jitter is added so that watches do not end together. */
const watchSeconds = 300;
/** Milliseconds without a byte after which a watch is taken for dead; above watchSeconds with its jitter. */
const watchIdle = 660_000;

export class Reflector {
  readonly #options: ReflectorOptions;
  readonly #modules: ReflectorModules;
  readonly #backoff: Backoff;
  #version: string | undefined;
  #abort = new AbortController();
  #running: Promise<void> | undefined;
  #health: Omit<ReflectorHealth, 'name'> = {
    connected: false,
    synced: false,
    lists: 0,
    watches: 0,
    lastError: undefined,
    lastSuccess: undefined,
    lastFailure: undefined,
    successes: 0,
    failures: 0,
    consecutiveFailures: 0,
  };

  constructor(options: ReflectorOptions, modules: ReflectorModules) {
    this.#options = options;
    this.#modules = modules;
    this.#backoff = new Backoff({ min: 200, max: 5000 }, modules.random);
  }

  get health(): ReflectorHealth {
    return { name: this.#options.name, ...this.#health };
  }

  start(): void {
    this.#abort = new AbortController();
    this.#running = this.#run(this.#abort.signal);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list(signal);
        else if (this.#health.consecutiveFailures > 0) await this.#checkServerAge(signal);
        if (this.#version !== undefined) await this.#watch(this.#version, signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#failed(error, signal);
      }
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { sink } = this.#modules;
    const pages = sink.pages?.() ?? collect(sink);
    const limit = this.#options.pageSize ?? 500;
    let version: string | undefined;
    let asked: Promise<KubeObject> | undefined = this.#page(limit, undefined, signal);
    while (asked !== undefined) {
      const page: KubeObject = await asked;
      version = page.metadata?.resourceVersion;
      const next = page.metadata?.continue;
      asked = next === undefined || next === '' ? undefined : this.#page(limit, next, signal);
      // The server makes the next page while this one is taken: let the question go out first. Its failure is met when it is awaited.
      asked?.catch(() => undefined);
      if (asked !== undefined) await setImmediate();
      if (Array.isArray(page.items)) pages.add(page.items as readonly KubeObject[]);
    }
    pages.end();
    this.#version = version ?? '0';
    this.#succeeded({ synced: true, lists: this.#health.lists + 1 });
  }

  #page(limit: number, next: string | undefined, signal: AbortSignal): Promise<KubeObject> {
    return this.#modules.api.request('GET', this.#options.path, {
      query: { ...this.#options.query, limit, continue: next },
      signal,
    });
  }

  /**
   * After a lost connection: a server restored from a backup counts from an older version, and would keep a watch at
   * our version silent for ever. Then everything is listed anew.
   */
  async #checkServerAge(signal: AbortSignal): Promise<void> {
    const page = await this.#page(1, undefined, signal);
    const now = page.metadata?.resourceVersion;
    if (now !== undefined && this.#version !== undefined && isOlderVersion(now, this.#version)) {
      this.#log('API server is older than what was seen, listing again', { seen: this.#version, now });
      this.#version = undefined;
      await this.#list(signal);
    }
  }

  async #watch(from: string, signal: AbortSignal): Promise<void> {
    const random = this.#modules.random ?? Math.random;
    const started = Date.now();
    const events = this.#modules.api.stream(this.#options.path, {
      query: {
        ...this.#options.query,
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: from,
        timeoutSeconds: Math.round(watchSeconds * (1 + random())),
      },
      timeout: watchIdle,
      signal,
    });
    this.#succeeded({ watches: this.#health.watches + 1 });
    for await (const event of events) {
      this.#event(event);
      this.#backoff.reset();
      if (this.#version === undefined) return;
    }
    // A server that ends each watch at once must not be asked in a tight loop.
    if (Date.now() - started < 1000 && !signal.aborted) await this.#backoff.wait(signal);
  }

  #event(event: KubeObject): void {
    const type = event.type;
    const object = event.object as KubeObject | undefined;
    if (object === undefined) throw protocol(this.#options.path, 'a watch event without object');
    if (type === 'ERROR') throw statusEvent(this.#options.path, object);
    const version = object.metadata?.resourceVersion;
    if (type === 'ADDED' || type === 'MODIFIED') this.#modules.sink.apply(object);
    else if (type === 'DELETED') this.#modules.sink.remove(object);
    if (version !== undefined) this.#version = version;
  }

  async #failed(error: unknown, signal: AbortSignal): Promise<void> {
    const status = apiStatus(error);
    const message = error instanceof Error ? error.message : String(error);
    if (status === 410) {
      this.#log('watch expired, listing again', { error: message });
      this.#version = undefined;
      return;
    }
    if (status === 404 && this.#options.optional === true) {
      await this.#notServed(signal);
      return;
    }
    // "Too large resource version" (504) and 400: the server does not know our version.
    if (status === 504 || status === 400 || status === 404) this.#version = undefined;
    this.#health = {
      ...this.#health,
      connected: status !== undefined,
      lastError: message,
      lastFailure: Date.now(),
      failures: this.#health.failures + 1,
      consecutiveFailures: this.#health.consecutiveFailures + 1,
    };
    this.#log('list or watch failed', { error: message, attempts: this.#health.consecutiveFailures });
    await this.#backoff.wait(signal);
  }

  /** A resource that is not registered (yet) has no objects. Asked for again soon: the operator may be starting too. */
  async #notServed(signal: AbortSignal): Promise<void> {
    if (!this.#health.synced) this.#log('resource is not served yet, taken for empty', { path: this.#options.path });
    if (!this.#health.synced || this.#version !== undefined) this.#modules.sink.replace([]);
    this.#version = undefined;
    this.#succeeded({ synced: true });
    await new Backoff({ min: 1000, max: 1000 }, this.#modules.random).wait(signal);
  }

  #succeeded(change: Partial<ReflectorHealth>): void {
    this.#health = {
      ...this.#health,
      ...change,
      connected: true,
      lastError: undefined,
      lastSuccess: Date.now(),
      successes: this.#health.successes + 1,
      consecutiveFailures: 0,
    };
  }

  #log(message: string, data: Readonly<Record<string, unknown>>): void {
    this.#modules.log?.(message, { reflector: this.#options.name, ...data });
  }
}

function protocol(path: string, what: string): SourceError {
  return new SourceError({ code: 'API_PROTOCOL', object: path }, `${path}: ${what}`);
}

/** An ERROR event carries a Status object. */
function statusEvent(path: string, status: KubeObject): SourceError {
  const code = typeof status.code === 'number' ? status.code : 500;
  const message = typeof status.message === 'string' ? status.message : 'watch error';
  return new SourceError({ code: 'API_STATUS', object: path, status: code }, `${path}: ${code} ${message}`);
}
