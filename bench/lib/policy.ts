/** A pod under growing numbers of policy rules: packets of flows that the last rule allows. */
import { run } from '../../test/lib/cluster.ts';
import { AgentPeer, type Objects } from '../services/agent-node.ts';
import { serverPorts } from '../services/spec.ts';
import { Topology } from '../services/topology.ts';
import type { Sample, Target } from './report.ts';
import { connections, type Mode } from './scenarios.ts';
import { type BenchOptions, rateOf, rateText, type Section, sampleOf } from './section.ts';
import { median, spread } from './statistics.ts';

const modes = ['rr', 'crr'] as const;
const [allowed, denied] = serverPorts;
const blockOf = (n: number): string => `198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}/32`;

/** Addresses that nobody has, and at the end the client. */
const rulesOf = (count: number): readonly object[] =>
  Array.from({ length: count }, (_, n) =>
    n === count - 1
      ? { from: [{ podSelector: { matchLabels: { app: 'client' } } }], ports: [{ protocol: 'TCP', port: allowed }] }
      : { from: [{ ipBlock: { cidr: blockOf(n) } }], ports: [{ protocol: 'TCP', port: 1024 + (n % 8000) }] },
  );

function objectsOf(count: number): Objects {
  const pods = ['client', 'server-a'].map(name => ({
    metadata: { name, namespace: 'default', uid: name, labels: { app: name } },
    spec: { nodeName: 'node-a', containers: [{ name: 'main', image: 'bench' }] },
    status: { phase: 'Running' },
  }));
  const spec = { podSelector: { matchLabels: { app: 'server-a' } }, policyTypes: ['Ingress'], ingress: rulesOf(count) };
  const policy = { metadata: { name: 'bench', namespace: 'default', uid: 'bench' }, spec };
  return {
    '/api/v1/pods': pods,
    ...(count === 0 ? {} : { '/apis/networking.k8s.io/v1/networkpolicies': [policy] }),
  };
}

class Guarded {
  readonly count: number;
  readonly #topology: Topology;
  readonly #agent: AgentPeer;
  #address = '';

  constructor(count: number) {
    this.count = count;
    this.#topology = new Topology(`rules${count}`);
    this.#agent = new AgentPeer(this.#topology);
  }

  client(load: string, mode: Mode, seconds: number, port: number = allowed): readonly string[] {
    const words = [load, 'client', mode, this.#address, String(port), String(seconds), String(connections[mode])];
    return this.#topology.at('client', words);
  }

  /** Resolves when the rules are in force. */
  async up(load: string): Promise<void> {
    await this.#agent.down();
    this.#topology.up();
    await this.#agent.up(objectsOf(this.count), ['--policy-verdict-events=false']);
    this.#address = this.#agent.addPod('server-a', this.#topology.namespace('server-a'));
    this.#agent.addPod('client', this.#topology.namespace('client'));
    this.#topology.startServers(load);
    const end = performance.now() + 20_000;
    while (!(await this.#inForce(load))) {
      if (performance.now() > end) throw new Error(`${this.count} rules are not in force: ${this.#agent.log()}`);
    }
  }

  async #inForce(load: string): Promise<boolean> {
    const passes = async (port: number) => {
      const [command = '', ...args] = this.client(load, 'crr', 0.05, port);
      const { stdout } = await run(command, args, { timeout: 10_000 });
      return stdout !== '' && (JSON.parse(stdout) as Sample).operations > 0;
    };
    return (await passes(allowed)) && (this.count === 0 || !(await passes(denied)));
  }

  async down(): Promise<void> {
    await this.#agent.down();
    this.#topology.down();
  }
}

type Rates = ReadonlyMap<string, readonly Sample[]>;

async function measureTraffic(peers: readonly Guarded[], { rounds, load, progress }: BenchOptions): Promise<Rates> {
  const seconds = 0.5;
  const samples = new Map<string, readonly Sample[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of modes) {
      for (const peer of peers) {
        const key = `${mode} ${peer.count}`;
        const sample = await sampleOf(peer.client(load, mode, seconds), seconds, `${key} rules`);
        samples.set(key, [...(samples.get(key) ?? []), sample]);
      }
    }
    progress(`rules: round ${round + 1}/${rounds}`);
  }
  return samples;
}

function ratioOf(samples: Rates, mode: Mode, count: number): number {
  const rates = (of: number) => (samples.get(`${mode} ${of}`) ?? []).map(sample => rateOf(mode, sample));
  const base = rates(0);
  return median(rates(count).map((rate, round) => rate / (base[round] ?? Number.NaN)));
}

function targetsOf(samples: Rates, counts: readonly number[]): readonly Target[] {
  const least = { rr: 0.98, crr: 0.95 } as const;
  return modes.flatMap(mode =>
    counts
      .filter(count => count > 0)
      .map(count => {
        const ratio = ratioOf(samples, mode, count);
        const target = `${mode} of a pod under ${count} rules: × no policy ≥ ${least[mode].toFixed(2)}`;
        return { target, measured: ratio.toFixed(3), met: ratio >= least[mode] };
      }),
  );
}

function textOf(samples: Rates, counts: readonly number[]): readonly string[] {
  const rows = modes.flatMap(mode =>
    counts.map(count => {
      const own = samples.get(`${mode} ${count}`) ?? [];
      const rates = own.map(sample => rateOf(mode, sample));
      const times = `${median(own.map(x => x.p50_us)).toFixed(1)} | ${median(own.map(x => x.p99_us)).toFixed(1)}`;
      const cells = `${rateText(mode, median(rates))} | ${(spread(rates) * 100).toFixed(0)} % | ${times}`;
      return `| ${mode} | ${count} | ${cells} | ${ratioOf(samples, mode, count).toFixed(2)} |`;
    }),
  );
  const head = [
    '| mode | rules | median rate | spread | p50 µs | p99 µs | × no policy |',
    '|---|--:|--:|--:|--:|--:|--:|',
  ];
  return [
    'Pod to pod on one node; the rules select the server, the last one allows the client.',
    '',
    ...head,
    ...rows,
    '',
  ];
}

export const policySection: Section = {
  name: 'policy',
  title: 'A pod under policy rules',
  measure: async options => {
    const counts = options.quick ? [0, 10, 1000] : [0, 10, 1000, 10_000];
    const peers = counts.map(count => new Guarded(count));
    try {
      for (const peer of peers) {
        options.progress(`${peer.count} rules`);
        await peer.up(options.load);
      }
      const samples = await measureTraffic(peers, options);
      const data = { samples: Object.fromEntries(samples) };
      return { text: textOf(samples, counts), targets: targetsOf(samples, counts), data, charts: [] };
    } finally {
      for (const peer of peers) await peer.down();
    }
  },
};
