/** Removing a sandbox, whole or half built, dead or alive. Each step is fine with nothing to do. */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SandboxError } from './errors.ts';
import { findCgroup2, removeCgroup } from './host/cgroup.ts';
import { removeEmptyNetnsDirectory, removeNetns } from './host/netns.ts';
import { attempt } from './host/run.ts';
import type { Layout } from './layout.ts';
import { podNamespaces, readState, type SandboxState } from './state.ts';

export interface SweepPlan {
  readonly cgroup: string | undefined;
  /** Innermost first. */
  readonly mounts: readonly string[];
  readonly namespaces: readonly string[];
}

/** Pure: only what is recorded or lies in our own state directory is removed. */
export function planSweep(
  layout: Layout,
  state: SandboxState | undefined,
  pods: readonly string[],
  mounts: string,
): SweepPlan {
  const cgroupRoot = state?.cgroupRoot ?? findCgroup2(mounts);
  const ours = (name: string): boolean => name.startsWith(layout.prefix) && !name.includes('/');
  return {
    cgroup: cgroupRoot === undefined ? undefined : join(cgroupRoot, layout.cgroupName),
    mounts: mounts
      .split('\n')
      .map(line => unescapeMount(line.split(' ')[1] ?? ''))
      .filter(path => path.startsWith(`${layout.directory}/`))
      .toSorted((a, b) => b.length - a.length),
    namespaces: [...new Set([...pods, ...(state?.namespaces ?? [])])].filter(ours),
  };
}

/** /proc/mounts writes blanks as \040. */
const unescapeMount = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

export async function sweep(layout: Layout): Promise<void> {
  const plan = planSweep(layout, readState(layout), podNamespaces(layout), readFileSync('/proc/mounts', 'utf8'));
  if (plan.cgroup !== undefined) await removeCgroup(plan.cgroup);
  for (const mount of plan.mounts) await attempt('umount', ['--lazy', mount]);
  const failures: string[] = [];
  for (const namespace of plan.namespaces) {
    await removeNetns(namespace).catch((error: unknown) => failures.push(`${namespace}: ${String(error)}`));
  }
  if (failures.length > 0) {
    throw new SandboxError(
      { code: 'COMMAND_FAILED', failures: failures.length },
      `cannot remove ${failures.join('; ')}: see who uses it (ip netns pids NAME), then run 'ciliate sandbox down' again`,
    );
  }
  rmSync(layout.directory, { recursive: true, force: true });
  removeIfEmpty('/run/ciliate');
  // Another sandbox may be about to put its namespaces there.
  if (!existsSync('/run/ciliate')) await removeEmptyNetnsDirectory();
}

function removeIfEmpty(directory: string): void {
  try {
    if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
  } catch {
    // In use as a mount point, or another sandbox has just put something there.
  }
}
