/** A sandbox of two nodes with a client and a server on each, and as many identities of other nodes as one likes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KubeClient, loadKubeConfig, resourcePaths } from '../../packages/sources/src/index.ts';
import { Cluster, eventually } from '../../test/lib/cluster.ts';
import type { ProbePath } from './verdict-probe.ts';

const name = 'bench-policy';
export const nodes = ['node-1', 'node-2'] as const;
const probePort = 9200;
/** Requests under way at once. */
const writers = 16;

interface PodSandbox {
  readonly namespace: string;
  readonly name: string;
  readonly pausePid: number;
  readonly addresses: readonly string[];
}

function podsOf(node: string): readonly PodSandbox[] {
  const directory = join('/run/ciliate', name, node, 'pods');
  return readdirSync(directory).map(uid => JSON.parse(readFileSync(join(directory, uid, 'sandbox.json'), 'utf8')));
}

const pod = (app: string, node: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: `${app}-${node}`, labels: { app } },
  spec: { nodeName: node, containers: [{ name: 'main', image: 'netshoot' }] },
});

/** One in ten has tier=web. */
function identity(n: number): object {
  const own = { app: `other-${n}`, tier: n % 10 === 0 ? 'web' : 'job' };
  const labels = {
    'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name': 'default',
    'k8s:io.cilium.k8s.policy.cluster': 'default',
    'k8s:io.cilium.k8s.policy.serviceaccount': 'default',
    'k8s:io.kubernetes.pod.namespace': 'default',
    'k8s:app': own.app,
    'k8s:tier': own.tier,
  };
  const id = String(identityNumber(n));
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumIdentity',
    metadata: { name: id, labels: own },
    'security-labels': labels,
  };
}

const identityNumber = (n: number): number => 30_000 + n;

function endpoint(n: number): object {
  const ipv4 = `10.${248 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
  const node = `172.30.1.${(n % 200) + 1}`;
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumEndpoint',
    metadata: { name: `other-${n}`, namespace: 'default' },
    status: { id: 1, identity: { id: identityNumber(n) }, networking: { addressing: [{ ipv4 }], node } },
  };
}

export class ClusterWorld {
  readonly #cluster = new Cluster({ name, nodes: nodes.length });
  #client: KubeClient | undefined;
  #others = 0;

  async up(): Promise<void> {
    this.#cluster.down();
    this.#cluster.up();
    this.#client = new KubeClient(await loadKubeConfig(join('/run/ciliate', name, 'kubeconfig')));
    const names: string[] = [];
    for (const node of nodes) {
      for (const app of ['client', 'server']) {
        await this.write('POST', '/api/v1/namespaces/default/pods', pod(app, node));
        names.push(`pod/${app}-${node}`);
      }
    }
    await this.#cluster.kube('wait', '--for=condition=Ready', '--timeout=60s', ...names);
  }

  async write(method: string, path: string, body?: object): Promise<void> {
    if (this.#client === undefined) throw new Error('the world is not up');
    await this.#client.request(method, path, body === undefined ? {} : { body });
  }

  /** Until there are so many identities of other nodes, and both agents know them. */
  async grow(count: number): Promise<void> {
    const numbers = Array.from({ length: count - this.#others }, (_, n) => this.#others + n);
    this.#others = count;
    const write = async (): Promise<void> => {
      for (let n = numbers.pop(); n !== undefined; n = numbers.pop()) {
        await this.write('POST', resourcePaths.ciliumIdentities, identity(n));
        await this.write('POST', resourcePaths.ciliumEndpointsOf('default'), endpoint(n));
      }
    };
    await Promise.all(Array.from({ length: writers }, write));
    for (const node of nodes) {
      await eventually(`${node} knows ${count} identities`, async () => {
        const { stdout } = await this.#cluster.ciliate('--node', node, 'ip', 'list');
        const known = stdout.split('\n').filter(line => /^10\.24[89]\./.test(line)).length;
        return known >= count ? true : undefined;
      });
    }
  }

  /** From the node's client to the node's server. */
  path(node: string): ProbePath {
    const find = (app: string): PodSandbox => {
      const found = podsOf(node).find(one => one.name === `${app}-${node}`);
      if (found === undefined) throw new Error(`no pod ${app}-${node}`);
      return found;
    };
    const server = find('server');
    const netns = ({ pausePid }: PodSandbox): string => `/proc/${pausePid}/ns/net`;
    const address = server.addresses.find(ip => ip.includes('.'))?.split('/')[0] ?? '';
    return { client: netns(find('client')), server: netns(server), address, port: probePort };
  }

  down(): string {
    this.#client?.close();
    const { code, stderr } = this.#cluster.down();
    return code === 0 ? '' : stderr;
  }
}
