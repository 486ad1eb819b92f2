/** One request to a resource: what its path names, and the forms that an answer takes. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { KubeObject } from './object.ts';
import { apiVersionOf, type Registry, type Resource } from './registry.ts';
import { tableOf } from './table.ts';

/** What a path names; an empty name or subresource is none. */
export interface Target {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string;
}

/** A request with its body read, and where the answer goes. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly body: string;
}

/** The resource that a path names; undefined: none that is served. */
export function targetOf(registry: Registry, path: string): Target | undefined {
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

/** Answers with JSON, or with plain text. */
export function send(response: ServerResponse, code: number, body: object | string): undefined {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(code, {
    'content-type': typeof body === 'string' ? 'text/plain' : 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

export const wantsTable = (request: IncomingMessage): boolean =>
  (request.headers.accept ?? '').split(',').some(type => type.includes('as=Table'));
export const wantsPartial = (request: IncomingMessage): boolean =>
  (request.headers.accept ?? '').split(',')[0]?.includes('as=PartialObjectMetadata') === true;

/** Rows for `kubectl get`. */
export function shape(call: Call, resource: Resource, objects: readonly KubeObject[], version: string): object {
  const include = call.url.searchParams.get('includeObject') ?? 'Metadata';
  return tableOf(resource, objects, version, include);
}

/** What clients get that keep metadata only. */
export function partial(object: KubeObject): object {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
}

/** A custom resource is served in the version that is asked for. */
export function versioned(resource: Resource, object: KubeObject): KubeObject {
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}

/** Answers with one object, in the form that is asked for. */
export function answer(call: Call, resource: Resource, code: number, object: KubeObject): undefined {
  const shown = versioned(resource, object);
  if (wantsTable(call.request))
    return send(call.response, code, shape(call, resource, [shown], shown.metadata.resourceVersion ?? ''));
  send(call.response, code, wantsPartial(call.request) ? partial(shown) : shown);
}
