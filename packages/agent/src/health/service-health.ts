/** healthCheckNodePort: says to load balancers outside whether this node has endpoints of a service, as kube-proxy says it. */
import { createServer, type Server } from 'node:http';
import type { ServiceHealthRow } from '@ciliate/model';
import type { Table } from '@ciliate/tables';

export interface ServiceHealthOptions {
  /** Addresses to listen on; the unspecified one takes both families. */
  readonly host: string;
}

export interface ServiceHealthModules {
  readonly serviceHealth: Table<ServiceHealthRow>;
  /** Told about a port that somebody else has, and with undefined about its end: the service goes on, its health is not served. */
  readonly onProblem: (key: string, problem: ServiceHealthProblem | undefined) => void;
}

export interface ServiceHealthProblem {
  readonly service: string;
  readonly message: string;
}

/** ms after which a port that was taken is tried again. */
const retryDelay = 5000;

export class ServiceHealthServers {
  readonly name = 'service-health';
  readonly #options: ServiceHealthOptions;
  readonly #modules: ServiceHealthModules;
  readonly #servers = new Map<number, Server>();
  /** What is told and still so. */
  readonly #told = new Map<string, ServiceHealthProblem>();
  /** By port: whose health it tells. */
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
    this.#share();
    for (const port of this.#servers.keys()) if (!this.#rows.has(port)) void this.#close(port);
    for (const port of this.#rows.keys()) if (!this.#servers.has(port)) this.#open(port);
  }

  /** Who has a port keeps it; of several that come together the first by name has it. */
  #share(): void {
    const before = this.#rows;
    const rows = new Map<number, ServiceHealthRow>();
    const others: ServiceHealthRow[] = [];
    const all = this.#modules.serviceHealth.all();
    const holds = (row: ServiceHealthRow) => before.get(row.port)?.service === row.service;
    for (const row of [...all.filter(holds), ...all.filter(row => !holds(row)).toSorted(byService)]) {
      if (rows.has(row.port)) others.push(row);
      else rows.set(row.port, row);
    }
    this.#rows = rows;
    const wanting = new Map(others.map(row => [`${row.port} ${row.service}`, row]));
    for (const key of this.#told.keys()) {
      const isPort = /^\d+$/.test(key);
      if (isPort ? !rows.has(Number(key)) : !wanting.has(key)) this.#tell(key, undefined);
    }
    for (const [key, { service, port }] of wanting) {
      const why = `${rows.get(port)?.service} has it`;
      this.#tell(key, { service, message: problemText(service, port, why, 'give one of them another one') });
    }
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
      const service = this.#rows.get(port)?.service ?? '';
      const message = problemText(service, port, error.message, 'free the port on this node');
      this.#tell(String(port), { service, message });
      this.#retry ??= setTimeout(() => {
        this.#retry = undefined;
        this.#update();
      }, retryDelay);
    });
    server.once('listening', () => this.#tell(String(port), undefined));
    server.listen(port, this.#options.host);
    server.unref();
    this.#servers.set(port, server);
  }

  #tell(key: string, problem: ServiceHealthProblem | undefined): void {
    const before = this.#told.get(key);
    if (before?.service === problem?.service && before?.message === problem?.message) return;
    if (problem === undefined) this.#told.delete(key);
    else this.#told.set(key, problem);
    this.#modules.onProblem(key, problem);
  }

  #close(port: number): Promise<void> {
    const server = this.#servers.get(port);
    this.#servers.delete(port);
    if (server === undefined) return Promise.resolve();
    server.closeAllConnections();
    return new Promise(resolve => server.close(() => resolve()));
  }
}

const byService = (a: ServiceHealthRow, b: ServiceHealthRow): number => (a.service < b.service ? -1 : 1);

function problemText(service: string, port: number, why: string, remedy: string): string {
  return `the health of ${service} cannot be served on port ${port} (${why}): ${remedy}`;
}
