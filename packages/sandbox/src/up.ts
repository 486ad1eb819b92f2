/** `sandbox up`: builds, starts the supervisor, waits, and either returns or watches until Ctrl-C. */
import { existsSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { buildAccess, buildNetwork, buildNodes, planState } from './build.ts';
import { SandboxError } from './errors.ts';
import { program } from './host/programs.ts';
import { type Layout, layoutOf } from './layout.ts';
import type { Print, UpOptions } from './options.ts';
import { requireRoot, requireTools } from './preflight.ts';
import type { SandboxState } from './state.ts';
import { eventsPath, liveReport, logPath } from './supervisor/report.ts';
import { spawnPlaced } from './supervisor/spawn.ts';
import { sweep } from './sweep.ts';
import { Readiness } from './wait.ts';

/** Exit code. Says what failed through `print`; throws only on errors of our own. */
export async function sandboxUp(options: UpOptions, print: Print): Promise<number> {
  try {
    const layout = layoutOf(options.name);
    requireRoot('ciliate sandbox up');
    requireTools();
    requireDown(layout);
    const interrupt = removeOnInterrupt(layout, print);
    await start(layout, options, stepPrinter(print));
    interrupt.over();
    for (const line of whatNext(layout)) print(line);
    return options.detach === true ? 0 : await watch(layout, print);
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    print(`error: ${error.message}`);
    return 1;
  }
}

/** Ctrl-C while it is being built: what there is goes, and so do we. */
function removeOnInterrupt(layout: Layout, print: Print): { over(): void } {
  const remove = (): void => {
    print('interrupted: removing what was made …');
    sweep(layout).then(
      () => process.exit(130),
      (error: unknown) => {
        print(`error: ${String(error)}`);
        process.exit(1);
      },
    );
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.once(signal, remove);
  return {
    over: () => {
      for (const signal of signals) process.off(signal, remove);
    },
  };
}

function requireDown(layout: Layout): void {
  if (liveReport(layout) === undefined) return;
  const flag = layout.name === 'sandbox' ? '' : ` --name ${layout.name}`;
  throw new SandboxError(
    { code: 'ALREADY_UP', name: layout.name },
    `the sandbox is already up: use it (export KUBECONFIG=$(ciliate sandbox kubeconfig${flag})), or end it first with 'ciliate sandbox down${flag}'`,
  );
}

type Step = (what: string, act: () => Promise<void>) => Promise<void>;

function stepPrinter(print: Print): Step {
  return async (what, act) => {
    const started = performance.now();
    await act();
    print(`${((performance.now() - started) / 1000).toFixed(2).padStart(6)} s  ${what}`);
  };
}

async function start(layout: Layout, options: UpOptions, step: Step): Promise<void> {
  if (existsSync(layout.directory)) await step('swept what an earlier run left', () => sweep(layout));
  let state: SandboxState | undefined;
  let ready: Readiness | undefined;
  try {
    state = await planState(layout, options);
    const planned = state;
    await step(`LAN, outside and ${options.nodes} node namespaces`, () => buildNetwork(layout, planned));
    await step('cgroups, bpffs and directories of the nodes', () => buildNodes(layout, planned));
    await step('certificates and kubeconfigs', async () => {
      const { config } = await buildAccess(layout, planned, options.kubeconfig);
      ready = new Readiness(layout, planned, config);
    });
    startSupervisor(layout, planned);
  } catch (error) {
    await sweep(layout);
    throw error;
  }
  if (ready !== undefined) await settle(ready, step, state.external);
}

async function settle(ready: Readiness, step: Step, external: boolean): Promise<void> {
  try {
    await step(external ? 'API server answers (yours)' : 'API server answers', () => ready.apiServer());
    await ready.applyDns();
    await step('nodes are Ready', () => ready.nodes());
    await step('cluster DNS answers', () => ready.dns());
  } finally {
    ready.close();
  }
}

function startSupervisor(layout: Layout, state: SandboxState): void {
  const log = openSync(logPath(layout, 'supervisor'), 'a', 0o600);
  const cgroup = join(state.cgroupRoot, layout.cgroupName, 'control');
  const child = spawnPlaced([...program('supervisor'), layout.name], { cgroup }, log);
  child.unref();
}

function whatNext(layout: Layout): readonly string[] {
  const flag = layout.name === 'sandbox' ? '' : ` --name ${layout.name}`;
  return [
    '',
    'The sandbox is up. Try:',
    `  export KUBECONFIG=$(./ciliate sandbox kubeconfig${flag})`,
    '  kubectl get nodes -o wide',
    '  kubectl create -f docs/examples/nginx.yaml',
    '  kubectl expose deployment my-nginx --type=NodePort --port=80',
    '  ./ciliate --node node-1 service list',
    `  ./ciliate sandbox exec${flag} outside -- curl -s 172.30.0.11:<nodeport>`,
    `  sudo ./ciliate sandbox down${flag}`,
  ];
}

/** Prints crashes as they are reported; Ctrl-C and SIGTERM end the sandbox. */
async function watch(layout: Layout, print: Print): Promise<number> {
  print('\nCtrl-C ends it.');
  let stop = false;
  const end = (): void => {
    stop = true;
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  let seen = existsSync(eventsPath(layout)) ? statSync(eventsPath(layout)).size : 0;
  let lost = false;
  while (!stop) {
    await delay(300);
    if (existsSync(eventsPath(layout))) {
      const text = readFileSync(eventsPath(layout));
      if (text.length > seen) print(text.subarray(seen).toString('utf8').trimEnd());
      seen = text.length;
    }
    if (!existsSync(layout.directory)) return 0;
    if (!lost && liveReport(layout) === undefined) {
      lost = true;
      print("the supervisor ended (killed?): processes are no longer watched; Ctrl-C, then 'ciliate sandbox up' again");
    }
  }
  const started = performance.now();
  print('ending the sandbox …');
  await sweep(layout);
  print(`gone after ${((performance.now() - started) / 1000).toFixed(2)} s`);
  return 0;
}
