/** A pod added under many policies: CNI ADD, and until packets to it are judged by them. */
import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { AgentPeer, type Objects } from '../services/agent-node.ts';
import { Topology } from '../services/topology.ts';
import { VerdictProbe } from './verdict-probe.ts';

/** The client's packets go to it, the stranger's to the next one. */
const port = 9200;
/** The stranger is watched so long after the pod is there, ms. */
const watched = 100;

export interface NewPod {
  /** Nobody had its labels before: an identity is made for it. */
  readonly isNewIdentity: boolean;
  /** Milliseconds of CNI ADD, the plugin's process included. */
  readonly addMs: number;
  /** From the start of ADD until a packet that only the policies allow gets through. */
  readonly enforcedMs: number;
  /** Packets that the policies forbid got through. */
  readonly leaked: boolean;
}

const podObject = (name: string, labels: Readonly<Record<string, string>>): object => ({
  metadata: { name, namespace: 'default', uid: name, labels },
  spec: { nodeName: 'node-a', containers: [{ name: 'main', image: 'bench' }] },
  status: { phase: 'Running' },
});

/** All select the new pods; one of them lets the client in, each of the others somebody who is not here. */
function policyObject(n: number): object {
  const app = n === 0 ? 'client' : `other-${n}`;
  const ports = [{ protocol: 'UDP', port, endPort: port + 1 }];
  return {
    metadata: { name: `p${n}`, namespace: 'default', uid: `p${n}` },
    spec: {
      podSelector: { matchLabels: { group: 'new' } },
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: { matchLabels: { app } } }], ports }],
    },
  };
}

const newName = (n: number): string => `new-${n}`;
/** Every other one shares its labels with all of its kind. */
const labelsOf = (n: number) => ({ group: 'new', app: n % 2 === 0 ? 'replica' : `single-${n}` });

function objectsOf(pods: number, policies: number): Objects {
  return {
    '/api/v1/pods': [
      podObject('client', { app: 'client' }),
      podObject('server-a', { app: 'stranger' }),
      ...Array.from({ length: pods }, (_, n) => podObject(newName(n), labelsOf(n))),
    ],
    '/apis/networking.k8s.io/v1/networkpolicies': Array.from({ length: policies }, (_, n) => policyObject(n)),
  };
}

/** The two pods that send are the topology's `client`, which is allowed, and its `server-a`, which is not. */
async function addOne(agent: AgentPeer, topology: Topology, program: string, n: number): Promise<NewPod> {
  const netns = `${topology.prefix}${newName(n)}`;
  const server = `/run/netns/${netns}`;
  spawnSync('ip', ['netns', 'add', netns]);
  const began = process.hrtime.bigint();
  const address = agent.addPod(newName(n), server);
  const addMs = Number(process.hrtime.bigint() - began) / 1e6;
  const client = new VerdictProbe(program, { client: topology.namespace('client'), server, address, port });
  const stranger = new VerdictProbe(program, {
    client: topology.namespace('server-a'),
    server,
    address,
    port: port + 1,
  });
  try {
    const enforcedMs = Number((await client.since('allow')) - began) / 1e6;
    await delay(watched);
    return { isNewIdentity: n % 2 === 1, addMs, enforcedMs, leaked: stranger.verdicts.includes('allow') };
  } catch (error) {
    const endpoint = JSON.stringify(await agent.get('/v1/endpoint').catch(String)).slice(-3000);
    throw new Error(`pod ${newName(n)}: ${String(error)}: ${endpoint} ${agent.log()}`, { cause: error });
  } finally {
    client.close();
    stranger.close();
  }
}

export async function measureNewPods(program: string, pods: number, policies: number): Promise<readonly NewPod[]> {
  const topology = new Topology('newpod');
  const agent = new AgentPeer(topology);
  const measured: NewPod[] = [];
  try {
    await agent.down();
    topology.up();
    await agent.up(objectsOf(pods + 2, policies), ['--policy-verdict-events=false']);
    for (const name of ['client', 'server-a'] as const) agent.addPod(name, topology.namespace(name));
    // The first two are not counted: after them the replicas' identity is known.
    for (let n = 0; n < pods + 2; n += 1) {
      const one = await addOne(agent, topology, program, n);
      if (n >= 2) measured.push(one);
    }
    return measured;
  } finally {
    await agent.down();
    for (let n = 0; n < pods + 2; n += 1) {
      spawnSync('ip', ['netns', 'del', `${topology.prefix}${newName(n)}`], { stdio: 'ignore' });
    }
    topology.down();
  }
}
