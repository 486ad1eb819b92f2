/** From the write to the API server until packets on every node are judged by it. */
import { setTimeout as delay } from 'node:timers/promises';
import { type ClusterWorld, nodes } from './cluster-world.ts';
import { type Verdict, VerdictProbe } from './verdict-probe.ts';

const path = '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies';
/** Between two steps, ms: longer than a probe takes to be sure, and than controllers batch. */
const pause = 60;

const selectsServers = { podSelector: { matchLabels: { app: 'server' } }, policyTypes: ['Ingress'] };

function policy(name: string, spec: object): object {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name }, spec };
}

const isolate = policy('isolate', selectsServers);

/** The clients, and one in ten of all identities. */
const allow = policy('allow', {
  ...selectsServers,
  ingress: [
    {
      from: [{ podSelector: { matchLabels: { app: 'client' } } }, { podSelector: { matchLabels: { tier: 'web' } } }],
    },
  ],
});

interface Step {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly body?: object;
  readonly verdict: Verdict;
}

/** From no policy to no policy. */
export const steps: readonly Step[] = [
  { name: 'isolating policy applied: allow → deny', method: 'POST', path, body: isolate, verdict: 'deny' },
  { name: 'allowing policy applied: deny → allow', method: 'POST', path, body: allow, verdict: 'allow' },
  { name: 'allowing policy deleted: allow → deny', method: 'DELETE', path: `${path}/allow`, verdict: 'deny' },
  { name: 'isolating policy deleted: deny → allow', method: 'DELETE', path: `${path}/isolate`, verdict: 'allow' },
];

export interface Enforced {
  readonly step: string;
  readonly verdict: Verdict;
  /** Milliseconds from before the request until the last node judged by it. */
  readonly ms: number;
  /** Until the API server had answered. */
  readonly writtenMs: number;
}

async function enforce(world: ClusterWorld, probes: readonly VerdictProbe[], step: Step): Promise<Enforced> {
  const began = process.hrtime.bigint();
  await world.write(step.method, step.path, step.body);
  const written = process.hrtime.bigint();
  const times = await Promise.all(probes.map(probe => probe.since(step.verdict)));
  const ms = (until: bigint): number => Number(until - began) / 1e6;
  return { step: step.name, verdict: step.verdict, ms: Math.max(...times.map(ms)), writtenMs: ms(written) };
}

/** `rounds` times through all steps, after one that is not counted. */
export async function measureEnforcement(
  world: ClusterWorld,
  program: string,
  rounds: number,
): Promise<readonly Enforced[]> {
  const probes = nodes.map(node => new VerdictProbe(program, world.path(node)));
  const measured: Enforced[] = [];
  try {
    await Promise.all(probes.map(probe => probe.since('allow')));
    for (let round = 0; round <= rounds; round += 1) {
      for (const step of steps) {
        // Not always in the same place of anybody's timers.
        await delay(pause + Math.random() * pause);
        const one = await enforce(world, probes, step);
        if (round > 0) measured.push(one);
      }
    }
    return measured;
  } finally {
    for (const probe of probes) probe.close();
  }
}
