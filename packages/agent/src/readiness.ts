/** When pods can be added, and what is not as it should be. */

import { prefixContains, type Tables } from '@ciliate/model';
import type { ReflectorHealth } from '@ciliate/sources';
import type { LocalNode } from './local-node.ts';

/** Milliseconds that a start with known state waits for the API server. */
const patience = 2000;

export class Readiness {
  readonly #tables: Tables;
  readonly #local: LocalNode;
  readonly #noPods: string | undefined;
  #readyAfterMs: number | undefined;

  /** `noPods`: why no pods can be added at all. */
  constructor(tables: Tables, local: LocalNode, noPods?: string) {
    this.#tables = tables;
    this.#local = local;
    this.#noPods = noPods;
  }

  /** Milliseconds from process start; undefined until ready. */
  get readyAfterMs(): number | undefined {
    return this.#readyAfterMs;
  }

  reached(): void {
    this.#readyAfterMs = Math.round(performance.now());
  }

  /** Undefined: pods can be added. */
  whyNot(): string | undefined {
    if (this.#noPods !== undefined) return this.#noPods;
    if (this.#local.problem !== undefined) return this.#local.problem;
    return this.#readyAfterMs === undefined ? 'it is starting' : undefined;
  }

  /**
   * Resolves when this node's addresses are known, and its pod CIDRs where pods are ours: the programs' constants hold them. From the state
   * on disk at once, else from the API server. The kubelet creates the Node first and reports its addresses a moment later.
   */
  localNode(signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#local.isKnown, Number.POSITIVE_INFINITY, signal);
  }

  /** Resolves when every source has delivered its first list, or the API server took too long: then we go on with what is known. */
  sources(signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#initialized(), patience, signal);
  }

  /** Resolves when every source has delivered its first list, however long that takes. */
  everySource(signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#initialized(), Number.POSITIVE_INFINITY, signal);
  }

  #initialized(): boolean {
    const { nodes, services, endpointSlices, pods, namespaces, remoteEndpoints, identities } = this.#tables;
    const inputs = [nodes, services, endpointSlices, pods, namespaces, remoteEndpoints, identities];
    return inputs.every(table => table.initialized);
  }

  degraded(reflectors: readonly ReflectorHealth[]): readonly string[] {
    const reasons: string[] = [];
    if (this.#local.problem !== undefined) reasons.push(this.#local.problem);
    reasons.push(...this.#local.notices, ...this.#servicesInPodCIDRs());
    const waiting = reflectors.filter(reflector => !reflector.synced).map(reflector => reflector.name);
    if (waiting.length > 0) reasons.push(`working from known state, no list yet of ${waiting.join(', ')}`);
    const broken = reflectors.find(reflector => reflector.synced && reflector.consecutiveFailures > 1);
    if (broken !== undefined) reasons.push(`API server: ${broken.lastError ?? 'not reachable'}`);
    return reasons;
  }

  /** Service addresses that pods could be given too: such a cluster is not configured right. */
  #servicesInPodCIDRs(): readonly string[] {
    const { podCIDRs } = this.#local;
    if (podCIDRs.length === 0) return [];
    for (const service of this.#tables.services.all()) {
      for (const address of service.clusterIPs) {
        const cidr = podCIDRs.find(prefix => prefixContains(prefix, address));
        if (cidr === undefined) continue;
        return [
          `ClusterIP ${address} of ${service.namespace}/${service.name} lies in this node's pod CIDR ${cidr}: give pods and services ranges of their own`,
        ];
      }
    }
    return [];
  }

  #until(condition: () => boolean, patienceMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const subscriptions: (() => void)[] = [];
      const timer = Number.isFinite(patienceMs) ? setTimeout(() => end(resolve), patienceMs) : undefined;
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        for (const unsubscribe of subscriptions) unsubscribe();
        signal.removeEventListener('abort', aborted);
        settle();
      };
      const aborted = (): void => end(() => reject(new Error('stopped while starting')));
      const look = (): void => {
        if (condition()) end(resolve);
      };
      if (signal.aborted) return aborted();
      signal.addEventListener('abort', aborted);
      for (const table of Object.values(this.#tables)) subscriptions.push(table.subscribe(look));
      look();
    });
  }
}
