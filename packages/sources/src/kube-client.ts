/** The API server over node:http(s): requests that answer JSON, and watches that stream it. */
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { StringDecoder } from 'node:string_decoder';
import { SourceError } from './errors.ts';
import type { KubeConfig } from './kube-config.ts';
import type { KubeObject } from './kube-object.ts';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;
export type PatchType = 'application/merge-patch+json' | 'application/json-patch+json' | 'application/apply-patch+yaml';

export interface RequestOptions {
  readonly query?: Query;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
  /** Milliseconds without a byte; default 15000. */
  readonly timeout?: number;
}

/** What the reflector and the writers need of an API server; tests give a scripted one. */
export interface KubeApi {
  /** @throws SourceError API_STATUS (with status and reason), API_UNREACHABLE, API_PROTOCOL */
  request(method: string, path: string, options?: RequestOptions): Promise<KubeObject>;
  /** One JSON object per line until the server or `signal` ends it. Throws like request. */
  stream(path: string, options: RequestOptions): AsyncIterable<KubeObject>;
}

const defaultTimeout = 15_000;

export class KubeClient implements KubeApi {
  readonly server: string;
  readonly #config: KubeConfig;
  readonly #base: URL;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(config: KubeConfig) {
    this.#config = config;
    this.server = config.server;
    this.#base = new URL(config.server);
    const tls = this.#base.protocol === 'https:';
    const common = { keepAlive: true, maxSockets: 32, scheduling: 'lifo' as const };
    this.#agent = tls
      ? new HttpsAgent({
          ...common,
          ...(config.ca === undefined ? {} : { ca: config.ca }),
          ...(config.cert === undefined ? {} : { cert: config.cert }),
          ...(config.key === undefined ? {} : { key: config.key }),
          ...(config.serverName === undefined ? {} : { servername: config.serverName }),
          rejectUnauthorized: !config.insecure,
        })
      : new HttpAgent(common);
  }

  /** Ends every connection: requests under way fail and are made again on new ones by whoever retries. */
  reconnect(): void {
    this.#agent.destroy();
  }

  async request(method: string, path: string, options: RequestOptions = {}): Promise<KubeObject> {
    const response = await this.#send(method, path, options);
    const text = await readText(response, path);
    return decodeObject(text, path);
  }

  async *stream(path: string, options: RequestOptions): AsyncIterable<KubeObject> {
    const response = await this.#send('GET', path, options);
    const decoder = new StringDecoder('utf8');
    let rest = '';
    try {
      for await (const chunk of response) {
        rest += decoder.write(chunk);
        let end = rest.indexOf('\n');
        if (end < 0) continue;
        let start = 0;
        while (end >= 0) {
          if (end > start) yield decodeObject(rest.slice(start, end), path);
          start = end + 1;
          end = rest.indexOf('\n', start);
        }
        rest = rest.slice(start);
      }
    } catch (error) {
      throw error instanceof SourceError ? error : unreachable(this.server, error);
    } finally {
      response.destroy();
    }
  }

  /** Ends idle connections; requests under way go on. */
  close(): void {
    this.#agent.destroy();
  }

  #send(method: string, path: string, options: RequestOptions): Promise<IncomingMessage> {
    const url = new URL(this.#base.pathname.replace(/\/$/, '') + path, this.#base);
    for (const [key, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const request = send(url, {
        method,
        agent: this.#agent,
        timeout: options.timeout ?? defaultTimeout,
        headers: this.#headers(body, options.contentType),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      request.on('timeout', () => request.destroy(new Error(`no byte for ${options.timeout ?? defaultTimeout} ms`)));
      // A peer that vanished without a word is noticed after this, not after the watch's idle time.
      request.on('socket', socket => socket.setKeepAlive(true, 20_000));
      request.on('error', error => reject(unreachable(this.server, error)));
      request.on('response', response => {
        if ((response.statusCode ?? 0) < 300) resolve(response);
        else readText(response, path).then(text => reject(statusError(path, response.statusCode ?? 0, text)), reject);
      });
      request.end(body);
    });
  }

  #headers(body: string | undefined, contentType: string | undefined): Record<string, string> {
    const headers: Record<string, string> = { accept: 'application/json', 'user-agent': 'ciliate' };
    if (body !== undefined) {
      headers['content-type'] = contentType ?? 'application/json';
      headers['content-length'] = String(Buffer.byteLength(body));
    }
    const { token, tokenFile, username, password } = this.#config;
    if (tokenFile !== undefined) headers.authorization = `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`;
    else if (token !== undefined) headers.authorization = `Bearer ${token}`;
    else if (username !== undefined) {
      headers.authorization = `Basic ${Buffer.from(`${username}:${password ?? ''}`).toString('base64')}`;
    }
    return headers;
  }
}

async function readText(response: IncomingMessage, path: string): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk);
  } catch (cause) {
    throw unreachable(path, cause);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function decodeObject(text: string, path: string): KubeObject {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as KubeObject;
  } catch (cause) {
    throw new SourceError({ code: 'API_PROTOCOL', object: path }, `${path}: the answer is not JSON`, { cause });
  }
  throw new SourceError({ code: 'API_PROTOCOL', object: path }, `${path}: the answer is not an object`);
}

/** An error from a Status object, or from the bare HTTP status. */
export function statusError(path: string, status: number, text: string): SourceError {
  let message = text.slice(0, 200);
  let reason: string | undefined;
  try {
    const parsed = JSON.parse(text) as { readonly message?: unknown; readonly reason?: unknown };
    if (typeof parsed.message === 'string') message = parsed.message;
    if (typeof parsed.reason === 'string') reason = parsed.reason;
  } catch {
    // Not a Status object: proxies answer in plain text.
  }
  return new SourceError(
    { code: 'API_STATUS', object: path, status, ...(reason === undefined ? {} : { reason }) },
    `${path}: ${status} ${reason ?? ''} ${message}`.replaceAll(/ +/g, ' ').trim(),
  );
}

function unreachable(server: string, cause: unknown): SourceError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SourceError({ code: 'API_UNREACHABLE', object: server }, `API server ${server}: ${why}`, { cause });
}
