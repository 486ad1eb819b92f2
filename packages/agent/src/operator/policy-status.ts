/**
 * Policies → what is wrong with them, field and remedy: Cilium's kinds have a `Valid` condition for it, a NetworkPolicy has none and gets an
 * event.
 */
import { createHash } from 'node:crypto';
import {
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumNetworkPolicyFromK8s,
  networkPolicyFromK8s,
  type Parsed,
  type PolicyRow,
} from '@ciliate/model';
import {
  apiStatus,
  type KubeApi,
  type KubeObject,
  KubeWriters,
  objectKey,
  Reflector,
  refusedPolicy,
  resourcePaths,
} from '@ciliate/sources';
import { KeyedQueue } from '../keyed-queue.ts';
import type { Service } from '../lifecycle.ts';
import type { Log } from '../log.ts';

export interface PolicyKindOptions {
  readonly kind: 'NetworkPolicy' | 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy';
  /** Why no policy is enforced, whatever it says. */
  readonly refuse?: string;
}

const parsers = {
  NetworkPolicy: networkPolicyFromK8s,
  CiliumNetworkPolicy: ciliumNetworkPolicyFromK8s,
  CiliumClusterwideNetworkPolicy: ciliumClusterwideNetworkPolicyFromK8s,
} as const;
const collections = {
  NetworkPolicy: resourcePaths.networkPolicies,
  CiliumNetworkPolicy: resourcePaths.ciliumNetworkPolicies,
  CiliumClusterwideNetworkPolicy: resourcePaths.ciliumClusterwideNetworkPolicies,
} as const;

export interface ValidCondition {
  readonly type: 'Valid';
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}

/** What a policy's author is told. A policy that needs what is not there yet is valid, and not enforced: it says so too. */
export function validCondition(parsed: Parsed<PolicyRow>): ValidCondition {
  if ('error' in parsed) {
    const { field, message, remedy } = parsed.error;
    return { type: 'Valid', status: 'False', reason: 'Invalid', message: `${field} ${message}: ${remedy}` };
  }
  const { refused } = parsed.row;
  if (refused.length > 0) {
    const message = `not enforced: ${refused.join('; ')}`;
    return { type: 'Valid', status: 'False', reason: 'NotSupported', message };
  }
  const problems = parsed.problems.map(({ field, message, remedy }) => `${field} ${message}: ${remedy}`);
  return {
    type: 'Valid',
    status: 'True',
    reason: problems.length === 0 ? 'Valid' : 'ValidInPart',
    message: problems.length === 0 ? 'Policy validation succeeded' : problems.join('; '),
  };
}

export class PolicyStatus implements Service {
  readonly name: string;
  readonly #options: PolicyKindOptions;
  readonly #api: KubeApi;
  readonly #queue: KeyedQueue;
  readonly #reflector: Reflector;
  readonly #objects = new Map<string, KubeObject>();

  constructor(options: PolicyKindOptions, modules: { readonly api: KubeApi; readonly log: Log }) {
    this.name = `policy-status-${options.kind.toLowerCase()}`;
    this.#options = options;
    this.#api = modules.api;
    this.#queue = new KeyedQueue(
      { name: this.name, concurrency: 4 },
      { work: key => this.#write(key), log: modules.log },
    );
    this.#reflector = new Reflector(
      { name: options.kind.toLowerCase(), path: collections[options.kind], optional: true },
      { api: modules.api, sink: this, log: (message, data) => modules.log.warn(message, data) },
    );
  }

  start(signal: AbortSignal): void {
    this.#queue.start(signal);
    this.#reflector.start();
  }

  stop(): Promise<void> {
    return this.#reflector.stop();
  }

  replace(objects: readonly KubeObject[]): void {
    this.#objects.clear();
    for (const object of objects) this.apply(object);
  }

  apply(object: KubeObject): void {
    this.#objects.set(objectKey(object), object);
    this.#queue.add(objectKey(object));
  }

  remove(object: KubeObject): void {
    this.#objects.delete(objectKey(object));
  }

  async #tell({ metadata }: KubeObject, { reason, message }: ValidCondition): Promise<void> {
    if (reason === 'Valid') return;
    const { namespace = 'default', name = '', uid = '' } = metadata ?? {};
    const digest = createHash('sha256').update(`${uid} ${reason} ${message}`).digest('hex').slice(0, 12);
    await new KubeWriters(this.#api).postEvent(
      { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', namespace, name, uid },
      { name: `${name}.${digest}`, reason, message },
    );
  }

  async #write(key: string): Promise<void> {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    const { kind, refuse } = this.#options;
    const parsed = parsers[kind](object);
    const wanted = validCondition(refuse === undefined ? parsed : refusedPolicy(parsed, refuse));
    if (kind === 'NetworkPolicy') {
      await this.#tell(object, wanted);
      return;
    }
    if (isSame(conditionsOf(object), wanted)) return;
    const { namespace, name = '' } = object.metadata ?? {};
    const path =
      namespace === undefined
        ? `${collections.CiliumClusterwideNetworkPolicy}/${name}/status`
        : `/apis/cilium.io/v2/namespaces/${namespace}/ciliumnetworkpolicies/${name}/status`;
    const others = conditionsOf(object).filter(({ type }) => type !== 'Valid');
    const condition = { ...wanted, lastTransitionTime: new Date().toISOString().replace(/\.\d+Z$/, 'Z') };
    try {
      await this.#api.request('PATCH', path, {
        body: { status: { conditions: [...others, condition] } },
        contentType: 'application/merge-patch+json',
      });
    } catch (error) {
      // Deleted meanwhile.
      if (apiStatus(error) !== 404) throw error;
    }
  }
}

function conditionsOf(object: KubeObject): readonly Partial<ValidCondition>[] {
  const status = object.status as { readonly conditions?: readonly Partial<ValidCondition>[] } | undefined;
  return status?.conditions ?? [];
}

function isSame(conditions: readonly Partial<ValidCondition>[], wanted: ValidCondition): boolean {
  const found = conditions.find(({ type }) => type === 'Valid');
  return found?.status === wanted.status && found.reason === wanted.reason && found.message === wanted.message;
}
