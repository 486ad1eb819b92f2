/** healthCheckNodePort: says to load balancers outside whether this node has endpoints of a service, as kube-proxy says it. */
import { createServer, type Server } from 'node:http';
import type { ServiceHealthRow } from '@ciliate/model';
import type { Table } from '@ciliate/tables';
import type { Log } from '../log.ts';

export interface ServiceHealthOptions {
  /** Addresses to listen on; the unspecified one takes both families. */
  readonly host: string;
}

export interface ServiceHealthModules {
  readonly serviceHealth: Table<ServiceHealthRow>;
  readonly log: Pick<Log, 'warn'>;
  /** Told about a port that somebody else has: the service goes on, its health is not served. */
  readonly onError?: (service: string, message: string) => void;
}

/** ms after which a port that was taken is tried again. */
const retryDelay = 5000;

export class ServiceHealthServers {
  readonly name = 'service-health';
  readonly #options: ServiceHealthOptions;
  readonly #modules: ServiceHealthModules;
  readonly #servers = new Map<number, Server>();
  readonly #failed = new Map<number, string>();
  /** By port: whose health it tells. Two services cannot have one port; the API server sees to it. */
  #rows: ReadonlyMap<number, ServiceHealthRow> = new Map();
  #unsubscribe: (() => void) | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor(options: ServiceHealthOptions, modules: ServiceHealthModules) {
    this.#options = options;
    this.#modules = modules;
  }

  start(): void {
    this.#unsubscribe = this.#modules.serviceHealth.subscribe(() => this.#update());
    this.#update();
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    clearTimeout(this.#retry);
    await Promise.all([...this.#servers.keys()].map(port => this.#close(port)));
  }

  /** Ports that are served now. */
  get listening(): readonly number[] {
    return [...this.#servers].filter(([, server]) => server.listening).map(([port]) => port);
  }

  #update(): void {
    this.#rows = new Map(this.#modules.serviceHealth.all().map(row => [row.port, row]));
    for (const port of this.#servers.keys()) if (!this.#rows.has(port)) void this.#close(port);
    for (const port of this.#failed.keys()) if (!this.#rows.has(port)) this.#failed.delete(port);
    for (const port of this.#rows.keys()) if (!this.#servers.has(port)) this.#open(port);
  }

  #open(port: number): void {
    const server = createServer((_request, response) => {
      const row = this.#rows.get(port);
      const [namespace = '', name = ''] = (row?.service ?? '').split('/');
      const localEndpoints = row?.localEndpoints ?? 0;
      const body = `${JSON.stringify({ service: { namespace, name }, localEndpoints })}\n`;
      response.writeHead(localEndpoints > 0 ? 200 : 503, {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
        'X-Content-Type-Options': 'nosniff',
        'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
      });
      response.end(body);
    });
    server.once('error', error => {
      this.#servers.delete(port);
      this.#complain(port, error.message);
      this.#retry ??= setTimeout(() => {
        this.#retry = undefined;
        this.#update();
      }, retryDelay);
    });
    server.listen(port, this.#options.host);
    server.unref();
    this.#servers.set(port, server);
  }

  #complain(port: number, message: string): void {
    const service = this.#rows.get(port)?.service ?? '';
    if (this.#failed.get(port) === service) return;
    this.#failed.set(port, service);
    const text = `the health of ${service} cannot be served on port ${port} (${message}): free the port on this node`;
    this.#modules.log.warn(text, { service, port });
    this.#modules.onError?.(service, text);
  }

  #close(port: number): Promise<void> {
    const server = this.#servers.get(port);
    this.#servers.delete(port);
    if (server === undefined) return Promise.resolve();
    server.closeAllConnections();
    return new Promise(resolve => server.close(() => resolve()));
  }
}
