/**
 * Real sockets for sock.privileged.test.ts: started in a cgroup and a namespace, takes one request at a time over IPC and tells what
 * an application would see. Servers answer with their own port, so that the backend is known.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export interface DialRequest {
  readonly kind: 'tcp' | 'udp-connect' | 'udp-sendmsg';
  /** A v4-in-v6 address makes an IPv6 socket. */
  readonly host: string;
  readonly port: number;
  /** ms to wait for an answer, where none is expected. */
  readonly patience?: number;
}

/** Serve TCP and UDP on this address. */
export interface ServeRequest {
  readonly kind: 'serve';
  readonly host: string;
  readonly port: number;
  /** Only to see whether bind(2) is allowed. */
  readonly close?: boolean;
}

/** What the application saw; addresses as `host port`. */
export interface DialResult {
  /** Errno name; everything else is then absent. */
  readonly error?: string;
  /** The port on which the server that answered listens. */
  readonly answeredBy?: number;
  /** getpeername(2). */
  readonly peer?: string;
  /** Source address that recvmsg(2) gave. */
  readonly from?: string;
}

const defaultPatience = 5000;

function errorName(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

async function dialTcp(request: DialRequest): Promise<DialResult> {
  const socket = connect({ host: request.host, port: request.port });
  socket.setTimeout(request.patience ?? defaultPatience, () =>
    socket.destroy(Object.assign(new Error('timeout'), { code: 'TIMEOUT' })),
  );
  try {
    const [data] = await once(socket, 'data');
    return { answeredBy: Number(String(data)), peer: `${socket.remoteAddress} ${socket.remotePort}` };
  } finally {
    socket.destroy();
  }
}

async function answer(socket: UdpSocket, patience = defaultPatience): Promise<DialResult> {
  const [data, from] = await once(socket, 'message', { signal: AbortSignal.timeout(patience) });
  return { answeredBy: Number(String(data)), from: `${from.address} ${from.port}` };
}

/** Sends and waits for the answer; an error of send(2) ends the waiting. */
function exchange(socket: UdpSocket, request: DialRequest): Promise<DialResult> {
  return new Promise((resolve, reject) => {
    const sent = (error: Error | null): void => {
      if (error !== null) reject(error);
    };
    answer(socket, request.patience).then(resolve, reject);
    if (request.kind === 'udp-connect') socket.send('?', sent);
    else socket.send('?', request.port, request.host, sent);
  });
}

async function dialUdp(request: DialRequest): Promise<DialResult> {
  const socket = createSocket(request.host.includes(':') ? 'udp6' : 'udp4');
  try {
    if (request.kind === 'udp-sendmsg') return await exchange(socket, request);
    await new Promise<void>((resolve, reject) => {
      // The callback gets the error of connect(2), which the types leave out.
      const done = (error?: Error): void => (error === undefined ? resolve() : reject(error));
      socket.connect(request.port, request.host, done);
    });
    const peer = socket.remoteAddress();
    return { ...(await exchange(socket, request)), peer: `${peer.address} ${peer.port}` };
  } finally {
    socket.close();
  }
}

async function serve(request: ServeRequest): Promise<DialResult> {
  const tcp = createServer(socket => {
    socket.on('error', () => socket.destroy());
    socket.end(String(request.port));
  });
  tcp.listen(request.port, request.host);
  await once(tcp, 'listening');
  const udp = createSocket(request.host.includes(':') ? 'udp6' : 'udp4');
  udp.on('message', (_data, from) => udp.send(String(request.port), from.port, from.address));
  udp.bind(request.port, request.host);
  await once(udp, 'listening');
  if (request.close === true) {
    tcp.close();
    udp.close();
  }
  return {};
}

async function handle(request: DialRequest | ServeRequest): Promise<DialResult> {
  try {
    if (request.kind === 'serve') return await serve(request);
    return await (request.kind === 'tcp' ? dialTcp(request) : dialUdp(request));
  } catch (error) {
    return { error: errorName(error) };
  }
}

process.on('message', (request: DialRequest | ServeRequest) => {
  void handle(request).then(result => process.send?.(result));
});
process.on('disconnect', () => process.exit(0));
process.send?.({});
