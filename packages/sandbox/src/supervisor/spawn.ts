/** Starting a process in a cgroup and a network namespace of ours. */
import { type ChildProcess, spawn } from 'node:child_process';
import { netnsPath } from '../layout.ts';

export interface Place {
  readonly cgroup: string;
  readonly netns?: string | undefined;
}

/** `exec` all the way: the process has the pid of the shell that entered the cgroup. */
export function placed(argv: readonly string[], place: Place): readonly string[] {
  const enter = place.netns === undefined ? [] : ['nsenter', `--net=${netnsPath(place.netns)}`];
  const script = 'echo 0 > "$1/cgroup.procs" || exit 125; shift; exec "$@"';
  return ['sh', '-c', script, 'sh', place.cgroup, ...enter, ...argv];
}

/** Output goes to the open file `log`; a session of its own, so that Ctrl-C on a terminal does not reach it. */
export function spawnPlaced(argv: readonly string[], place: Place, log: number): ChildProcess {
  const [command = '', ...args] = placed(argv, place);
  return spawn(command, args, { stdio: ['ignore', log, log], detached: true, env: process.env });
}
