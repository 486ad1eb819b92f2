/** Rules in the kernel, from generators, and nothing at all. */
import { iptablesChange, iptablesRules } from './iptables-rules.ts';
import { nftablesChange, nftablesRules } from './nftables-rules.ts';
import { clientOf, type Dialled, type Peer, podDialled, serviceDialled } from './peers.ts';
import { benchServices, serviceCidr } from './spec.ts';
import { nodeIp, podCidr, Topology } from './topology.ts';

const localIp = '10.1.1.3';

function timed(work: () => void): number {
  const began = performance.now();
  work();
  return performance.now() - began;
}

function rulesPeer(
  name: 'plain' | 'iptables' | 'nftables',
  load: string,
  dialled: Dialled,
  program: (topology: Topology) => void,
  change: (topology: Topology) => void,
): Peer {
  const topology = new Topology(name);
  try {
    topology.up();
    topology.plainNodeA();
    topology.startServers(load);
    const programMs = timed(() => program(topology));
    const client = clientOf(name, topology, dialled);
    return {
      name,
      contestants: (route, ...more) => [client(route, ...more)],
      facts: async changes => ({
        programMs,
        changesMs: Array.from({ length: Math.min(changes, 3) }, () => timed(() => change(topology))),
      }),
      down: async () => topology.down(),
    };
  } catch (error) {
    topology.down();
    throw error;
  }
}

export function startPlain(load: string): Peer {
  const nothing = (): void => undefined;
  return rulesPeer('plain', load, podDialled(localIp), nothing, nothing);
}

/** The legacy back end: it is the faster of the two, at programming and at matching. */
export function startIptables(load: string, count: number): Peer {
  const services = benchServices(count, localIp, '10.1.2.3');
  const rules = iptablesRules(services.all, podCidr);
  const change = iptablesChange(services.all, services.local, podCidr);
  return rulesPeer(
    'iptables',
    load,
    serviceDialled(services),
    topology => topology.inside('node-a', 'iptables-legacy-restore', rules),
    topology => topology.inside('node-a', 'iptables-legacy-restore --noflush', change),
  );
}

export function startNftables(load: string, count: number): Peer {
  const services = benchServices(count, localIp, '10.1.2.3');
  const transactions = nftablesRules(services.all, { nodeIp, podCidr, serviceCidr });
  const change = nftablesChange(services.local);
  return rulesPeer(
    'nftables',
    load,
    serviceDialled(services),
    topology => {
      for (const text of transactions) topology.inside('node-a', 'nft -f -', text);
    },
    topology => topology.inside('node-a', 'nft -f -', change),
  );
}
