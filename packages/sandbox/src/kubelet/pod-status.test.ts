import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ContainerRun } from './container.ts';
import { type ContainerView, type PodView, podStatus } from './pod-status.ts';

const at = '2026-01-01T00:00:00.000Z';
const running: ContainerRun = { attempt: 0, startedAt: at };
const ended = (exitCode: number): ContainerRun => ({ attempt: 0, startedAt: at, finishedAt: at, exitCode });

function container(run: ContainerRun | undefined, more: Partial<ContainerView> = {}): ContainerView {
  return { spec: { name: 'c', image: 'i' }, id: 'id', run, ready: true, started: true, waiting: undefined, ...more };
}

function view(containers: readonly ContainerView[], more: Partial<PodView> = {}): PodView {
  return {
    spec: { containers: containers.map(({ spec }) => spec) },
    addresses: ['10.0.0.1', 'fd00::1'],
    nodeAddresses: ['172.30.0.11', 'fd00:172:30::11'],
    containers,
    initContainers: [],
    initialized: true,
    startTime: at,
    previous: [],
    now: at,
    ...more,
  };
}

const spec = (restartPolicy: 'Always' | 'OnFailure' | 'Never'): PodView['spec'] => ({ containers: [], restartPolicy });

describe('status of a pod', () => {
  const phases = [
    { what: 'nothing started', given: view([container(undefined)]), phase: 'Pending', ready: 'False' },
    { what: 'running and ready', given: view([container(running)]), phase: 'Running', ready: 'True' },
    {
      what: 'running, one unready',
      given: view([container(running), container(running, { ready: false })]),
      phase: 'Running',
      ready: 'False',
    },
    {
      what: 'ended well, Never',
      given: view([container(ended(0))], { spec: spec('Never') }),
      phase: 'Succeeded',
      ready: 'False',
    },
    {
      what: 'ended badly, Never',
      given: view([container(ended(2))], { spec: spec('Never') }),
      phase: 'Failed',
      ready: 'False',
    },
    {
      what: 'ended badly, OnFailure',
      given: view([container(ended(2))], { spec: spec('OnFailure') }),
      phase: 'Running',
      ready: 'False',
    },
    { what: 'ended well, Always', given: view([container(ended(0))]), phase: 'Running', ready: 'False' },
  ];
  for (const { what, given, phase, ready } of phases) {
    test(what, () => {
      const status = podStatus(given);
      assert.equal(status.phase, phase);
      assert.equal(status.conditions.find(condition => condition.type === 'Ready')?.status, ready);
    });
  }

  test('addresses of pod and node, both families', () => {
    const status = podStatus(view([container(running)]));
    assert.equal(status.podIP, '10.0.0.1');
    assert.deepEqual(status.podIPs, [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }]);
    assert.equal(status.hostIP, '172.30.0.11');
  });

  test('a crash loop shows the last end', () => {
    const [status] = podStatus(
      view([container(ended(3), { waiting: { reason: 'CrashLoopBackOff' } })]),
    ).containerStatuses;
    assert.equal(status?.state.waiting?.reason, 'CrashLoopBackOff');
    assert.equal(status?.lastState.terminated?.exitCode, 3);
  });

  test('a condition keeps its transition time until it changes', () => {
    const first = podStatus(view([container(running)]));
    const later = '2026-01-01T00:01:00.000Z';
    const same = podStatus(view([container(running)], { previous: first.conditions, now: later }));
    const other = podStatus(view([container(running, { ready: false })], { previous: first.conditions, now: later }));
    const time = (status: typeof first): string | undefined =>
      status.conditions.find(condition => condition.type === 'Ready')?.lastTransitionTime;
    assert.equal(time(same), at);
    assert.equal(time(other), later);
  });
});
