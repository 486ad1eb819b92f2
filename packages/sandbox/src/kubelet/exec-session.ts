/** One `kubectl exec`: a process in the pod, its streams in frames. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { quote } from '../host/programs.ts';
import { enterPod } from '../target.ts';
import type { PodSandbox } from './pod-sandbox.ts';
import { Channel, type ExecStatus, encodeFrame, FrameReader } from './stream-protocol.ts';

export interface ExecRequest {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly env: Readonly<Record<string, string>>;
}

export function runExec(socket: Duplex, head: Uint8Array, sandbox: PodSandbox, request: ExecRequest): void {
  const argv = enterPod(sandbox, request.tty ? inTerminal(request.command) : request.command);
  const [command = '', ...args] = argv;
  const child = spawn(command, args, { stdio: 'pipe', detached: true, env: request.env });
  if (!request.stdin) child.stdin.end();
  receive(socket, head, child);
  child.stdout.on('data', chunk => socket.write(encodeFrame(Channel.stdout, chunk)));
  child.stderr.on('data', chunk => socket.write(encodeFrame(Channel.stderr, chunk)));
  child.on('error', error => finish(socket, { exitCode: 126, message: error.message }));
  child.on('close', (code, signal) => {
    finish(socket, { exitCode: code ?? 128 + (signal === null ? 0 : constants.signals[signal]) });
  });
  const hangUp = (): void => endGroup(child.pid);
  socket.on('close', hangUp);
  socket.on('error', hangUp);
}

/** script(1) gives a terminal; TERM so that programs draw. The exit code is the command's (-e). */
function inTerminal(command: readonly string[]): readonly string[] {
  const line = command.map(quote).join(' ');
  return ['env', 'TERM=xterm', 'script', '--quiet', '--return', '--flush', '--command', `exec ${line}`, '/dev/null'];
}

function receive(socket: Duplex, head: Uint8Array, child: ChildProcessWithoutNullStreams): void {
  const reader = new FrameReader();
  child.stdin.on('error', () => undefined);
  const take = (chunk: Uint8Array): void => {
    for (const frame of reader.push(chunk)) {
      if (frame.channel !== Channel.stdin) continue;
      if (frame.payload.length === 0) child.stdin.end();
      else if (!child.stdin.destroyed) child.stdin.write(frame.payload);
    }
  };
  take(head);
  socket.on('data', take);
}

function finish(socket: Duplex, status: ExecStatus): void {
  if (!socket.destroyed) socket.end(encodeFrame(Channel.status, JSON.stringify(status)));
}

/** The client has gone: what it started ends with it. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGHUP');
  } catch {
    // Already ended.
  }
}
