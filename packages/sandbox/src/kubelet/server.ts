/** Logs and exec for the API server, on the node's unix socket. */
import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { execProtocol } from '../apiserver/kubelet-protocol.ts';
import { containerLog } from './container.ts';
import { runExec } from './exec-session.ts';
import { Stamper } from './log-clock.ts';
import { readLog } from './log-reader.ts';
import type { PodWorker } from './pod-worker.ts';

export interface ServerModules {
  readonly find: (namespace: string, pod: string) => PodWorker | undefined;
  readonly log: (message: string) => void;
}

/** Carries the HTTP status of a refusal. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export function serveKubelet(socketPath: string, modules: ServerModules): Server {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://kubelet');
    sendLog(url, response, modules).catch((error: unknown) => refuse(response, error));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    try {
      upgrade(new URL(request.url ?? '/', 'http://kubelet'), socket, head, modules);
    } catch (error) {
      const { status, message } = refusalOf(error);
      const body = Buffer.from(message);
      socket.end(`HTTP/1.1 ${status} refused\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${message}`);
    }
  });
  rmSync(socketPath, { force: true });
  server.on('error', error => modules.log(`kubelet.sock: ${error.message}`));
  server.listen(socketPath);
  return server;
}

function refusalOf(error: unknown): { readonly status: number; readonly message: string } {
  if (error instanceof Refusal) return error;
  return { status: 500, message: error instanceof Error ? error.message : String(error) };
}

function refuse(response: ServerResponse, error: unknown): void {
  const { status, message } = refusalOf(error);
  if (!response.headersSent) response.writeHead(status, { 'content-type': 'text/plain' });
  response.end(message);
}

/** The path is /KIND/NAMESPACE/POD/CONTAINER. @throws Refusal 404, 400 */
function findPod(
  url: URL,
  kind: 'containerLogs' | 'exec',
  modules: ServerModules,
): { readonly worker: PodWorker; readonly container: string } {
  const [, first, namespace = '', pod = '', wanted = ''] = url.pathname.split('/').map(decodeURIComponent);
  if (first !== kind) throw new Refusal(404, `no such path: ${url.pathname}`);
  const worker = modules.find(namespace, pod);
  if (worker === undefined) throw new Refusal(404, `pod ${namespace}/${pod} is not on this node`);
  const { spec } = worker.pod;
  const names = [...spec.containers, ...(spec.initContainers ?? [])].map(container => container.name);
  const container = wanted === '' ? (names[0] ?? '') : wanted;
  if (!names.includes(container)) {
    throw new Refusal(400, `container ${container} is not valid for pod ${pod}: it has ${names.join(', ')}`);
  }
  return { worker, container };
}

async function sendLog(url: URL, response: ServerResponse, modules: ServerModules): Promise<void> {
  const query = url.searchParams;
  const { worker, container: name } = findPod(url, 'containerLogs', modules);
  const container = worker.container(name);
  const { sandbox } = worker;
  const run = container?.run;
  if (sandbox === undefined || container === undefined || run === undefined) {
    throw new Refusal(
      400,
      `container "${name}" in pod "${worker.pod.metadata.name}" is waiting to start: ContainerCreating`,
    );
  }
  const attempt = query.get('previous') === 'true' ? run.attempt - 1 : run.attempt;
  if (attempt < 0) {
    throw new Refusal(400, `previous terminated container "${name}" in pod "${worker.pod.metadata.name}" not found`);
  }
  const options = {
    follow: query.get('follow') === 'true',
    tailLines: number(query.get('tailLines')),
    limitBytes: number(query.get('limitBytes')),
  };
  response.writeHead(200, { 'content-type': 'text/plain' });
  response.flushHeaders();
  const ended = (): boolean => !container.running || container.run?.attempt !== attempt || response.destroyed;
  let stamper: Stamper | undefined;
  for await (const chunk of readLog(containerLog(sandbox.directory, name, attempt), options, ended)) {
    if (response.destroyed) return;
    stamper ??= query.get('timestamps') === 'true' ? new Stamper(container.clock, chunk.offset) : undefined;
    response.write(stamper?.stamp(chunk.bytes, new Date().toISOString()) ?? chunk.bytes);
  }
  response.end();
}

function number(text: string | null): number | undefined {
  const value = Number(text);
  return text === null || text === '' || !Number.isInteger(value) || value < 0 ? undefined : value;
}

function upgrade(url: URL, socket: Duplex, head: Buffer, modules: ServerModules): void {
  const { worker, container } = findPod(url, 'exec', modules);
  const { sandbox } = worker;
  if (sandbox === undefined || worker.container(container)?.running !== true) {
    throw new Refusal(400, `container ${container} of pod ${worker.pod.metadata.name} is not running`);
  }
  const command = url.searchParams.getAll('command');
  if (command.length === 0) throw new Refusal(400, 'no command given');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${execProtocol}\r\n\r\n`);
  runExec(socket, head, sandbox, {
    command,
    tty: url.searchParams.get('tty') === 'true',
    stdin: url.searchParams.get('stdin') === 'true',
    env: worker.environment(container),
  });
}
