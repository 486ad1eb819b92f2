/**
 * An API server that holds what the bench gives it: `node bench/services/feed-api.ts PORT`, and on standard input one line of JSON for each
 * step: first {objects: {path: [object]}}, then {type, object} for a change of a slice, or {add: {path: [object]}} for many new objects. Says
 * `sent NANOSECONDS` for each (CLOCK_MONOTONIC, before the first byte).
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';

const slices = '/apis/discovery.k8s.io/v1/endpointslices';

let objects: Readonly<Record<string, readonly object[]>> = {};
const watchers = new Map<string, Set<ServerResponse>>();

function watch(path: string, response: ServerResponse): void {
  const all = watchers.get(path) ?? new Set();
  watchers.set(path, all.add(response));
  response.on('close', () => all.delete(response));
}

function tell(path: string, lines: string): void {
  for (const watcher of watchers.get(path) ?? []) watcher.write(`${lines}\n`);
}

/** What agents make, identities among them: kept, and told to who watches. */
function create(path: string, text: string): object {
  const sent = JSON.parse(text) as { readonly metadata?: object };
  const object = { ...sent, metadata: { uid: path, resourceVersion: '11', ...sent.metadata } };
  objects = { ...objects, [path]: [...(objects[path] ?? []), object] };
  tell(path, JSON.stringify({ type: 'ADDED', object }));
  return object;
}

const collectionOf = (path: string): string => path.replace(/\/namespaces\/[^/]+/, '');

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** As a real API server: pages of `limit`, `continue` names the next. */
function page(items: readonly object[], query: URLSearchParams): object {
  const from = Number(query.get('continue') ?? 0);
  const to = from + (Number(query.get('limit') ?? 0) || items.length);
  const more = to < items.length ? { continue: String(to) } : {};
  return { metadata: { resourceVersion: '10', ...more }, items: items.slice(from, to) };
}

function handle(request: IncomingMessage, response: ServerResponse, text: string): void {
  const url = new URL(request.url ?? '/', 'http://api');
  const path = collectionOf(url.pathname);
  if (url.searchParams.get('watch') === 'true') {
    response.writeHead(200).flushHeaders();
    watch(path, response);
  } else if (request.method === 'GET') {
    answer(response, 200, page(objects[path] ?? [], url.searchParams));
  } else if (request.method === 'POST') {
    answer(response, 201, create(path, text));
  } else if (request.method === 'PATCH') {
    answer(response, 404, { kind: 'Status', code: 404, reason: 'NotFound', message: 'not found' });
  } else {
    answer(response, 200, {});
  }
}

type Objects = typeof objects;

/** Encoded before the clock starts: what an API server needs for it is not the agent's time. */
function addAll(more: Objects): bigint {
  const texts = Object.entries(more).map(([path, list]) => {
    objects = { ...objects, [path]: [...(objects[path] ?? []), ...list] };
    return [path, list.map(object => JSON.stringify({ type: 'ADDED', object })).join('\n')] as const;
  });
  const sent = process.hrtime.bigint();
  for (const [path, text] of texts) tell(path, text);
  return sent;
}

function changeSlice(line: string): bigint {
  const sent = process.hrtime.bigint();
  tell(slices, line);
  return sent;
}

let first = true;
createInterface({ input: process.stdin }).on('line', line => {
  if (first) {
    first = false;
    ({ objects } = JSON.parse(line) as { objects: Objects });
    process.stdout.write('ready\n');
    return;
  }
  const sent = line.startsWith('{"add":')
    ? addAll((JSON.parse(line) as { readonly add: Objects }).add)
    : changeSlice(line);
  process.stdout.write(`sent ${sent}\n`);
});

createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', chunk => chunks.push(chunk));
  request.on('end', () => handle(request, response, Buffer.concat(chunks).toString()));
}).listen(Number(process.argv[2]), '127.0.0.1');
