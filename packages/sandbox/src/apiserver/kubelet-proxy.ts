/** `kubectl logs` and `kubectl exec`: the API server asks the kubelet of the pod's node. */
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { ExecChannel, type ExecExit, encodeFrame, execProtocol, frameDecoder } from './kubelet-protocol.ts';
import { type KubeObject, listAt, textAt } from './object.ts';
import { ApiError, badRequest } from './status.ts';

/** Channels of kubectl's remote command protocol (v4 and v5.channel.k8s.io): a byte in front of each message. */
const Remote = { STDIN: 0, STDOUT: 1, STDERR: 2, ERROR: 3, RESIZE: 4, CLOSE: 255 } as const;

function socketOf(directory: string, pod: KubeObject): string {
  const node = textAt(pod, 'spec', 'nodeName');
  if (node === '') throw badRequest(`pod ${pod.metadata.name} is not scheduled to a node yet`);
  return join(directory, node, 'kubelet.sock');
}

function containerOf(pod: KubeObject, query: URLSearchParams): string {
  const names = ['containers', 'initContainers'].flatMap(list =>
    listAt(pod, 'spec', list).map(container => textAt(container, 'name')),
  );
  const wanted = query.get('container') ?? names[0] ?? '';
  if (!names.includes(wanted))
    throw badRequest(`container ${wanted} is not valid for pod ${pod.metadata.name}: one of ${names.join(', ')}`);
  return wanted;
}

const pathOf = (kind: string, pod: KubeObject, query: URLSearchParams): string =>
  `/${kind}/${pod.metadata.namespace ?? ''}/${pod.metadata.name}/${containerOf(pod, query)}?${query}`;

export function proxyLogs(
  directory: string,
  pod: KubeObject,
  query: URLSearchParams,
  response: ServerResponse,
): undefined {
  const call = request(
    { socketPath: socketOf(directory, pod), path: pathOf('containerLogs', pod, query), method: 'GET' },
    answer => {
      response.writeHead(answer.statusCode ?? 500, { 'content-type': 'text/plain' });
      answer.pipe(response);
    },
  );
  response.on('close', () => call.destroy());
  call.on('error', error => {
    if (!response.headersSent) response.writeHead(502, { 'content-type': 'text/plain' });
    response.end(`the kubelet of ${textAt(pod, 'spec', 'nodeName')} does not answer: ${error.message}\n`);
  });
  call.end();
}

const webSockets = new WebSocketServer({
  noServer: true,
  handleProtocols: offered =>
    ['v5.channel.k8s.io', 'v4.channel.k8s.io'].find(protocol => offered.has(protocol)) ?? false,
});

function exitStatus(exit: ExecExit): object {
  if (exit.exitCode === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: exit.message ?? `command terminated with non-zero exit code: exit status ${exit.exitCode}`,
    details: { causes: [{ reason: 'ExitCode', message: String(exit.exitCode) }] },
  };
}

function toClient(client: WebSocket, channel: number, payload: Buffer): void {
  client.send(Buffer.concat([Buffer.from([channel]), payload]));
}

function joinStreams(client: WebSocket, kubelet: Duplex): void {
  const decode = frameDecoder((channel, payload) => {
    if (channel === ExecChannel.STDOUT || channel === ExecChannel.STDERR) toClient(client, channel, payload);
    if (channel !== ExecChannel.EXIT) return;
    const exit: ExecExit = JSON.parse(payload.toString('utf8'));
    toClient(client, Remote.ERROR, Buffer.from(JSON.stringify(exitStatus(exit))));
    client.close(1000);
  });
  kubelet.on('data', decode);
  kubelet.on('close', () => client.close(1000));
  kubelet.on('error', () => client.close(1011));
  client.on('message', (data: Buffer) => {
    const [channel] = data;
    const payload = data.subarray(1);
    if (channel === Remote.STDIN) kubelet.write(encodeFrame(ExecChannel.STDIN, payload));
    else if (channel === Remote.RESIZE) kubelet.write(encodeFrame(ExecChannel.RESIZE, payload));
    else if (channel === Remote.CLOSE) kubelet.write(encodeFrame(ExecChannel.STDIN_END, new Uint8Array()));
  });
  client.on('close', () => kubelet.destroy());
}

export function proxyExec(
  directory: string,
  pod: KubeObject,
  query: URLSearchParams,
  incoming: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): undefined {
  if (incoming.headers.upgrade?.toLowerCase() !== 'websocket') {
    throw new ApiError(400, 'BadRequest', 'exec needs WebSockets: use kubectl 1.30 or newer');
  }
  const headers = { connection: 'Upgrade', upgrade: execProtocol };
  const call = request({
    socketPath: socketOf(directory, pod),
    path: pathOf('exec', pod, query),
    method: 'POST',
    headers,
  });
  call.on('upgrade', (_answer, kubelet) => {
    webSockets.handleUpgrade(incoming, socket, head, client => joinStreams(client, kubelet));
  });
  const fail = (message: string): void => {
    socket.end(`HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n${message}\n`);
  };
  call.on('response', answer => {
    answer.setEncoding('utf8');
    let text = '';
    answer.on('data', chunk => {
      text += chunk;
    });
    answer.on('end', () => fail(text.trim() || 'the kubelet refused'));
  });
  call.on('error', error =>
    fail(`the kubelet of ${textAt(pod, 'spec', 'nodeName')} does not answer: ${error.message}`),
  );
  call.end();
}
