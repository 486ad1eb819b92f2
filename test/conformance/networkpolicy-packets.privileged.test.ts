/** NetworkPolicy cases of the cyclonus generator with real packets: ten pods on a node, at the addresses that the cases name. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AgentNode } from '../lib/agent-node.ts';
import { eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { Reach, type ReachProbe } from '../lib/reach.ts';
import { conformanceData, missingData } from './data.ts';

interface Pod {
  readonly ns: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ip: string;
}
interface Step {
  readonly namespaces: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly pods: readonly Pod[];
  readonly policies: readonly { readonly metadata: Readonly<Record<string, unknown>> }[];
  readonly expected: Readonly<Record<string, Readonly<Record<'combined', readonly string[]>>>>;
}
interface Case {
  readonly id: number;
  readonly description: string;
  readonly tags: readonly string[];
  readonly steps: readonly Step[];
}

const file = 'networkpolicy-reachability.json';
const data = conformanceData(file) as { readonly cases: readonly Case[] } | undefined;
const protocols = ['TCP', 'UDP', 'SCTP'] as const;
const ports = [80, 81];
const keyOf = (pod: Pod): string => `${pod.ns}/${pod.name}`;

interface Endpoint {
  readonly status: {
    readonly state: string;
    readonly identity: { readonly labels: readonly string[] };
    readonly 'external-identifiers': { readonly 'pod-name': string };
    readonly policy: Readonly<Record<'realized' | 'spec', Readonly<Record<string, unknown>>>>;
  };
}

/** The world of a step on the API server; `generation` tells its policies from those of other steps. */
function objectsOf(step: Step, node: string, generation: number): Readonly<Record<string, readonly unknown[]>> {
  const containerPorts = protocols.flatMap(protocol =>
    ports.map(port => ({ name: `serve-${port}-${protocol.toLowerCase()}`, containerPort: port, protocol })),
  );
  return {
    '/api/v1/namespaces': Object.entries(step.namespaces).map(([name, labels]) => ({ metadata: { name, labels } })),
    '/api/v1/pods': step.pods.map(({ ns, name, labels, ip }) => ({
      metadata: { namespace: ns, name, uid: `${ns}-${name}`, labels },
      spec: { nodeName: node, serviceAccountName: 'default', containers: [{ name: 'c', ports: containerPorts }] },
      status: { phase: 'Running', podIPs: [{ ip }] },
    })),
    '/apis/networking.k8s.io/v1/networkpolicies': step.policies.map(policy => ({
      ...policy,
      metadata: { ...policy.metadata, generation },
    })),
  };
}

describe('NetworkPolicy reachability with packets', privileged('bpf'), () => {
  if (data === undefined) {
    missingData(file);
    return;
  }
  const node = new AgentNode({
    name: `ciliate-reach-${process.pid}`,
    // Router and health take theirs from the first one.
    podCIDRs: ['10.244.9.0/29', '192.168.1.0/24'],
    agentArguments: ['--enable-health-checking=false', '--service-cidr', '10.96.0.0/16'],
  });
  const pods = new Map<string, Pod>();
  for (const pod of data.cases.flatMap(one => one.steps).flatMap(step => step.pods)) pods.set(keyOf(pod), pod);
  let reach: Reach | undefined;
  let generation = 0;

  before(async () => {
    await node.up();
    addPods(node, [...pods.values()]);
    reach = new Reach(
      [...pods.values()].map(pod => ({ name: keyOf(pod), netns: netnsOf(node, pod), address: pod.ip })),
      ports,
    );
  });
  after(async () => {
    reach?.close();
    await node.down();
  });

  const endpoints = async (): Promise<readonly Endpoint[]> => (await node.get('/v1/endpoint')) as readonly Endpoint[];

  /** The agent has read the step, and enforces what it made of it. */
  const inForce = async (step: Step): Promise<true | undefined> => {
    const { policy } = (await node.get('/v1/policy')) as { readonly policy: string };
    const read = JSON.parse(policy) as readonly { readonly generation: number }[];
    if (read.length !== step.policies.length || read.some(one => one.generation !== generation)) return undefined;
    const known = await endpoints();
    for (const pod of step.pods) {
      const endpoint = known.find(({ status }) => status['external-identifiers']['pod-name'] === keyOf(pod));
      if (endpoint?.status.state !== 'ready') return undefined;
      const labels = new Set(endpoint.status.identity.labels);
      const wanted = [
        ...Object.entries(pod.labels).map(([key, value]) => `k8s:${key}=${value}`),
        ...Object.entries(step.namespaces[pod.ns] ?? {}).map(
          ([key, value]) => `k8s:io.cilium.k8s.namespace.labels.${key}=${value}`,
        ),
      ];
      if (wanted.some(label => !labels.has(label))) return undefined;
      const { realized, spec } = endpoint.status.policy;
      if (realized['policy-enabled'] !== spec['policy-enabled']) return undefined;
      if (spec['policy-enabled'] !== 'none' && realized['policy-revision'] !== spec['policy-revision'])
        return undefined;
    }
    return true;
  };

  const check = async (step: Step, name: string): Promise<void> => {
    generation += 1;
    node.setObjects(objectsOf(step, node.name, generation));
    await eventually(`${name} is in force`, () => inForce(step), 20_000);
    const wanted = expectedOf(step);
    let wrong: readonly string[] = [];
    // What was compiled last may not be the last word yet: a few rounds, each with packets of its own.
    for (let round = 0; round < 5; round += 1) {
      const probes = wanted.map(([probe]) => probe);
      const allowed = wanted.filter(([, allows]) => allows).length;
      const got = (await reach?.ask(probes, allowed, 3000)) ?? [];
      wrong = wanted.flatMap(([probe, allows], i) => (got[i] === allows ? [] : [probeText(probe, allows)]));
      if (wrong.length === 0) return;
    }
    assert.deepEqual(wrong, [], name);
  };

  for (const one of data.cases) {
    test(`${one.id}: ${one.description} [${one.tags.join(', ')}]`, async () => {
      for (const [i, step] of one.steps.entries()) await check(step, `case ${one.id}, step ${i + 1}`);
    });
  }
});

