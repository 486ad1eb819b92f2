/**
 * The least API server that an agent can live with, for tests that need one without a sandbox. Run it:
 * `node test/lib/scripted-api.ts PORT [VERSION]`. Objects are read from standard input as JSON {path: [object]}; a node's own writes are kept.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

interface Stored {
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

const collections = new Map<string, Stored[]>(
  Object.entries(JSON.parse(readFileSync(0, 'utf8')) as Record<string, Stored[]>),
);
/** resourceVersion of the first list. */
let version = Number(process.argv[3] ?? 10);

const collectionOf = (path: string): string => path.replace(/\/namespaces\/[^/]+/, '');

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function handle(request: IncomingMessage, response: ServerResponse, text: string): void {
  const url = new URL(request.url ?? '/', 'http://api');
  if (url.searchParams.get('watch') === 'true') {
    response.writeHead(200).flushHeaders();
    return;
  }
  const path = collectionOf(url.pathname);
  if (request.method === 'GET') {
    answer(response, 200, { metadata: { resourceVersion: String(version) }, items: collections.get(path) ?? [] });
  } else if (request.method === 'POST') {
    version += 1;
    collections.set(path, [...(collections.get(path) ?? []), JSON.parse(text) as Stored]);
    answer(response, 201, JSON.parse(text));
  } else if (request.method === 'PATCH' && /ciliumnodes|ciliumendpoints/.test(path)) {
    answer(response, 404, { kind: 'Status', code: 404, reason: 'NotFound', message: 'not found' });
  } else {
    answer(response, 200, {});
  }
}

createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', chunk => chunks.push(chunk));
  request.on('end', () => handle(request, response, Buffer.concat(chunks).toString()));
}).listen(Number(process.argv[2]), '127.0.0.1');
