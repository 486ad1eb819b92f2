/** What the supervisor leaves for others to read: processes.json and events.log. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Layout } from '../layout.ts';
import { readJson } from '../state.ts';

export interface ExitReport {
  readonly code: number | null;
  readonly signal: string | null;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly lastLines: readonly string[];
}

export interface ProcessReport {
  readonly name: string;
  readonly pid: number | undefined;
  readonly restarts: number;
  readonly since: number;
  readonly lastExit?: ExitReport;
}

export interface SupervisorReport {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: tells this process from a later one of the same number. */
  readonly startTime: string;
  readonly processes: readonly ProcessReport[];
}

export const reportPath = (layout: Layout): string => join(layout.directory, 'processes.json');
export const eventsPath = (layout: Layout): string => join(layout.directory, 'logs', 'events.log');
export const logPath = (layout: Layout, name: string): string => join(layout.directory, 'logs', `${name}.log`);

/** Undefined when the process is gone. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export const isAlive = (process: { readonly pid: number; readonly startTime: string }): boolean =>
  startTimeOf(process.pid) === process.startTime;

export function readReport(layout: Layout): SupervisorReport | undefined {
  return readJson<SupervisorReport>(reportPath(layout));
}

/** The report when its supervisor is alive. */
export function liveReport(layout: Layout): SupervisorReport | undefined {
  const report = readReport(layout);
  return report !== undefined && isAlive(report) ? report : undefined;
}

/** 'exit code 1' or 'signal SIGKILL'. */
export const describeExit = (exit: Pick<ExitReport, 'code' | 'signal'>): string =>
  exit.signal === null ? `exit code ${exit.code ?? 'unknown'}` : `signal ${exit.signal}`;

/** Paragraph for people: which process, how it ended, its last words, what to do. */
export function crashText(layout: Layout, name: string, exit: ExitReport, nextTry: number): string {
  return [
    `${name} ended with ${describeExit(exit)}; it is started again in ${(nextTry / 1000).toFixed(1)} s`,
    ...exit.lastLines.map(line => `  | ${line}`),
    `  its log: ${logPath(layout, name)} (ciliate sandbox logs ${name})`,
  ].join('\n');
}

export function lastLines(path: string, count: number): readonly string[] {
  try {
    const text = readFileSync(path, 'utf8');
    return text
      .slice(-8192)
      .split('\n')
      .filter(line => line.trim() !== '')
      .slice(-count);
  } catch {
    return [];
  }
}
