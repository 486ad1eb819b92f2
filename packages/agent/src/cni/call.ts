/** One HTTP/1.0 request over the agent's socket. Written by hand: loading node:http would cost each pod some milliseconds. */
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { CniErrorCode, type CniReply, type CniRequest } from '@ciliate/protocol';
import { isObject } from './config.ts';
import { CniFailure } from './error.ts';

const timeoutMs = 100_000;

/** @throws CniFailure: the agent's own, or code 11 when it cannot be reached. */
export async function callAgent(socketPath: string, request: CniRequest): Promise<CniReply> {
  const body = Buffer.from(JSON.stringify(request));
  const text = await exchange(socketPath, body);
  const split = text.indexOf('\r\n\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1] ?? 0);
  let answer: unknown;
  try {
    answer = JSON.parse(text.slice(split + 4));
  } catch (cause) {
    throw unreachable(socketPath, 'the agent closed the connection before its answer was whole', cause);
  }
  if (status === 200) return answer as CniReply;
  const code = isObject(answer) && typeof answer.code === 'number' ? answer.code : CniErrorCode.internal;
  const message = isObject(answer) && typeof answer.msg === 'string' ? answer.msg : `agent answered ${status}`;
  const details = isObject(answer) && typeof answer.details === 'string' ? answer.details : '';
  throw new CniFailure(code, message, details);
}

function exchange(socketPath: string, body: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(socketPath);
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    socket.on('error', error => reject(unreachable(socketPath, error.message, error)));
    socket.on('data', chunk => chunks.push(chunk));
    socket.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    socket.write(
      `POST /v1/ciliate/cni HTTP/1.0\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body);
  });
}

function unreachable(socketPath: string, why: string, cause: unknown): CniFailure {
  return new CniFailure(
    CniErrorCode.tryAgainLater,
    `ciliate-agent is not reachable on ${socketPath}: ${why}`,
    'is the agent running on this node? the runtime will try again',
    { cause },
  );
}

/**
 * True when the agent's state on disk names no endpoint of this container: then a DEL has nothing to undo and succeeds
 * although the agent is away. A directory that cannot be read proves nothing.
 */
export function stateIsGone(stateDir: string, containerId: string, ifname: string): boolean {
  try {
    return readdirSync(`${stateDir}/endpoints`)
      .filter(file => file.endsWith('.json'))
      .every(file => {
        const state: unknown = JSON.parse(readFileSync(`${stateDir}/endpoints/${file}`, 'utf8'));
        return isObject(state) && (state.containerId !== containerId || state.containerDevice !== ifname);
      });
  } catch {
    return false;
  }
}
