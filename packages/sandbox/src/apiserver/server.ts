/** The HTTP side: routes a request to discovery, a resource, a watch or a kubelet. */
import { readFileSync } from 'node:fs';
import {
  createServer as createHttp,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { Duplex } from 'node:stream';
import {
  apiVersions,
  groupList,
  openApiV2,
  openApiV2Protobuf,
  openApiV3,
  openApiV3Index,
  resourceList,
  versionInfo,
} from './discovery.ts';
import { proxyExec, proxyLogs } from './kubelet-proxy.ts';
import { isObject, type JsonObject, type KubeObject, numberAt, objectAt, textAt } from './object.ts';
import { isProtobuf, protobufToJson } from './protobuf.ts';
import { apiVersionOf, type Registry, type Resource } from './registry.ts';
import type { Resources } from './resources.ts';
import { review } from './reviews.ts';
import { checkFields } from './schema.ts';
import { selectorOf } from './selector.ts';
import { ApiError, badRequest, notFound, statusBody, success } from './status.ts';
import type { Store, StoreEvent } from './store.ts';
import { tableOf } from './table.ts';

export interface ServerModules {
  readonly store: Store;
  readonly registry: Registry;
  readonly resources: Resources;
}

export interface ServerOptions {
  /** Folder in which NODE/kubelet.sock lie. */
  readonly kubeletDir: string;
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly clientCaFile?: string };
  /** Accepted bearer tokens; none: everybody. */
  readonly tokens: readonly string[];
}

interface Target {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string;
}

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly body: string;
}

