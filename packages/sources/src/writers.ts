/** Typed writes to the API server: the few objects that an agent owns. */
import { apiStatus } from './errors.ts';
import type { KubeApi } from './kube-client.ts';
import type { KubeObject } from './kube-object.ts';
import { resourcePaths } from './resources.ts';

const mergePatch = 'application/merge-patch+json';

export interface CiliumNodeSpec {
  readonly addresses: readonly { readonly type: string; readonly ip: string }[];
  readonly health: { readonly ipv4?: string; readonly ipv6?: string };
}

export interface CiliumEndpointStatus {
  readonly id: number;
  readonly state: string;
  readonly identity: { readonly id: number; readonly labels: readonly string[] };
  readonly networking: {
    readonly addressing: readonly { readonly ipv4?: string; readonly ipv6?: string }[];
    /** Address of the node: where others send the tunnel's packets. */
    readonly node: string;
  };
  readonly 'named-ports': readonly { readonly name: string; readonly port: number; readonly protocol: string }[];
  readonly 'external-identifiers': Readonly<Record<string, string>>;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

/** Whom an event is about. */
export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export class KubeWriters {
  readonly #api: KubeApi;

  constructor(api: KubeApi) {
    this.#api = api;
  }

  /** Undefined when there is none. */
  async get(path: string): Promise<KubeObject | undefined> {
    try {
      return await this.#api.request('GET', path);
    } catch (error) {
      if (apiStatus(error) === 404) return undefined;
      throw error;
    }
  }

  /** Publishes our part of the CiliumNode; spec.ipam belongs to the operator and is left as it is. */
  async putCiliumNode(name: string, spec: CiliumNodeSpec, owner: OwnerReference | undefined): Promise<KubeObject> {
    const metadata = { name, ...(owner === undefined ? {} : { ownerReferences: [owner] }) };
    return this.#patchOrCreate(resourcePaths.ciliumNode(name), { spec }, resourcePaths.ciliumNodes, {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNode',
      metadata,
      spec: { ...spec, ipam: {} },
    });
  }

  async putCiliumEndpoint(
    namespace: string,
    name: string,
    status: CiliumEndpointStatus,
    owner: OwnerReference | undefined,
  ): Promise<void> {
    const metadata = { name, namespace, ...(owner === undefined ? {} : { ownerReferences: [owner] }) };
    await this.#patchOrCreate(
      resourcePaths.ciliumEndpoint(namespace, name),
      { metadata: { ownerReferences: owner === undefined ? null : [owner] }, status },
      resourcePaths.ciliumEndpointsOf(namespace),
      { apiVersion: 'cilium.io/v2', kind: 'CiliumEndpoint', metadata, status },
    );
  }

  /** Unless it has become somebody else's: a pod of the same name may run on another node by now. */
  async deleteCiliumEndpoint(namespace: string, name: string, isOurs: (object: KubeObject) => boolean): Promise<void> {
    const path = resourcePaths.ciliumEndpoint(namespace, name);
    const object = await this.get(path);
    if (object === undefined || !isOurs(object)) return;
    const { uid, resourceVersion } = object.metadata ?? {};
    try {
      await this.#api.request('DELETE', path, { body: deleteOptions({ uid, resourceVersion }) });
    } catch (error) {
      const status = apiStatus(error);
      // Changed since we looked: perhaps it is another's now.
      if (status === 409) return this.deleteCiliumEndpoint(namespace, name, isOurs);
      if (status !== 404) throw error;
    }
  }

  /**
   * Claims a number for a set of labels, before it is used by somebody here. True: the object is ours, or was there with equal labels, and says
   * now that it is in use, so that nobody who saw it unused takes it away; false: the number belongs to other labels.
   */
  async claimIdentity(id: number, labels: Readonly<Record<string, string>>): Promise<boolean> {
    const object = {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumIdentity',
      metadata: { name: String(id), labels: kubernetesLabels(labels) },
      'security-labels': labels,
    };
    try {
      await this.#api.request('POST', resourcePaths.ciliumIdentities, { body: object });
      return true;
    } catch (error) {
      if (apiStatus(error) !== 409) throw error;
    }
    const existing = await this.get(resourcePaths.ciliumIdentity(id));
    // Deleted between our two requests: the caller tries the same number again.
    if (existing === undefined) return this.claimIdentity(id, labels);
    if (!sameLabels(existing['security-labels'], labels)) return false;
    const annotations = { [heartbeatAnnotation]: new Date().toISOString() };
    try {
      await this.#api.request('PATCH', resourcePaths.ciliumIdentity(id), {
        body: { metadata: { annotations } },
        contentType: mergePatch,
      });
    } catch (error) {
      if (apiStatus(error) !== 404) throw error;
      return this.claimIdentity(id, labels);
    }
    return true;
  }

  /** A warning that `kubectl describe` of the object shows. One that is there already, from another node, is left as it is. */
  async postEvent(
    involvedObject: ObjectReference,
    event: { readonly name: string; readonly reason: string; readonly message: string },
  ): Promise<void> {
    const now = new Date().toISOString();
    const { namespace } = involvedObject;
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: event.name, namespace },
      involvedObject,
      type: 'Warning',
      reason: event.reason,
      message: event.message,
      source: { component: 'ciliate' },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    try {
      await this.#api.request('POST', resourcePaths.eventsOf(namespace), { body });
    } catch (error) {
      if (apiStatus(error) !== 409) throw error;
    }
  }

  /** What other components look at to know that pods can be run here. */
  async setNetworkAvailable(node: string, annotations: Readonly<Record<string, string>>): Promise<void> {
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const condition = {
      type: 'NetworkUnavailable',
      status: 'False',
      reason: 'CiliateIsUp',
      message: 'Ciliate is running on this node',
      lastHeartbeatTime: now,
      lastTransitionTime: now,
    };
    await this.#api.request('PATCH', resourcePaths.nodeStatus(node), {
      body: { status: { conditions: [condition] } },
      contentType: 'application/strategic-merge-patch+json',
    });
    await this.#api.request('PATCH', resourcePaths.node(node), {
      body: { metadata: { annotations } },
      contentType: mergePatch,
    });
  }

  async #patchOrCreate(path: string, patch: unknown, collection: string, object: unknown): Promise<KubeObject> {
    try {
      return await this.#api.request('PATCH', path, { body: patch, contentType: mergePatch });
    } catch (error) {
      if (apiStatus(error) !== 404) throw error;
    }
    try {
      return await this.#api.request('POST', collection, { body: object });
    } catch (error) {
      if (apiStatus(error) !== 409) throw error;
      return this.#api.request('PATCH', path, { body: patch, contentType: mergePatch });
    }
  }
}

/** The field's name: when somebody last began to use an identity. */
export const heartbeatAnnotation = 'io.cilium.heartbeat';

/** The object as it was seen, or nothing: 409 says that it is another one now. */
export function deleteOptions(preconditions: {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}): unknown {
  return { apiVersion: 'v1', kind: 'DeleteOptions', preconditions };
}

/** 'k8s:app' → 'app', for selection with kubectl; label keys that Kubernetes would refuse are left out. */
function kubernetesLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [key, value] of Object.entries(labels)) {
    const bare = key.replace(/^k8s:/, '');
    if (/^([a-z0-9.-]+\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(bare) && value.length <= 63) result[bare] = value;
  }
  return result;
}

function sameLabels(value: unknown, labels: Readonly<Record<string, string>>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const there = Object.entries(value);
  return there.length === Object.keys(labels).length && there.every(([key, text]) => labels[key] === text);
}
