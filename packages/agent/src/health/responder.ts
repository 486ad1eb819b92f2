/** Answers GET /hello on the health port, in the node's namespace or on a socket made in another one. */
import { createServer, type Server } from 'node:http';
import type { ListenOptions } from 'node:net';
import type { HealthHello } from '@ciliate/protocol';
import type { Service } from '../lifecycle.ts';
import { describe, type Log } from '../log.ts';

export class HealthResponder implements Service {
  readonly name = 'health-responder';
  readonly #listen: ListenOptions | { readonly fd: number };
  readonly #server: Server;
  readonly #log: Log;

  constructor(options: { readonly node: string; readonly listen: ListenOptions | { readonly fd: number } }, log: Log) {
    const hello: HealthHello = { node: options.node };
    const text = JSON.stringify(hello);
    this.#listen = options.listen;
    this.#log = log;
    this.#server = createServer({ keepAliveTimeout: 1000 }, (request, response) => {
      const known = request.url === '/hello';
      response.writeHead(known ? 200 : 404, { 'content-type': 'application/json', connection: 'close' });
      response.end(known ? text : '{}');
    });
  }

  /** A port that is taken is reported and not fatal: pods do not depend on it. */
  start(): Promise<void> {
    return new Promise(resolve => {
      this.#server.on('error', error => {
        this.#log.error('health responder cannot listen: other nodes will see this one as unreachable', {
          error: describe(error),
        });
        resolve();
      });
      this.#server.listen(this.#listen, resolve);
      this.#server.unref();
    });
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
