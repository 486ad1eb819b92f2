/** Us: an agent on node A, fed by an API server. */
import { setTimeout as delay } from 'node:timers/promises';
import { AgentPeer, type Objects } from './agent-node.ts';
import { allProgrammed, ChangeProbe } from './change-probe.ts';
import { serviceObject, sliceObject, sliceObjects } from './kube-objects.ts';
import { clientOf, isNodePort, type Peer, podDialled, serviceDialled } from './peers.ts';
import { benchServices, type MeasuredServices, serverPorts } from './spec.ts';
import { Topology } from './topology.ts';

const agentArguments = ['--bpf-lb-map-max', '524288'];

function objectsOf({ all }: MeasuredServices): Objects {
  return {
    '/api/v1/services': all.map(serviceObject),
    '/apis/discovery.k8s.io/v1/endpointslices': all.flatMap(sliceObjects),
  };
}

/** Milliseconds from the first watch event until the kernel has them all, by an agent that knew of none. */
async function measureProgramming(topology: Topology, services: MeasuredServices): Promise<number> {
  const agent = new AgentPeer(topology);
  topology.up();
  await agent.up({}, agentArguments);
  // Its watches stand once the lists that made it ready have been followed up.
  await delay(500);
  const sent = await agent.addObjects(objectsOf(services));
  const ips = services.all.map(service => service.clusterIp);
  try {
    return await allProgrammed(agent.bpfRoot, ips, serverPorts.length, sent);
  } finally {
    await agent.down();
  }
}

/** The local service to where its pod is; resolves when the kernel has it. */
async function moveLocal(agent: AgentPeer, services: MeasuredServices, ip: string): Promise<void> {
  const probe = new ChangeProbe(agent.bpfRoot, services.local.clusterIp);
  const [last, ...others] = [...serverPorts].reverse();
  try {
    for (const port of others) await agent.changeSlice(sliceObject('local', port, [ip], '11'));
    await probe.measure(() => agent.changeSlice(sliceObject('local', last ?? 0, [], '11')), others.length);
    await probe.measure(() => agent.changeSlice(sliceObject('local', last ?? 0, [ip], '12')), serverPorts.length);
  } finally {
    probe.close();
  }
}

async function measureChanges(agent: AgentPeer, services: MeasuredServices, count: number): Promise<readonly number[]> {
  const probe = new ChangeProbe(agent.bpfRoot, services.remote.clusterIp);
  try {
    const times: number[] = [];
    for (let i = 0; i < count; i += 1) {
      const ips = i % 2 === 0 ? [] : ['10.1.2.3'];
      const slice = sliceObject('remote', serverPorts[3], ips, String(100 + i));
      times.push(await probe.measure(() => agent.changeSlice(slice), i % 2 === 0 ? 3 : 4));
    }
    return times;
  } finally {
    probe.close();
  }
}

export async function startCiliate(load: string, count: number): Promise<Peer> {
  const topology = new Topology('ciliate');
  const agent = new AgentPeer(topology);
  const down = async (): Promise<void> => {
    await agent.down();
    topology.down();
  };
  try {
    await agent.down();
    const services = benchServices(count, '10.1.1.3', '10.1.2.3');
    const programMs = await measureProgramming(topology, services);
    topology.up();
    const startMs = await agent.up(objectsOf(services), agentArguments);
    const ips = services.all.map(service => service.clusterIp);
    await allProgrammed(agent.bpfRoot, ips, serverPorts.length, process.hrtime.bigint());
    // It is ready before it has written them all, and gives back what the lists have left once it has.
    await delay(1500);
    const rssBytes = agent.rssBytes();
    const localIp = agent.addPod('server-a', topology.namespace('server-a'));
    agent.addPod('client', topology.namespace('client'));
    topology.startServers(load);
    await moveLocal(agent, services, localIp);
    const inCgroup = (argv: readonly string[]) => agent.inCgroup(argv);
    const service = clientOf('ciliate', topology, serviceDialled(services), inCgroup);
    const pod = clientOf('ciliate pod', topology, podDialled(localIp), inCgroup);
    return {
      name: 'ciliate',
      contestants: (route, ...more) => [service(route, ...more), ...(isNodePort(route) ? [] : [pod(route, ...more)])],
      facts: async changes => {
        const changesMs = await measureChanges(agent, services, changes);
        return {
          programMs,
          startMs,
          changesMs,
          rssBytes: Math.max(rssBytes, agent.rssBytes()),
          mapBytes: agent.mapBytes(),
        };
      },
      down,
    };
  } catch (error) {
    await down();
    throw error;
  }
}
