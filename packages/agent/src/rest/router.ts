/** The agent's HTTP server on its unix socket. */
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { RestError } from '@ciliate/protocol';
import type { Service } from '../lifecycle.ts';
import { describe, type Log } from '../log.ts';

export interface RestRequest {
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  /** Decoded part of the path behind the route's prefix. */
  readonly name: string;
  readonly body: unknown;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
}

export type RestResponse =
  | { readonly status?: number; readonly json: unknown }
  | { readonly status?: number; readonly text: string; readonly contentType: string }
  | {
      readonly stream: (write: (chunk: string) => boolean, signal: AbortSignal) => Promise<void>;
      readonly contentType: string;
    };

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Whole path, or with '/*' at the end for one name. */
  readonly path: string;
  readonly handle: (request: RestRequest) => RestResponse | Promise<RestResponse>;
}

/** A request that cannot be answered; becomes a RestError. */
export class RestFailure extends Error {
  override readonly name = 'RestFailure';
  readonly status: number;
  readonly code: string;
  readonly remedy: string;

  constructor(status: number, code: string, message: string, remedy: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.remedy = remedy;
  }
}

export const notFound = (what: string, remedy: string): RestFailure =>
  new RestFailure(404, 'NOT_FOUND', `${what} not found`, remedy);

const maxBody = 16 * 1024 * 1024;

export class RestServer implements Service {
  readonly name = 'rest';
  readonly #socketPath: string;
  readonly #routes: readonly Route[];
  readonly #log: Log;
  #server: Server | undefined;

  constructor(
    options: { readonly socketPath: string },
    modules: { readonly routes: readonly Route[]; readonly log: Log },
  ) {
    this.#socketPath = options.socketPath;
    this.#routes = modules.routes;
    this.#log = modules.log;
  }

  /** @throws Error when another agent answers on the socket */
  async start(): Promise<void> {
    mkdirSync(dirname(this.#socketPath), { recursive: true });
    if (existsSync(this.#socketPath)) await removeStaleSocket(this.#socketPath);
    const server = createServer((request, response) => void this.#serve(request, response));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#socketPath, resolve);
    });
    chmodSync(this.#socketPath, 0o660);
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise<void>(resolve => server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const abort = new AbortController();
    response.on('close', () => abort.abort());
    try {
      const url = new URL(request.url ?? '/', 'http://agent');
      const { route, name } = this.#match(request.method ?? 'GET', url.pathname);
      const body = request.method === 'GET' ? undefined : await readJson(request);
      const result = await route.handle({
        query: url.searchParams,
        headers: request.headers,
        name,
        body,
        signal: abort.signal,
      });
      await send(response, result, abort.signal);
    } catch (error) {
      this.#fail(response, error);
    }
  }

  #match(method: string, pathname: string): { readonly route: Route; readonly name: string } {
    const path = pathname.length > 1 ? pathname.replace(/\/$/, '') : pathname;
    const matches = this.#routes.filter(route => matchesPath(route, path));
    const route = matches.find(candidate => candidate.method === method);
    if (route !== undefined) return { route, name: nameIn(route, path) };
    if (matches.length > 0) {
      throw new RestFailure(
        405,
        'METHOD_NOT_ALLOWED',
        `${method} is not possible on ${path}`,
        `use ${matches.map(match => match.method).join(' or ')}`,
      );
    }
    throw new RestFailure(404, 'NO_SUCH_PATH', `${path} does not exist`, 'GET /v1/ciliate/paths lists what there is');
  }

  #fail(response: ServerResponse, error: unknown): void {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const known = error instanceof RestFailure ? error : undefined;
    if (known === undefined) this.#log.error('request failed', { error: describe(error) });
    const body: RestError = {
      code: known?.code ?? 'INTERNAL',
      message: known?.message ?? describe(error),
      remedy: known?.remedy ?? 'see the log of the agent',
    };
    sendText(response, known?.status ?? 500, 'application/json', JSON.stringify(body));
  }
}

function matchesPath(route: Route, path: string): boolean {
  if (!route.path.endsWith('/*')) return route.path === path;
  const prefix = route.path.slice(0, -1);
  return path.startsWith(prefix) && path.length > prefix.length && !path.slice(prefix.length).includes('/');
}

function nameIn(route: Route, path: string): string {
  if (!route.path.endsWith('/*')) return '';
  try {
    return decodeURIComponent(path.slice(route.path.length - 1));
  } catch {
    throw new RestFailure(
      400,
      'BAD_REQUEST',
      `${path} has a wrong percent code`,
      'encode names with encodeURIComponent',
    );
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > maxBody)
      throw new RestFailure(413, 'TOO_LARGE', `the body is larger than ${maxBody} bytes`, 'send less');
    chunks.push(chunk as Buffer);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RestFailure(400, 'BAD_JSON', `the body is not JSON: ${describe(error)}`, 'send a JSON object');
  }
}

async function send(response: ServerResponse, result: RestResponse, signal: AbortSignal): Promise<void> {
  if ('stream' in result) {
    response.writeHead(200, { 'content-type': result.contentType });
    response.flushHeaders();
    await result.stream(chunk => response.write(chunk), signal);
    response.end();
  } else if ('json' in result) {
    sendText(response, result.status ?? 200, 'application/json', JSON.stringify(result.json));
  } else {
    sendText(response, result.status ?? 200, result.contentType, result.text);
  }
}

/** With a length: the CNI plugin's HTTP/1.0 reads until the end. */
function sendText(response: ServerResponse, status: number, contentType: string, text: string): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

function removeStaleSocket(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = connect(path);
    probe.on('connect', () => {
      probe.destroy();
      reject(
        new Error(`another agent answers on ${path}: stop it, or give this one another --socket-path and --state-dir`),
      );
    });
    probe.on('error', () => {
      rmSync(path, { force: true });
      resolve();
    });
  });
}
