/** kube-proxy's own health on port 10256: /healthz says whether this node should get traffic of load balancers, /livez whether we work. */
import { createServer, type Server } from 'node:http';
import type { NodeRow } from '@ciliate/model';
import type { Table } from '@ciliate/tables';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface ProxyHealthzOptions {
  readonly nodeName: string;
  readonly host: string;
  /** 0: not served. */
  readonly port: number;
}

export interface ProxyHealthzModules {
  readonly nodes: Table<NodeRow, string>;
  /** Milliseconds since 1970 of the last time services were written to the kernel, undefined while they were never. */
  readonly lastUpdated: () => number | undefined;
  readonly log: Pick<Log, 'warn'>;
}

export class ProxyHealthz implements Service {
  readonly name = 'proxy-healthz';
  readonly #options: ProxyHealthzOptions;
  readonly #modules: ProxyHealthzModules;
  #server: Server | undefined;

  constructor(options: ProxyHealthzOptions, modules: ProxyHealthzModules) {
    this.#options = options;
    this.#modules = modules;
  }

  start(): void {
    const { port, host } = this.#options;
    if (port === 0) return;
    const server = createServer((request, response) => {
      const path = (request.url ?? '').split('?')[0];
      if (path !== '/healthz' && path !== '/livez') {
        response.writeHead(404).end();
        return;
      }
      const { status, body } = this.answer(path === '/healthz', new Date());
      response.writeHead(status, { 'Content-Type': 'application/json', 'X-Content-Type-Options': 'nosniff' });
      response.end(body);
    });
    server.on('error', error => {
      const message = `the proxy's health cannot be served on port ${port}: free it (kube-proxy still runs?), or --kube-proxy-healthz-port`;
      this.#modules.log.warn(message, { error: error.message });
    });
    server.listen(port, host);
    server.unref();
    this.#server = server;
  }

  stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return Promise.resolve();
    server.closeAllConnections();
    return new Promise(resolve => server.close(() => resolve()));
  }

  /** `eligible`: a node that is being deleted is not healthy, though it works. */
  answer(eligible: boolean, now: Date): { readonly status: number; readonly body: string } {
    const last = this.#modules.lastUpdated();
    const node = this.#modules.nodes.get(this.#options.nodeName);
    const isLeaving = node === undefined || node.leaving === true;
    const healthy = last !== undefined && (!eligible || !isLeaving);
    const body = {
      lastUpdated: last === undefined ? null : new Date(last).toISOString(),
      currentTime: now.toISOString(),
      ...(eligible ? { nodeEligible: !isLeaving } : {}),
    };
    return { status: healthy ? 200 : 503, body: JSON.stringify(body) };
  }
}
