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
import { answer, type Call, send, type Target, targetOf } from './call.ts';
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
import { list, watch } from './lists.ts';
import { isObject, type JsonObject, type KubeObject, numberAt, objectAt, textAt } from './object.ts';
import { isProtobuf, protobufToJson } from './protobuf.ts';
import { apiVersionOf, type Registry, type Resource } from './registry.ts';
import type { Resources } from './resources.ts';
import { review } from './reviews.ts';
import { checkFields } from './schema.ts';
import { selectorOf } from './selector.ts';
import { ApiError, badRequest, notFound, statusBody, success } from './status.ts';
import type { Store } from './store.ts';

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

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const openApiProtobuf = /^application\/com\.github\.proto-openapi[^,]*\+protobuf/;

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
          ? watch(this.#modules.store, call, target)
          : list(this.#modules.store, call, target);
      if (method === 'POST')
        return answer(
          call,
          resource,
          201,
          this.#modules.resources.create(resource, this.#parsed(call, resource, namespace), this.#dryRun(call)),
        );
      if (method === 'DELETE') return this.#deleteCollection(call, target);
    } else {
      if (method === 'GET') return answer(call, resource, 200, this.#modules.store.require(resource, namespace, name));
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

  #put(call: Call, { resource, namespace, subresource }: Target, name: string): undefined {
    const object = this.#parsed(call, resource, namespace);
    if (object.metadata.name !== name)
      throw badRequest(`the name of the object (${object.metadata.name}) does not match the name on the URL (${name})`);
    answer(call, resource, 200, this.#modules.resources.update(resource, object, subresource, this.#dryRun(call)));
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
      return answer(call, resource, existed ? 200 : 201, applied);
    }
    answer(
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
    if (store.get(resource, namespace, name) !== undefined) return answer(call, resource, 200, deleted);
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
