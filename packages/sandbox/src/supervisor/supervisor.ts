/** Starts every process of a sandbox, watches them, and starts again what ends, later each time. */
import { appendFileSync, closeSync, openSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Layout } from '../layout.ts';
import { writeJson } from '../state.ts';
import type { ProcessSpec } from './process-spec.ts';
import { crashText, eventsPath, lastLines, logPath, type ProcessReport, reportPath, startTimeOf } from './report.ts';
import { spawnPlaced } from './spawn.ts';

/** Milliseconds: first restart, longest wait, and how long a process must live for its crashes to be forgotten. */
const backoff = { first: 500, longest: 15_000, forgotten: 30_000 } as const;

interface Running {
  spec: ProcessSpec;
  report: ProcessReport;
  wait: number;
}

export class Supervisor {
  readonly #layout: Layout;
  readonly #specs: () => readonly ProcessSpec[];
  readonly #running: Running[];
  #stopped = false;

  /** `specs` is asked before each start; which processes there are does not change. */
  constructor(layout: Layout, specs: () => readonly ProcessSpec[]) {
    this.#layout = layout;
    this.#specs = specs;
    this.#running = specs().map(spec => ({
      spec,
      report: { name: spec.name, pid: undefined, restarts: 0, since: Date.now() },
      wait: backoff.first,
    }));
  }

  async start(api: { readonly host: string; readonly port: number }): Promise<void> {
    this.#save();
    for (const process of this.#running) if (process.spec.early) this.#spawn(process);
    await waitForPort(api.host, api.port, 20_000);
    for (const process of this.#running) if (!process.spec.early) this.#spawn(process);
  }

  /** Ends the processes; what does not listen is left to the cgroup. */
  stop(): void {
    this.#stopped = true;
    for (const { report } of this.#running) {
      if (report.pid !== undefined) killQuietly(report.pid);
    }
  }

  #spawn(running: Running): void {
    if (this.#stopped) return;
    running.spec = this.#specs().find(({ name }) => name === running.spec.name) ?? running.spec;
    const log = openSync(logPath(this.#layout, running.spec.name), 'a', 0o600);
    const child = spawnPlaced(running.spec.argv, running.spec, log);
    closeSync(log);
    running.report = { ...running.report, pid: child.pid, since: Date.now() };
    this.#save();
    child.on('error', error => this.#ended(running, null, error.message));
    child.on('exit', (code, signal) => this.#ended(running, code, signal));
  }

  #ended(running: Running, code: number | null, signal: string | null): void {
    if (this.#stopped) return;
    const lived = Date.now() - running.report.since;
    if (lived > backoff.forgotten) running.wait = backoff.first;
    const exit = { code, signal, at: Date.now(), lastLines: lastLines(logPath(this.#layout, running.spec.name), 5) };
    running.report = { ...running.report, pid: undefined, restarts: running.report.restarts + 1, lastExit: exit };
    this.#save();
    this.#event(crashText(this.#layout, running.spec.name, exit, running.wait));
    setTimeout(() => this.#spawn(running), running.wait);
    running.wait = Math.min(running.wait * 2, backoff.longest);
  }

  #event(text: string): void {
    appendFileSync(eventsPath(this.#layout), `${new Date().toISOString()} ${text}\n`);
    process.stdout.write(`${text}\n`);
  }

  #save(): void {
    writeJson(reportPath(this.#layout), {
      pid: process.pid,
      startTime: startTimeOf(process.pid) ?? '',
      processes: this.#running.map(running => running.report),
    });
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    // Already gone.
  }
}

/** True when somebody accepts connections there before `timeout` ms are over. */
export async function waitForPort(host: string, port: number, timeout: number): Promise<boolean> {
  const end = Date.now() + timeout;
  while (Date.now() < end) {
    if (await accepts(host, port)) return true;
    await delay(50);
  }
  return false;
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host, port });
    const done = (result: boolean): void => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(1000, () => done(false));
    socket.on('connect', () => done(true));
    socket.on('error', () => done(false));
  });
}
