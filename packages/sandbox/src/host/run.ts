/** Commands of the machine, run to their end. */
import { spawn } from 'node:child_process';
import { SandboxError } from '../errors.ts';

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Milliseconds; then SIGKILL and code 137. */
  readonly timeout?: number;
}

/** Never rejects: a command that cannot start has code 127. */
export function attempt(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise(resolve => {
    const child = spawn(command, [...args], { stdio: ['pipe', 'pipe', 'pipe'], env: options.env ?? process.env });
    const chunks: { out: Buffer[]; err: Buffer[] } = { out: [], err: [] };
    const timer = options.timeout === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), options.timeout);
    child.stdout.on('data', chunk => chunks.out.push(chunk));
    child.stderr.on('data', chunk => chunks.err.push(chunk));
    child.on('error', error => {
      clearTimeout(timer);
      resolve({ code: 127, stdout: '', stderr: error.message });
    });
    child.on('close', code => {
      clearTimeout(timer);
      resolve({ code: code ?? 137, stdout: text(chunks.out), stderr: text(chunks.err) });
    });
    // A command that ends without reading its input is no error of ours.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

/** @throws SandboxError COMMAND_FAILED with what the command said */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await attempt(command, args, options);
  if (result.code === 0) return result.stdout;
  const said = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(-4).join('; ');
  throw new SandboxError(
    { code: 'COMMAND_FAILED', command, exitCode: result.code },
    `${command} ${args.join(' ').slice(0, 200)}: exit ${result.code}: ${said}`,
  );
}

const text = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString('utf8');
