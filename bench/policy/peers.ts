/** A client and a server on one node, the server under N rules: through us, or through what a controller writes into iptables. */
import { run } from '../../test/lib/cluster.ts';
import type { Sample } from '../lib/report.ts';
import { AgentPeer, type Objects } from '../services/agent-node.ts';
import { Topology } from '../services/topology.ts';
import { calicoRules } from './calico-rules.ts';
import type { ControllerRules } from './controller-rules.ts';
import { kubeRouterRules } from './kube-router-rules.ts';
import { allowedPort, type BenchRule, benchRules, deniedPort, pods, policyObject } from './spec.ts';

export const kinds = ['ciliate', 'calico', 'kube-router'] as const;
export type Kind = (typeof kinds)[number];

const writers: Readonly<Record<Exclude<Kind, 'ciliate'>, (rules: readonly BenchRule[]) => ControllerRules>> = {
  calico: calicoRules,
  'kube-router': kubeRouterRules,
};

function podObject(name: string): object {
  return {
    metadata: { name, namespace: 'default', uid: name, labels: { app: name } },
    spec: { nodeName: 'node-a', containers: [{ name: 'main', image: 'bench' }] },
    status: { phase: 'Running' },
  };
}

function objectsOf(rules: readonly BenchRule[]): Objects {
  return {
    '/api/v1/pods': [podObject('client'), podObject('server-a')],
    ...(rules.length === 0 ? {} : { '/apis/networking.k8s.io/v1/networkpolicies': [policyObject(rules)] }),
  };
}

export class Guarded {
  readonly kind: Kind;
  readonly count: number;
  readonly #topology: Topology;
  readonly #agent: AgentPeer | undefined;
  #address: string = pods.server.ip;

  constructor(kind: Kind, count: number) {
    this.kind = kind;
    this.count = count;
    this.#topology = new Topology(`${kind}${count}`);
    this.#agent = kind === 'ciliate' ? new AgentPeer(this.#topology) : undefined;
  }

  get name(): string {
    return `${this.kind} ${this.count}`;
  }

  client(
    load: string,
    mode: string,
    seconds: number,
    connections: number,
    port: number = allowedPort,
  ): readonly string[] {
    const words = [load, 'client', mode, this.#address, String(port), String(seconds), String(connections)];
    return this.#topology.at('client', words);
  }

  /** Resolves, when the rules are in force, to the milliseconds it took to write them. */
  async up(load: string): Promise<number> {
    await this.#agent?.down();
    this.#topology.up();
    const programMs = await this.#program(benchRules(this.count));
    this.#topology.startServers(load);
    const end = performance.now() + 20_000;
    while (!(await this.#inForce(load))) {
      if (performance.now() > end) throw new Error(`${this.name} rules are not in force: ${this.#agent?.log() ?? ''}`);
    }
    return programMs;
  }

  async #program(rules: readonly BenchRule[]): Promise<number> {
    const agent = this.#agent;
    if (agent !== undefined) {
      const readyMs = await agent.up(objectsOf(rules), ['--policy-verdict-events=false']);
      this.#address = agent.addPod('server-a', this.#topology.namespace('server-a'));
      agent.addPod('client', this.#topology.namespace('client'));
      return readyMs;
    }
    this.#topology.plainNodeA();
    const { sets, tables } = writers[this.kind as Exclude<Kind, 'ciliate'>](rules);
    const began = performance.now();
    this.#topology.inside('node-a', 'ipset restore', sets);
    this.#topology.inside('node-a', 'iptables-legacy-restore', tables);
    return performance.now() - began;
  }

  async #inForce(load: string): Promise<boolean> {
    const passes = async (port: number) => {
      const [command = '', ...args] = this.client(load, 'crr', 0.05, 1, port);
      const { stdout } = await run(command, args, { timeout: 10_000 });
      return stdout !== '' && (JSON.parse(stdout) as Sample).operations > 0;
    };
    return (await passes(allowedPort)) && (this.count === 0 || !(await passes(deniedPort)));
  }

  async down(): Promise<void> {
    await this.#agent?.down();
    this.#topology.down();
  }
}