function targetOf(registry: Registry, path: string): Target | undefined {
  const match = /^\/(?:api\/(v1)|apis\/([^/]+)\/([^/]+))\/(.+)$/.exec(path);
  if (match === null) return undefined;
  const [, core, group = '', version = '', rest = ''] = match;
  const parts = rest.split('/').map(decodeURIComponent);
  const find = (plural: string | undefined): Resource | undefined =>
    registry.find(core === undefined ? group : '', core ?? version, plural ?? '');
  if (parts[0] === 'namespaces' && parts.length > 2) {
    const resource = find(parts[2]);
    if (resource?.namespaced === true)
      return { resource, namespace: parts[1], name: parts[3], subresource: parts[4] ?? '' };
  }
  const resource = find(parts[0]);
  return resource === undefined
    ? undefined
    : { resource, namespace: undefined, name: parts[1], subresource: parts[2] ?? '' };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const openApiProtobuf = /^application\/com\.github\.proto-openapi[^,]*\+protobuf/;

function send(response: ServerResponse, code: number, body: object | string): undefined {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(code, {
    'content-type': typeof body === 'string' ? 'text/plain' : 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

const wantsTable = (request: IncomingMessage): boolean =>
  (request.headers.accept ?? '').split(',').some(type => type.includes('as=Table'));
const wantsPartial = (request: IncomingMessage): boolean =>
  (request.headers.accept ?? '').split(',')[0]?.includes('as=PartialObjectMetadata') === true;

function shape(call: Call, resource: Resource, objects: readonly KubeObject[], version: string): object {
  const include = call.url.searchParams.get('includeObject') ?? 'Metadata';
  return tableOf(resource, objects, version, include);
}

function partial(object: KubeObject): object {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
}

/** A custom resource is served in the version that is asked for. */
function versioned(resource: Resource, object: KubeObject): KubeObject {
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}

export class ApiServer {
  readonly #options: ServerOptions;
  readonly #modules: ServerModules;
  readonly #servers: Server[] = [];

  constructor(options: ServerOptions, modules: ServerModules) {
    this.#options = options;
    this.#modules = modules;
  }

  /** Listens; 'HOST:PORT' ('[::1]:6443'), a path, or the number of a listening descriptor. Returns the port. */
  listen(where: string | { readonly fd: number }): Promise<number> {
    const { tls } = this.#options;
    const listener: RequestListener = (request, response) => void this.#handle(request, response);
    const files = tls === undefined ? undefined : { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) };
    const server = files === undefined ? createHttp(listener) : createHttps(files, listener);
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade(request, socket, head),
    );
    server.keepAliveTimeout = 120_000;
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      const done = (): void => {
        const address = server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      };
      const match = typeof where === 'string' ? /^\[?([^\]]*?)\]?:(\d+)$/.exec(where) : null;
      if (match !== null) server.listen(Number(match[2]), match[1], done);
      else server.listen(typeof where === 'string' ? { path: where } : where, done);
    });
  }

  close(): void {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
  }

  #authorize(request: IncomingMessage): undefined {
    const { tokens } = this.#options;
    if (tokens.length === 0) return;
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined || !tokens.includes(token))
      throw new ApiError(401, 'Unauthorized', 'Unauthorized: the token of the kubeconfig is needed');
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<undefined> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    try {
      if (/^\/(healthz|livez|readyz)/.test(url.pathname)) return send(response, 200, 'ok');
      this.#authorize(request);
      if (url.pathname === '/openapi/v2' && openApiProtobuf.test(request.headers.accept ?? '')) {
        response.writeHead(200, { 'content-type': 'application/octet-stream' });
        response.end(openApiV2Protobuf());
        return;
      }
      const fixed = this.#fixed(url.pathname);
      if (fixed !== undefined) return send(response, 200, fixed);
      const body = await readBody(request);
      const reviewed = review(url.pathname, body, this.#options.tokens);
      if (reviewed !== undefined) return send(response, 201, reviewed);
      const text = isProtobuf(body) ? protobufToJson(body) : body.toString('utf8');
      const call: Call = { request, response, url, body: text };
      const target = targetOf(this.#modules.registry, url.pathname);
      if (target === undefined) throw new ApiError(404, 'NotFound', 'the server could not find the requested resource');
      this.#serve(call, target);
    } catch (error) {
      this.#fail(response, error);
    }
  }

  #fail(response: ServerResponse, error: unknown): undefined {
    const known =
      error instanceof ApiError
        ? error
        : error instanceof SyntaxError
          ? badRequest(`the body cannot be parsed: ${error.message}`)
          : undefined;
    if (known === undefined) process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    const answer =
      known ??
      new ApiError(
        500,
        'InternalError',
        `Internal error occurred: ${error instanceof Error ? error.message : String(error)}`,
      );
    if (response.headersSent) response.end();
    else send(response, answer.httpCode, statusBody(answer));
  }

  #fixed(path: string): object | undefined {
    const { registry } = this.#modules;
    if (path === '/version' || path === '/version/') return versionInfo;
    if (path === '/api') return apiVersions();
    if (path === '/apis') return groupList(registry);
    if (path === '/openapi/v2') return openApiV2(registry);
    if (path === '/openapi/v3') return openApiV3Index(registry);
    const schema = /^\/openapi\/v3\/apis?\/(.+)$/.exec(path)?.[1];
    if (schema !== undefined) return openApiV3(registry, schema);
    const list = /^\/(?:api\/(v1)|apis\/([^/]+\/[^/]+))\/?$/.exec(path);
    return list === null ? undefined : resourceList(registry, list[1] ?? list[2] ?? '');
  }

  #serve(call: Call, target: Target): undefined {
    const { resource, namespace, name } = target;
    const method = call.request.method ?? 'GET';
    if (target.subresource !== '' && target.subresource !== 'status') return this.#serveSubresource(call, target);
    if (name === undefined) {
      if (method === 'GET')
        return call.url.searchParams.get('watch') === 'true' || call.url.searchParams.get('watch') === '1'
          ? this.#watch(call, target)
          : this.#list(call, target);
      if (method === 'POST')
        return this.#answer(
          call,
          resource,
          201,
          this.#modules.resources.create(resource, this.#parsed(call, resource, namespace), this.#dryRun(call)),
        );
      if (method === 'DELETE') return this.#deleteCollection(call, target);
    } else {
      if (method === 'GET')
        return this.#answer(call, resource, 200, this.#modules.store.require(resource, namespace, name));
      if (method === 'PUT') return this.#put(call, target, name);
      if (method === 'PATCH') return this.#patch(call, target, name);
      if (method === 'DELETE') return this.#delete(call, target, name);
    }
    throw new ApiError(
      405,
      'MethodNotAllowed',
      `the server does not allow this method (${method}) on the requested resource`,
    );
  }

  #parsed(call: Call, resource: Resource, namespace: string | undefined): KubeObject {
    const object = this.#modules.resources.parse(resource, call.body, namespace);
    if (resource.columns === undefined)
      checkFields(resource.kind, object as unknown as JsonObject, call.url.searchParams.get('fieldValidation'));
    return object;
  }

  #dryRun(call: Call): boolean {
    return call.url.searchParams.has('dryRun');
  }

  #answer(call: Call, resource: Resource, code: number, object: KubeObject): undefined {
    const shown = versioned(resource, object);
    if (wantsTable(call.request))
      return send(call.response, code, shape(call, resource, [shown], shown.metadata.resourceVersion ?? ''));
    send(call.response, code, wantsPartial(call.request) ? partial(shown) : shown);
  }

  #list(call: Call, { resource, namespace }: Target): undefined {
    const { store } = this.#modules;
    const { searchParams } = call.url;
    const selected = selectorOf(searchParams.get('labelSelector'), searchParams.get('fieldSelector'));
    const all = store
      .list(resource, namespace)
      .filter(selected)
      .map(object => versioned(resource, object));
    const sorted = all.toSorted((a, b) =>
      `${a.metadata.namespace ?? ''}/${a.metadata.name}`.localeCompare(
        `${b.metadata.namespace ?? ''}/${b.metadata.name}`,
      ),
    );
    const limit = Number(searchParams.get('limit') ?? 0);
    const from = Number(searchParams.get('continue') ?? 0);
    const items = limit > 0 ? sorted.slice(from, from + limit) : sorted.slice(from);
    const more =
      from + items.length < sorted.length
        ? { continue: String(from + items.length), remainingItemCount: sorted.length - from - items.length }
        : {};
    const version = String(store.version);
    if (wantsTable(call.request)) {
      const table = shape(call, resource, items, version) as { readonly metadata: object };
      return send(call.response, 200, { ...table, metadata: { ...table.metadata, ...more } });
    }
    const shown = wantsPartial(call.request) ? items.map(partial) : items;
    const kind = wantsPartial(call.request) ? 'PartialObjectMetadataList' : `${resource.kind}List`;
    send(call.response, 200, {
      kind,
      apiVersion: wantsPartial(call.request) ? 'meta.k8s.io/v1' : apiVersionOf(resource),
      metadata: { resourceVersion: version, ...more },
      items: shown,
    });
  }

  #watch(call: Call, { resource, namespace, name }: Target): undefined {
    const { store } = this.#modules;
    const { searchParams } = call.url;
    const selected = selectorOf(searchParams.get('labelSelector'), searchParams.get('fieldSelector'));
    const inScope = (object: KubeObject): boolean =>
      (namespace === undefined || object.metadata.namespace === namespace) &&
      (name === undefined || object.metadata.name === name) &&
      selected(object);
    const table = wantsTable(call.request);
    const write = (type: string, object: object): void => {
      call.response.write(`${JSON.stringify({ type, object })}\n`);
    };
    const emit = (type: string, object: KubeObject): void => {
      const shown = versioned(resource, object);
      write(
        type,
        table
          ? shape(call, resource, [shown], shown.metadata.resourceVersion ?? '')
          : wantsPartial(call.request)
            ? partial(shown)
            : shown,
      );
    };
    const onEvent = (event: StoreEvent): void => {
      const now = event.type !== 'DELETED' && inScope(event.object);
      const before = event.before !== undefined && inScope(event.before);
      if (now) emit(before ? 'MODIFIED' : 'ADDED', event.object);
      else if (before) emit('DELETED', event.object);
    };
    const from = searchParams.get('resourceVersion') ?? '';
    const start = from === '' || from === '0' ? store.version : Number(from);
    const stop = store.watch(resource, start, event => {
      if (!call.response.headersSent) call.response.writeHead(200, { 'content-type': 'application/json' });
      onEvent(event);
    });
    if (!call.response.headersSent) call.response.writeHead(200, { 'content-type': 'application/json' });
    call.response.flushHeaders();
    if (from === '' || from === '0' || searchParams.get('sendInitialEvents') === 'true') {
      for (const object of store.list(resource, namespace).filter(inScope)) emit('ADDED', object);
      if (searchParams.get('sendInitialEvents') === 'true')
        write('BOOKMARK', this.#bookmark(resource, { 'k8s.io/initial-events-end': 'true' }));
    }
    this.#keepWatch(call, resource, write, stop);
  }

  #bookmark(resource: Resource, annotations: Readonly<Record<string, string>> = {}): object {
    return {
      kind: resource.kind,
      apiVersion: apiVersionOf(resource),
      metadata: { resourceVersion: String(this.#modules.store.version), annotations },
    };
  }

  #keepWatch(
    call: Call,
    resource: Resource,
    write: (type: string, object: object) => void,
    stop: () => void,
  ): undefined {
    const bookmarks = call.url.searchParams.get('allowWatchBookmarks') === 'true' && !wantsTable(call.request);
    const ticker = bookmarks ? setInterval(() => write('BOOKMARK', this.#bookmark(resource)), 30_000) : undefined;
    const seconds = Number(call.url.searchParams.get('timeoutSeconds') ?? 0) || 1800;
    const end = setTimeout(() => call.response.end(), seconds * 1000);
    call.response.on('close', () => {
      stop();
      clearInterval(ticker);
      clearTimeout(end);
    });
  }

  #put(call: Call, { resource, namespace, subresource }: Target, name: string): undefined {
    const object = this.#parsed(call, resource, namespace);
    if (object.metadata.name !== name)
      throw badRequest(`the name of the object (${object.metadata.name}) does not match the name on the URL (${name})`);
    this.#answer(
      call,
      resource,
      200,
      this.#modules.resources.update(resource, object, subresource, this.#dryRun(call)),
    );
  }

  #patch(call: Call, { resource, namespace, subresource }: Target, name: string): undefined {
    const { resources, store } = this.#modules;
    const type = call.request.headers['content-type'] ?? '';
    if (type.includes('apply-patch')) {
      const { searchParams } = call.url;
      this.#parsed(call, resource, namespace);
      const existed = store.get(resource, namespace, name) !== undefined;
      const applied = resources.apply(
        resource,
        namespace,
        name,
        call.body,
        searchParams.get('fieldManager') ?? 'unknown',
        searchParams.get('force') === 'true',
        this.#dryRun(call),
      );
      return this.#answer(call, resource, existed ? 200 : 201, applied);
    }
    this.#answer(
      call,
      resource,
      200,
      resources.patch(resource, namespace, name, type, call.body, subresource, this.#dryRun(call)),
    );
  }

  #deleteOptions(call: Call): JsonObject {
    const body: unknown = call.body === '' ? {} : JSON.parse(call.body);
    const grace = call.url.searchParams.get('gracePeriodSeconds');
    return { ...(isObject(body) ? body : {}), ...(grace === null ? {} : { gracePeriodSeconds: Number(grace) }) };
  }

  #delete(call: Call, { resource, namespace }: Target, name: string): undefined {
    const { store, resources } = this.#modules;
    const deleted = resources.delete(resource, store.require(resource, namespace, name), this.#deleteOptions(call));
    if (store.get(resource, namespace, name) !== undefined) return this.#answer(call, resource, 200, deleted);
    send(
      call.response,
      200,
      success({ details: { name, kind: resource.plural, group: resource.group, uid: deleted.metadata.uid } }),
    );
  }

  #deleteCollection(call: Call, { resource, namespace }: Target): undefined {
    const { store, resources } = this.#modules;
    const { searchParams } = call.url;
    const selected = selectorOf(searchParams.get('labelSelector'), searchParams.get('fieldSelector'));
    const options = this.#deleteOptions(call);
    const items = store.list(resource, namespace).filter(selected);
    for (const object of items) resources.delete(resource, object, options);
    send(call.response, 200, {
      kind: `${resource.kind}List`,
      apiVersion: apiVersionOf(resource),
      metadata: { resourceVersion: String(store.version) },
      items,
    });
  }

  #serveSubresource(call: Call, { resource, namespace, name = '', subresource }: Target): undefined {
    const { store, resources } = this.#modules;
    const object = store.require(resource, namespace, name);
    if (resource.kind === 'Pod' && subresource === 'log')
      return proxyLogs(this.#options.kubeletDir, object, call.url.searchParams, call.response);
    if (resource.kind === 'Pod' && subresource === 'exec')
      throw badRequest('exec needs an upgrade to WebSockets: use kubectl 1.30 or newer');
    if (resource.kind === 'Pod' && subresource === 'binding') {
      const nodeName = textAt(JSON.parse(call.body), 'target', 'name');
      store.update(resource, { ...object, spec: { ...object.spec, nodeName } });
      return send(call.response, 201, success());
    }
    if (resource.kind === 'Pod' && subresource === 'eviction') {
      resources.delete(resource, object, {});
      return send(call.response, 201, success());
    }
    if (subresource === 'scale' && resource.hasScale) return this.#scale(call, resource, object);
    throw notFound({ plural: `${resource.plural}/${subresource}`, group: resource.group }, name);
  }

  #scale(call: Call, resource: Resource, object: KubeObject): undefined {
    const method = call.request.method ?? 'GET';
    const asked: unknown = method === 'GET' ? undefined : JSON.parse(call.body);
    const changed =
      asked === undefined
        ? object
        : this.#modules.store.update(resource, {
            ...object,
            spec: { ...object.spec, replicas: numberAt(asked, 'spec', 'replicas') },
          });
    const labels = objectAt(changed, 'spec', 'selector', 'matchLabels');
    const selector = Object.entries(labels)
      .map(([key, value]) => `${key}=${String(value)}`)
      .join(',');
    const { name, namespace, uid, resourceVersion, creationTimestamp } = changed.metadata;
    send(call.response, 200, {
      kind: 'Scale',
      apiVersion: 'autoscaling/v1',
      metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
      spec: { replicas: numberAt(changed, 'spec', 'replicas') },
      status: { replicas: numberAt(changed, 'status', 'replicas'), selector },
    });
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): undefined {
    try {
      this.#authorize(request);
      const url = new URL(request.url ?? '/', 'http://localhost');
      const target = targetOf(this.#modules.registry, url.pathname);
      if (target?.subresource !== 'exec' || target.name === undefined)
        throw new ApiError(
          404,
          'NotFound',
          'nothing to upgrade to here: port-forward and attach are not served by the sandbox; use exec',
        );
      const pod = this.#modules.store.require(target.resource, target.namespace, target.name);
      proxyExec(this.#options.kubeletDir, pod, url.searchParams, request, socket, head);
    } catch (error) {
      const known = error instanceof ApiError ? error : new ApiError(500, 'InternalError', String(error));
      const body = JSON.stringify(statusBody(known));
      socket.end(
        `HTTP/1.1 ${known.httpCode} ${known.reason}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      );
    }
  }
}