function probeText({ from, to, protocol, port }: ReachProbe, allows: boolean): string {
  return `${from} -> ${to} ${protocol}/${port} is to be ${allows ? 'let through' : 'stopped'}`;
}

/** Every pair but a pod with itself. */
function expectedOf(step: Step): readonly (readonly [probe: ReachProbe, allows: boolean])[] {
  const names = step.pods.map(keyOf);
  return Object.entries(step.expected).flatMap(([key, { combined }]) => {
    const [text = '', port = ''] = key.split('/');
    const protocol = protocols.find(name => name === text);
    assert.ok(protocol !== undefined, key);
    return names.flatMap((from, row) =>
      names.flatMap((to, column) =>
        from === to ? [] : [[{ from, to, protocol, port: Number(port) }, combined[row]?.[column] === '.'] as const],
      ),
    );
  });
}

const netnsOf = (node: AgentNode, pod: Pod): string => `/run/netns/${node.name}-${pod.ns}${pod.name}`;

/** Addresses are handed out in order: others hold the ones between while the pods are made. */
function addPods(node: AgentNode, pods: readonly Pod[]): void {
  const last = (pod: Pod): number => Number(pod.ip.split('.')[3]);
  const fillers: string[] = [];
  const add = (id: string, args: string): string => {
    const netns = node.addPod(id);
    const { code, output } = node.plugin({ command: 'ADD', containerId: id, netns, args });
    assert.equal(code, 0, JSON.stringify(output));
    const { ips = [] } = output as { readonly ips?: readonly { readonly address: string }[] };
    return ips[0]?.address.split('/')[0] ?? '';
  };
  let before = '';
  // The first range is used up first.
  for (let i = 0; !before.startsWith('192.168.1.'); i += 1) {
    fillers.push(`g${i}`);
    before = add(`g${i}`, '');
  }
  assert.equal(before, '192.168.1.1');
  let next = 2;
  for (const pod of pods.toSorted((a, b) => last(a) - last(b))) {
    for (; next < last(pod); next += 1) {
      fillers.push(`f${next}`);
      add(`f${next}`, '');
    }
    const args = `K8S_POD_NAMESPACE=${pod.ns};K8S_POD_NAME=${pod.name};K8S_POD_UID=${pod.ns}-${pod.name}`;
    assert.equal(add(`${pod.ns}${pod.name}`, args), pod.ip);
    next = last(pod) + 1;
  }
  for (const id of fillers) {
    node.plugin({ command: 'DEL', containerId: id, netns: `/run/netns/${node.name}-${id}` });
    node.removePod(id);
  }
}
