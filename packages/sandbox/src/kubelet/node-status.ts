/** This node in Kubernetes: registration, conditions, lease. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { apiStatus, type KubeApi, type KubeObject, resourcePaths } from '@ciliate/sources';
import type { KubeletConfig } from './config.ts';
import type { Condition } from './pod.ts';
import { withTransition } from './pod-status.ts';

const leaseSeconds = 40;
const maxPods = '1100';

export class NodeStatus {
  readonly #api: KubeApi;
  readonly #config: KubeletConfig;

  constructor(api: KubeApi, config: KubeletConfig) {
    this.#api = api;
    this.#config = config;
  }

  /** Creates the Node, or takes over the one that is there. */
  async register(): Promise<void> {
    const { nodeName, podCidrs } = this.#config;
    const labels = {
      'kubernetes.io/hostname': nodeName,
      'kubernetes.io/os': 'linux',
      'kubernetes.io/arch': architecture(),
    };
    const [podCIDR] = podCidrs;
    const body = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: nodeName, labels },
      spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: podCidrs },
    };
    try {
      await this.#api.request('POST', resourcePaths.nodes, { body });
    } catch (error) {
      if (apiStatus(error) !== 409) throw error;
    }
  }

  /** `notReady` undefined = Ready. Conditions of others are kept. */
  async report(notReady: string | undefined): Promise<void> {
    const { nodeName } = this.#config;
    const node: KubeObject = await this.#api.request('GET', resourcePaths.node(nodeName));
    const before = (
      (node.status as { readonly conditions?: readonly Condition[] } | undefined)?.conditions ?? []
    ).slice();
    const now = new Date().toISOString();
    const own = conditions(notReady).map(condition => ({
      ...withTransition(condition, before, now),
      lastHeartbeatTime: now,
    }));
    const others = before.filter(condition => !own.some(mine => mine.type === condition.type));
    await this.#api.request('PATCH', resourcePaths.nodeStatus(nodeName), {
      body: { status: { ...this.#facts(), conditions: [...others, ...own] } },
      contentType: 'application/merge-patch+json',
    });
  }

  #facts(): Readonly<Record<string, unknown>> {
    const capacity = {
      cpu: String(cpus().length),
      memory: `${Math.floor(totalmem() / 1024)}Ki`,
      pods: maxPods,
      'ephemeral-storage': '10Gi',
    };
    const { nodeName, nodeAddresses } = this.#config;
    return {
      capacity,
      allocatable: capacity,
      addresses: [
        ...nodeAddresses.map(address => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: nodeName },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      nodeInfo: {
        architecture: architecture(),
        bootID: readFirst('/proc/sys/kernel/random/boot_id'),
        containerRuntimeVersion: 'ciliate-sandbox://0.1.0',
        kernelVersion: release(),
        kubeProxyVersion: '',
        kubeletVersion: 'v1.33.4',
        machineID: readFirst('/etc/machine-id'),
        operatingSystem: 'linux',
        osImage: osImage(readFirst('/etc/os-release')),
        systemUUID: '',
      },
    };
  }

  async renewLease(): Promise<void> {
    const { nodeName } = this.#config;
    const spec = {
      holderIdentity: nodeName,
      leaseDurationSeconds: leaseSeconds,
      renewTime: new Date().toISOString().replace('Z', '000Z'),
    };
    try {
      await this.#api.request('PATCH', resourcePaths.lease('kube-node-lease', nodeName), {
        body: { spec },
        contentType: 'application/merge-patch+json',
      });
    } catch (error) {
      if (apiStatus(error) !== 404) throw error;
      await this.#api.request('POST', resourcePaths.leases('kube-node-lease'), {
        body: {
          apiVersion: 'coordination.k8s.io/v1',
          kind: 'Lease',
          metadata: { name: nodeName, namespace: 'kube-node-lease' },
          spec,
        },
      });
    }
  }
}

function conditions(notReady: string | undefined): readonly Omit<Condition, 'lastTransitionTime'>[] {
  const fine = (type: string, what: string): Omit<Condition, 'lastTransitionTime'> => ({
    type,
    status: 'False',
    reason: `KubeletHas${what}`,
    message: `kubelet has ${what}`,
  });
  return [
    fine('MemoryPressure', 'SufficientMemory'),
    fine('DiskPressure', 'NoDiskPressure'),
    fine('PIDPressure', 'SufficientPID'),
    notReady === undefined
      ? { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' }
      : {
          type: 'Ready',
          status: 'False',
          reason: 'KubeletNotReady',
          message: `network plugin is not ready: ${notReady}`,
        },
  ];
}

/** PRETTY_NAME of os-release(5). */
export function osImage(text: string): string {
  return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(text)?.[1] ?? 'Linux';
}

function architecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

function readFirst(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
