/** Waiting until a sandbox is usable. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KubeClient, type KubeConfig, type KubeObject } from '@ciliate/sources';
import { dnsManifests } from './dns/manifests.ts';
import { SandboxError } from './errors.ts';
import { program } from './host/programs.ts';
import { attempt } from './host/run.ts';
import { dnsAddresses, type Layout, nodeLayout } from './layout.ts';
import type { SandboxState } from './state.ts';
import { describeExit, liveReport } from './supervisor/report.ts';
import { placed } from './supervisor/spawn.ts';

/** Calls `probe` until it gives undefined, which means yes; else it gives what is missing. */
async function until(
  layout: Layout,
  what: string,
  seconds: number,
  probe: () => Promise<string | undefined>,
): Promise<void> {
  const started = Date.now();
  const end = started + seconds * 1000;
  let missing = '';
  while (Date.now() < end) {
    try {
      const answer = await probe();
      if (answer === undefined) return;
      missing = answer;
    } catch (error) {
      missing = error instanceof Error ? error.message : String(error);
    }
    if (liveReport(layout) === undefined && Date.now() - started > 5000) {
      throw new SandboxError(
        { code: 'NOT_READY', what },
        `the supervisor ended while waiting for ${what}: see 'ciliate sandbox logs supervisor'`,
      );
    }
    await delay(100);
  }
  const crashed = (liveReport(layout)?.processes ?? []).flatMap(({ name, lastExit }) =>
    lastExit === undefined ? [] : [`${name} (${describeExit(lastExit)}: ${lastExit.lastLines.at(-1) ?? 'no output'})`],
  );
  const crashes = crashed.length === 0 ? '' : `; crashed: ${crashed.join(', ')}`;
  throw new SandboxError(
    { code: 'NOT_READY', what },
    `${what} not reached in ${seconds} s: ${missing}${crashes}. See 'ciliate sandbox status' and 'ciliate sandbox logs'; it is still running, 'ciliate sandbox down' ends it`,
  );
}

type Conditions = {
  readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
};

export class Readiness {
  readonly #layout: Layout;
  readonly #state: SandboxState;
  readonly #client: KubeClient;

  constructor(layout: Layout, state: SandboxState, config: KubeConfig) {
    this.#layout = layout;
    this.#state = state;
    this.#client = new KubeClient(config);
  }

  close(): void {
    this.#client.close();
  }

  apiServer(): Promise<void> {
    return until(this.#layout, 'API server', 30, async () => {
      await this.#client.request('GET', '/api/v1/namespaces/kube-system', { timeout: 3000 });
      return undefined;
    });
  }

  nodes(): Promise<void> {
    return until(this.#layout, 'nodes Ready', 60, async () => {
      const list = await this.#client.request('GET', '/api/v1/nodes');
      const items = (list.items ?? []) as readonly KubeObject[];
      const ready = new Map(items.map(node => [node.metadata?.name, readyText(node)]));
      for (let index = 1; index <= this.#state.nodes; index += 1) {
        const text = ready.has(`node-${index}`) ? ready.get(`node-${index}`) : 'not registered';
        if (text !== undefined) return `node-${index}: ${text}`;
      }
      return undefined;
    });
  }

  /** Creates what is not there yet. */
  async applyDns(): Promise<void> {
    for (const { path, object } of dnsManifests()) {
      await until(this.#layout, 'cluster DNS manifests', 10, async () => {
        try {
          await this.#client.request('POST', path, { body: object });
        } catch (error) {
          if (!(error instanceof Error) || !/409|AlreadyExists/.test(error.message)) throw error;
        }
        return undefined;
      });
    }
  }

  async dns(): Promise<void> {
    await until(this.#layout, 'cluster DNS', 60, async () => {
      const list = await this.#client.request('GET', '/api/v1/namespaces/kube-system/pods', {
        query: { labelSelector: 'k8s-app=kube-dns' },
      });
      const pods = (list.items ?? []) as readonly KubeObject[];
      if (pods.length === 0) return 'no pod yet';
      const texts = pods.map(readyText);
      return texts.includes(undefined) ? undefined : (texts.find(text => text !== undefined) ?? 'no pod is ready');
    });
    if (this.#state.agents) await until(this.#layout, 'cluster DNS', 30, () => this.#askDns());
  }

  /** From node-1, through the ClusterIP. */
  async #askDns(): Promise<string | undefined> {
    const node = nodeLayout(this.#layout, this.#state.cgroupRoot, 1);
    const [command = '', ...args] = placed([...program('dns'), '--probe', dnsAddresses[0]], {
      cgroup: join(node.cgroup, 'system'),
      netns: node.netns,
    });
    const answer = await attempt(command, args, { timeout: 5000 });
    return answer.code === 0 ? undefined : answer.stderr.trim();
  }
}

function readyText(object: KubeObject): string | undefined {
  const conditions = (object.status as Conditions | undefined)?.conditions ?? [];
  const ready = conditions.find(condition => condition.type === 'Ready');
  if (ready?.status === 'True') return undefined;
  return ready?.message ?? 'not Ready';
}
