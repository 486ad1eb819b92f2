/**
 * The least API server that an agent can live with, for tests that need one without a sandbox. Run it:
 * `node test/lib/scripted-api.ts PORT [VERSION]`. Objects are read from standard input as JSON {path: [object]}; a node's own writes are kept.
 * `POST /test/objects` with the same shape replaces whole collections; watches see what changed.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

interface Stored {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly resourceVersion?: string };
}
type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';
interface WatchEvent {
  readonly path: string;
  readonly version: number;
  readonly line: string;
}

const collections = new Map<string, Map<string, Stored>>();
const events: WatchEvent[] = [];
const watchers = new Set<{ readonly path: string; readonly response: ServerResponse }>();
/** resourceVersion of the first list. */
let version = Number(process.argv[3] ?? 10);

const collectionOf = (path: string): string => path.replace(/\/namespaces\/[^/]+/, '');
const keyOf = ({ metadata }: Stored): string => `${metadata.namespace ?? ''}/${metadata.name}`;
const withoutVersion = ({ metadata, ...rest }: Stored): string =>
  JSON.stringify({ ...rest, metadata: { ...metadata, resourceVersion: '' } });

function collection(path: string): Map<string, Stored> {
  const found = collections.get(path) ?? new Map<string, Stored>();
  collections.set(path, found);
  return found;
}

function change(path: string, type: EventType, given: Stored): Stored {
  version += 1;
  const object = { ...given, metadata: { ...given.metadata, resourceVersion: String(version) } };
  if (type === 'DELETED') collection(path).delete(keyOf(object));
  else collection(path).set(keyOf(object), object);
  const event = { path, version, line: `${JSON.stringify({ type, object })}\n` };
  events.push(event);
  for (const watcher of watchers) if (watcher.path === path) watcher.response.write(event.line);
  return object;
}

function replace(path: string, objects: readonly Stored[]): void {
  const before = collection(path);
  const keys = new Set(objects.map(keyOf));
  for (const [key, object] of before) if (!keys.has(key)) change(path, 'DELETED', object);
  for (const object of objects) {
    const old = before.get(keyOf(object));
    if (old === undefined) change(path, 'ADDED', object);
    else if (withoutVersion(old) !== withoutVersion(object)) change(path, 'MODIFIED', object);
  }
}

function replaceAll(objects: Readonly<Record<string, readonly Stored[]>>): void {
  for (const [path, list] of Object.entries(objects)) replace(path, list);
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function watch(path: string, from: number, response: ServerResponse): void {
  const watcher = { path, response };
  watchers.add(watcher);
  response.on('close', () => watchers.delete(watcher));
  response.writeHead(200).flushHeaders();
  for (const event of events) if (event.path === path && event.version > from) response.write(event.line);
}

function create(path: string, object: Stored, response: ServerResponse): void {
  if (collection(path).has(keyOf(object))) {
    answer(response, 409, { kind: 'Status', code: 409, reason: 'AlreadyExists', message: 'already exists' });
  } else {
    answer(response, 201, change(path, 'ADDED', object));
  }
}

function handle(request: IncomingMessage, response: ServerResponse, text: string): void {
  const url = new URL(request.url ?? '/', 'http://api');
  const path = collectionOf(url.pathname);
  if (url.searchParams.get('watch') === 'true') {
    watch(path, Number(url.searchParams.get('resourceVersion')), response);
  } else if (request.method === 'GET') {
    const items = [...collection(path).values()];
    answer(response, 200, { metadata: { resourceVersion: String(version) }, items });
  } else if (request.method === 'POST' && path === '/test/objects') {
    replaceAll(JSON.parse(text) as Record<string, Stored[]>);
    answer(response, 200, {});
  } else if (request.method === 'POST') {
    create(path, JSON.parse(text) as Stored, response);
  } else if (request.method === 'PATCH' && /ciliumnodes|ciliumendpoints/.test(path)) {
    answer(response, 404, { kind: 'Status', code: 404, reason: 'NotFound', message: 'not found' });
  } else {
    answer(response, 200, {});
  }
}

for (const [path, objects] of Object.entries(JSON.parse(readFileSync(0, 'utf8')) as Record<string, Stored[]>)) {
  for (const object of objects) {
    collection(path).set(keyOf(object), {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(version) },
    });
  }
}
createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', chunk => chunks.push(chunk));
  request.on('end', () => handle(request, response, Buffer.concat(chunks).toString()));
}).listen(Number(process.argv[2]), '127.0.0.1');
