/** preStop hooks: what a container wants done before it is told to end. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ContainerSpec } from './pod.ts';
import type { PodSandbox } from './pod-sandbox.ts';
import { runProbe } from './probe.ts';

/** Ends when the hook has ended, failed, or used up the grace period (ms). Why it failed, or undefined. */
export async function runPreStop(
  container: ContainerSpec,
  sandbox: PodSandbox | undefined,
  grace: number,
): Promise<string | undefined> {
  const hook = container.lifecycle?.preStop;
  if (hook === undefined || sandbox === undefined || grace <= 0) return undefined;
  if (hook.sleep !== undefined) {
    await delay(Math.min(hook.sleep.seconds * 1000, grace), undefined, { ref: false });
    return undefined;
  }
  return runProbe({ ...hook, timeoutSeconds: grace / 1000 }, container, sandbox);
}
