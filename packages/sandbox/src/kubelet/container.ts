/** One container: a process in the pod's namespaces whose end is written to a file, so that it outlives the kubelet. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { removeCgroup } from '../host/cgroup.ts';
import { readJson, writeJson } from '../state.ts';
import { startTimeOf } from '../supervisor/report.ts';
import { placed } from '../supervisor/spawn.ts';
import { LogClock } from './log-clock.ts';
import type { PodSandbox } from './pod-sandbox.ts';

/** meta.json: the run of a container that is under way or was the last. */
export interface ContainerRun {
  /** Counts from 0: restartCount. */
  readonly attempt: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Set when the kubelet has seen the end. */
  readonly exitCode?: number;
  readonly finishedAt?: string;
  readonly previous?: Omit<ContainerRun, 'previous'>;
}

export interface Launch {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir: string;
}

/** $1 directory, $2 cgroup of the container. The shell stays outside of that cgroup and writes how it ended. */
const wrapper = `dir=$1; cg=$2; shift 2
( echo 0 > "$cg/cgroup.procs" && exec "$@" ) &
echo $! > "$dir/pid.new"; mv "$dir/pid.new" "$dir/pid"
wait $!; echo $? > "$dir/exit.new"; mv "$dir/exit.new" "$dir/exit"`;

export class Container {
  readonly name: string;
  readonly #sandbox: PodSandbox;
  readonly #directory: string;
  readonly #cgroup: string;
  readonly #changed: () => void;
  #run: ContainerRun | undefined;
  #goneSince: number | undefined;
  #clock = new LogClock('');

  constructor(name: string, sandbox: PodSandbox, changed: () => void) {
    this.name = name;
    this.#sandbox = sandbox;
    this.#directory = join(sandbox.directory, 'containers', name);
    this.#cgroup = join(sandbox.cgroup, `c-${name}`);
    this.#changed = changed;
    this.#run = readJson<ContainerRun>(join(this.#directory, 'meta.json'));
    this.#clock = new LogClock(this.#run?.startedAt ?? '');
  }

  get run(): ContainerRun | undefined {
    return this.#run;
  }

  get running(): boolean {
    return this.#run !== undefined && this.#run.exitCode === undefined;
  }

  get id(): string {
    return `ciliate-sandbox://${this.#sandbox.id}-${this.name}-${this.#run?.attempt ?? 0}`;
  }

  get pid(): number | undefined {
    const pid = Number(readText(join(this.#directory, 'pid')));
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  }

  start(launch: Launch): void {
    this.#goneSince = undefined;
    mkdirSync(this.#directory, { recursive: true });
    mkdirSync(this.#cgroup, { recursive: true });
    for (const file of ['pid', 'exit']) rmSync(join(this.#directory, file), { force: true });
    const { previous: _, ...last } = this.#run ?? { attempt: -1, startedAt: '' };
    const attempt = last.attempt + 1;
    this.#save({ attempt, startedAt: new Date().toISOString(), ...(attempt === 0 ? {} : { previous: last }) });
    this.#clock = new LogClock(this.#run?.startedAt ?? '');
    const log = openSync(containerLog(this.#sandbox.directory, this.name, attempt), 'a', 0o640);
    rmSync(containerLog(this.#sandbox.directory, this.name, attempt - 2), { force: true });
    const child = this.#spawn(launch, log);
    closeSync(log);
    child.on('exit', () => this.#changed());
    child.on('error', () => this.#changed());
    child.unref();
  }

  #spawn(launch: Launch, log: number): ChildProcess {
    const { pausePid, cgroup } = this.#sandbox;
    const enter = ['nsenter', `--target=${pausePid}`, '--net', '--mount', '--uts', '--ipc'];
    const inside = [...enter, 'sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', launch.workingDir, ...launch.argv];
    const argv = ['sh', '-c', wrapper, 'sh', this.#directory, this.#cgroup, ...inside];
    const [command = '', ...args] = placed(argv, { cgroup: join(cgroup, 'sandbox') });
    return spawn(command, args, { stdio: ['ignore', log, log], detached: true, env: launch.env });
  }

  /** When the bytes of the current log were written. */
  get clock(): LogClock {
    return this.#clock;
  }

  /** Looks whether it has ended; true when that is news. */
  observe(): boolean {
    if (this.#run === undefined || this.#run.exitCode !== undefined) return false;
    this.#clock.saw(
      sizeOf(containerLog(this.#sandbox.directory, this.name, this.#run.attempt)),
      new Date().toISOString(),
    );
    const text = readText(join(this.#directory, 'exit'));
    if (text === '' && !this.#vanished()) return false;
    this.#save({ ...this.#run, exitCode: text === '' ? 137 : Number(text), finishedAt: new Date().toISOString() });
    return true;
  }

  /** Its process is gone without a word: the machine ran out of memory, or somebody killed the shell too. */
  #vanished(): boolean {
    const { pid } = this;
    if (pid === undefined) return Date.now() - Date.parse(this.#run?.startedAt ?? '') > 5000;
    if (startTimeOf(pid) !== undefined || existsSync(join(this.#directory, 'exit'))) return false;
    // Between the end of the process and the file that says so lies a moment of the shell.
    this.#goneSince ??= Date.now();
    return Date.now() - this.#goneSince > 2000;
  }

  signal(name: 'SIGTERM' | 'SIGKILL'): void {
    const { pid } = this;
    if (pid === undefined || !this.running) return;
    try {
      process.kill(pid, name);
    } catch {
      // Ended meanwhile.
    }
  }

  /** Ends what the container left running. */
  async cleanUp(): Promise<void> {
    await removeCgroup(this.#cgroup);
  }

  #save(run: ContainerRun): void {
    this.#run = run;
    writeJson(join(this.#directory, 'meta.json'), run);
  }
}

/** Log of one run. */
export function containerLog(podDirectory: string, name: string, attempt: number): string {
  return join(podDirectory, 'containers', name, `${attempt}.log`);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}
