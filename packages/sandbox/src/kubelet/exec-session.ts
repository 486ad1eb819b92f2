/** One `kubectl exec`: a process in the pod, its streams in frames. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { ExecChannel, type ExecExit, encodeFrame, frameDecoder } from '../apiserver/kubelet-protocol.ts';
import { quote } from '../host/programs.ts';
import { enterPod } from '../target.ts';
import type { PodSandbox } from './pod-sandbox.ts';

export interface ExecRequest {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly env: Readonly<Record<string, string>>;
}

export function runExec(socket: Duplex, head: Buffer, sandbox: PodSandbox, request: ExecRequest): void {
  const argv = enterPod(sandbox, request.tty ? inTerminal(request.command) : request.command);
  const [command = '', ...args] = argv;
  const child = spawn(command, args, { stdio: 'pipe', detached: true, env: request.env });
  if (!request.stdin) child.stdin.end();
  receive(socket, head, child);
  child.stdout.on('data', chunk => socket.write(encodeFrame(ExecChannel.STDOUT, chunk)));
  child.stderr.on('data', chunk => socket.write(encodeFrame(ExecChannel.STDERR, chunk)));
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

function receive(socket: Duplex, head: Buffer, child: ChildProcessWithoutNullStreams): void {
  child.stdin.on('error', () => undefined);
  const take = frameDecoder((channel, payload) => {
    if (channel === ExecChannel.STDIN_END) child.stdin.end();
    else if (channel === ExecChannel.STDIN && !child.stdin.writableEnded) child.stdin.write(payload);
  });
  take(head);
  socket.on('data', take);
}

function finish(socket: Duplex, exit: ExecExit): void {
  if (!socket.destroyed) socket.end(encodeFrame(ExecChannel.EXIT, Buffer.from(JSON.stringify(exit))));
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
