/** The status of a pod from what its containers do. Pure. */
import type { ContainerRun } from './container.ts';
import type { Condition, ContainerSpec, ContainerState, ContainerStatus, PodSpec, PodStatus } from './pod.ts';

export interface ContainerView {
  readonly spec: ContainerSpec;
  readonly id: string;
  readonly run: ContainerRun | undefined;
  readonly ready: boolean;
  readonly started: boolean;
  /** Why it does not run, when it does not and is not done. */
  readonly waiting: { readonly reason: string; readonly message?: string } | undefined;
}

export interface PodView {
  readonly spec: PodSpec;
  readonly addresses: readonly string[];
  readonly nodeAddresses: readonly string[];
  readonly containers: readonly ContainerView[];
  readonly initContainers: readonly ContainerView[];
  readonly initialized: boolean;
  readonly startTime: string;
  readonly previous: readonly Condition[];
  readonly now: string;
}

export function podStatus(view: PodView): PodStatus {
  const phase = phaseOf(view);
  const containerStatuses = view.containers.map(containerStatus);
  const unready = containerStatuses.filter(status => !status.ready).map(status => status.name);
  const done = phase === 'Succeeded' || phase === 'Failed';
  const readyReason = done ? { reason: 'PodCompleted' } : notReady(unready);
  const ready = !done && unready.length === 0 && view.initialized;
  const wanted: readonly Omit<Condition, 'lastTransitionTime'>[] = [
    { type: 'PodReadyToStartContainers', status: truth(view.addresses.length > 0) },
    { type: 'Initialized', status: truth(view.initialized) },
    { type: 'Ready', status: truth(ready), ...(ready ? {} : readyReason) },
    { type: 'ContainersReady', status: truth(ready), ...(ready ? {} : readyReason) },
    { type: 'PodScheduled', status: 'True' },
  ];
  return {
    phase,
    conditions: wanted.map(condition => withTransition(condition, view.previous, view.now)),
    containerStatuses,
    ...(view.initContainers.length === 0 ? {} : { initContainerStatuses: view.initContainers.map(containerStatus) }),
    hostIP: view.nodeAddresses[0] ?? '',
    hostIPs: view.nodeAddresses.map(ip => ({ ip })),
    ...(view.addresses[0] === undefined ? {} : { podIP: view.addresses[0] }),
    ...(view.addresses.length === 0 ? {} : { podIPs: view.addresses.map(ip => ({ ip })) }),
    startTime: view.startTime,
    qosClass: 'BestEffort',
  };
}

const truth = (value: boolean): 'True' | 'False' => (value ? 'True' : 'False');

function notReady(names: readonly string[]): { readonly reason: string; readonly message: string } {
  return { reason: 'ContainersNotReady', message: `containers with unready status: [${names.join(' ')}]` };
}

function phaseOf(view: PodView): PodStatus['phase'] {
  const policy = view.spec.restartPolicy ?? 'Always';
  const failedInit = view.initContainers.some(init => (init.run?.exitCode ?? 0) !== 0 && policy === 'Never');
  if (failedInit) return 'Failed';
  if (view.containers.some(container => container.run === undefined)) return 'Pending';
  const ended = view.containers.every(container => container.run?.exitCode !== undefined);
  if (!ended || policy === 'Always') return 'Running';
  const failed = view.containers.some(container => container.run?.exitCode !== 0);
  if (!failed) return 'Succeeded';
  return policy === 'Never' ? 'Failed' : 'Running';
}

function containerStatus(view: ContainerView): ContainerStatus {
  const { run, spec, id } = view;
  const running = run !== undefined && run.exitCode === undefined;
  const previous = run?.previous;
  return {
    name: spec.name,
    image: spec.image,
    imageID: `ciliate-sandbox/${spec.image}`,
    ...(run === undefined ? {} : { containerID: id }),
    ready: view.ready && running,
    started: view.started && running,
    restartCount: run?.attempt ?? 0,
    state: stateOf(view),
    lastState:
      view.waiting !== undefined && run?.exitCode !== undefined
        ? terminated(run, id)
        : previous === undefined
          ? {}
          : terminated(previous, id),
  };
}

function stateOf(view: ContainerView): ContainerState {
  const { run, waiting } = view;
  if (waiting !== undefined) return { waiting };
  if (run === undefined) return { waiting: { reason: 'ContainerCreating' } };
  if (run.exitCode === undefined) return { running: { startedAt: run.startedAt } };
  return terminated(run, view.id);
}

function terminated(run: Omit<ContainerRun, 'previous'>, containerID: string): ContainerState {
  const exitCode = run.exitCode ?? 137;
  return {
    terminated: {
      exitCode,
      reason: exitCode === 0 ? 'Completed' : 'Error',
      startedAt: run.startedAt,
      finishedAt: run.finishedAt ?? run.startedAt,
      containerID,
    },
  };
}

export function withTransition(
  condition: Omit<Condition, 'lastTransitionTime'>,
  previous: readonly Condition[],
  now: string,
): Condition {
  const before = previous.find(candidate => candidate.type === condition.type);
  return { ...condition, lastTransitionTime: before?.status === condition.status ? before.lastTransitionTime : now };
}
