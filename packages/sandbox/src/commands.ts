/** The other commands of `ciliate sandbox`. Each gives an exit code. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SandboxError } from './errors.ts';
import { type Layout, layoutOf } from './layout.ts';
import type { Print, SandboxName } from './options.ts';
import { requireRoot } from './preflight.ts';
import { readState, type SandboxState } from './state.ts';
import { describeExit, liveReport, logPath, readReport } from './supervisor/report.ts';
import { sweep } from './sweep.ts';
import { commandFor } from './target.ts';

export async function sandboxDown(flags: SandboxName, print: Print): Promise<number> {
  return guarded(print, async () => {
    const layout = layoutOf(flags.name);
    requireRoot('ciliate sandbox down');
    const existed = existsSync(layout.directory);
    const started = performance.now();
    await sweep(layout);
    print(existed ? `gone after ${((performance.now() - started) / 1000).toFixed(2)} s` : 'there was none');
    return 0;
  });
}

export async function sandboxStatus(flags: SandboxName, print: Print): Promise<number> {
  return guarded(print, async () => {
    const layout = layoutOf(flags.name);
    const state = requireState(layout);
    const live = liveReport(layout);
    const report = live ?? readReport(layout);
    print(
      `Sandbox ${state.name}: ${live === undefined ? "supervisor is gone, run 'ciliate sandbox up' to start anew" : 'up'}, ${state.nodes} nodes, ${state.routing}, ipam ${state.ipam}, API server ${state.api.host}:${state.api.port}`,
    );
    let failed = live === undefined;
    for (const process of report?.processes ?? []) {
      const up = process.pid !== undefined && live !== undefined;
      failed ||= !up;
      const since = `${Math.round((Date.now() - process.since) / 1000)} s`;
      print(`  ${process.name.padEnd(14)} ${up ? `running, pid ${process.pid}, for ${since}` : 'not running'}`);
      if (process.lastExit === undefined) continue;
      const at = new Date(process.lastExit.at).toISOString();
      print(`    restarts ${process.restarts}, last ended ${at} with ${describeExit(process.lastExit)}:`);
      for (const line of process.lastExit.lastLines) print(`    | ${line}`);
      print(`    see: ciliate sandbox logs ${process.name}`);
    }
    return failed ? 1 : 0;
  });
}

/** @throws SandboxError NOT_UP */
export function sandboxKubeconfig(flags: SandboxName): string {
  const layout = layoutOf(flags.name);
  requireState(layout);
  return join(layout.directory, 'kubeconfig');
}

/** Runs `argv` with our terminal; gives its exit code, 128 + number for a signal. */
export async function sandboxExec(flags: SandboxName, target: string, argv: readonly string[]): Promise<number> {
  const complain: Print = line => process.stderr.write(`${line}\n`);
  return guarded(complain, async () => {
    const layout = layoutOf(flags.name);
    const state = requireState(layout);
    requireRoot('ciliate sandbox exec');
    const [command = '', ...args] = commandFor(layout, state, target, argv);
    const child = spawn(command, args, { stdio: 'inherit' });
    // Ctrl-C is the child's to handle; it is in the same foreground process group.
    const ignore = (): void => undefined;
    process.on('SIGINT', ignore);
    return new Promise<number>(resolve => {
      child.on('error', error => {
        complain(`error: ${error.message}`);
        resolve(127);
      });
      child.on('close', (code, signal) => {
        process.off('SIGINT', ignore);
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  });
}

export async function sandboxLogs(
  flags: SandboxName & { readonly follow?: boolean },
  name: string | undefined,
  write: Print,
): Promise<number> {
  return guarded(
    line => process.stderr.write(`${line}\n`),
    async () => {
      const layout = layoutOf(flags.name);
      requireState(layout);
      const names = readdirSync(join(layout.directory, 'logs')).map(file => file.replace(/\.log$/, ''));
      if (name === undefined) {
        for (const known of names.toSorted()) write(`${known}\n`);
        return 0;
      }
      if (!names.includes(name)) {
        throw new SandboxError({ code: 'NO_TARGET', name }, `no log of '${name}': there are ${names.join(', ')}`);
      }
      await copyLog(logPath(layout, name), flags.follow === true, write);
      return 0;
    },
  );
}

async function copyLog(path: string, follow: boolean, write: Print): Promise<void> {
  let position = 0;
  do {
    if (!existsSync(path)) return;
    const { size } = statSync(path);
    if (size < position) position = 0;
    if (size > position) {
      const buffer = Buffer.alloc(size - position);
      const file = openSync(path, 'r');
      readSync(file, buffer, 0, buffer.length, position);
      closeSync(file);
      position = size;
      write(buffer.toString('utf8'));
    }
    if (follow) await delay(200);
  } while (follow);
}

function requireState(layout: Layout): SandboxState {
  const state = readState(layout);
  if (state !== undefined) return state;
  throw new SandboxError(
    { code: 'NOT_UP', name: layout.name },
    `no sandbox '${layout.name}' is up (nothing in ${layout.directory}): start it with 'sudo ./ciliate sandbox up'`,
  );
}

async function guarded(print: Print, act: () => Promise<number>): Promise<number> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    print(`error: ${error.message}`);
    return 1;
  }
}
