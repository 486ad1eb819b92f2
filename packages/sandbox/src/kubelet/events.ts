/** Events of pods, as `kubectl describe` shows them. Best effort: an event that cannot be written is not worth a retry. */
import type { KubeApi } from '@ciliate/sources';
import type { Pod } from './pod.ts';

export class Events {
  readonly #api: KubeApi;
  readonly #nodeName: string;
  readonly #seen = new Map<string, { readonly name: string; count: number; first: string }>();

  constructor(api: KubeApi, nodeName: string) {
    this.#api = api;
    this.#nodeName = nodeName;
  }

  /** The same event of the same pod again raises its count. */
  post(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const key = `${pod.metadata.uid} ${reason} ${message}`;
    const known = this.#seen.get(key);
    const now = new Date().toISOString();
    const path = `/api/v1/namespaces/${pod.metadata.namespace}/events`;
    if (known !== undefined) {
      known.count += 1;
      const body = { count: known.count, lastTimestamp: now };
      this.#send('PATCH', `${path}/${known.name}`, body, 'application/merge-patch+json');
      return;
    }
    const name = `${pod.metadata.name}.${Date.now().toString(16)}${Math.random().toString(16).slice(2, 8)}`;
    if (this.#seen.size > 2000) this.#seen.clear();
    this.#seen.set(key, { name, count: 1, first: now });
    this.#send('POST', path, this.#event(pod, { name, type, reason, message, now }), 'application/json');
  }

  #event(
    pod: Pod,
    event: {
      readonly name: string;
      readonly type: string;
      readonly reason: string;
      readonly message: string;
      readonly now: string;
    },
  ): unknown {
    const { name, uid, namespace, resourceVersion } = pod.metadata;
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: event.name, namespace },
      involvedObject: { apiVersion: 'v1', kind: 'Pod', name, namespace, uid, resourceVersion },
      reason: event.reason,
      message: event.message,
      type: event.type,
      source: { component: 'kubelet', host: this.#nodeName },
      reportingComponent: 'kubelet',
      reportingInstance: this.#nodeName,
      firstTimestamp: event.now,
      lastTimestamp: event.now,
      count: 1,
    };
  }

  #send(method: string, path: string, body: unknown, contentType: string): void {
    this.#api.request(method, path, { body, contentType }).catch(() => undefined);
  }
}
