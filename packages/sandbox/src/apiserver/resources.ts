/** What happens to an object between a request and the store: defaults, addresses, deletion, patches, apply. */
import { parse } from 'yaml';
import { allocatePodCidrs, allocateService, type Ranges, ServiceIndex } from './allocation.ts';
import { at, isObject, type Json, type JsonObject, type KubeObject, listAt, numberAt, objectAt } from './object.ts';
import { jsonPatch, mergePatch, strategicMerge, withoutDropped } from './patch.ts';
import { apiVersionOf, customResources, type Registry, type Resource } from './registry.ts';
import { ApiError, badRequest, conflict } from './status.ts';
import type { Store } from './store.ts';
import { validate } from './validation.ts';

const lastApplied = 'ciliate.io/applied';

export class Resources {
  readonly #store: Store;
  readonly #registry: Registry;
  readonly #ranges: Ranges;
  readonly #services = new ServiceIndex();

  constructor(modules: { readonly store: Store; readonly registry: Registry; readonly ranges: Ranges }) {
    this.#store = modules.store;
    this.#registry = modules.registry;
    this.#ranges = modules.ranges;
    const services = this.#registry.find('', 'v1', 'services');
    if (services !== undefined) for (const service of this.#store.list(services)) this.#services.add(service);
    const crds = this.#registry.ofKind('CustomResourceDefinition');
    if (crds === undefined) return;
    for (const crd of this.#store.list(crds)) for (const resource of customResources(crd)) this.#registry.add(resource);
    this.#store.subscribe((resource, event) => {
      if (resource.kind === 'Service' && resource.group === '') {
        if (event.before !== undefined) this.#services.remove(event.before);
        if (event.type !== 'DELETED') this.#services.add(event.object);
      }
      if (resource.kind !== 'CustomResourceDefinition') return;
      for (const custom of customResources(event.object)) {
        if (event.type === 'DELETED') this.#registry.remove(custom);
        else this.#registry.add(custom);
      }
    });
  }

  /** Parses a body into an object of the resource; JSON or YAML. */
  parse(resource: Resource, body: string, namespace: string | undefined): KubeObject {
    const content: unknown = body.trimStart().startsWith('{') ? JSON.parse(body) : parse(body);
    if (!isObject(content)) throw badRequest('the body is no object');
    const metadata = objectAt(content, 'metadata');
    const given = metadata.namespace;
    if (resource.namespaced && given !== undefined && given !== namespace)
      throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
    const generate = metadata.generateName;
    const suffix = Math.random().toString(36).slice(2, 7).padEnd(5, 'x');
    const name =
      typeof metadata.name === 'string' ? metadata.name : typeof generate === 'string' ? `${generate}${suffix}` : '';
    return {
      ...content,
      apiVersion: apiVersionOf(resource),
      kind: resource.kind,
      metadata: { ...metadata, name, ...(resource.namespaced ? { namespace: namespace ?? 'default' } : {}) },
    };
  }

  #prepared(resource: Resource, object: KubeObject, before: KubeObject | undefined): KubeObject {
    validate(resource, object, before);
    if (resource.kind === 'Service' && resource.group === '')
      return allocateService(object, before, this.#services.takenByOthers(object), this.#ranges);
    if (resource.kind === 'Node') return allocatePodCidrs(object, this.#store.list(resource), this.#ranges);
    if (resource.kind === 'Pod' && before === undefined) return defaultPod(object);
    if (resource.kind === 'Deployment') return defaultDeployment(object);
    if (resource.kind === 'CustomResourceDefinition') return establishedCrd(object);
    return object;
  }

  create(resource: Resource, object: KubeObject, dryRun: boolean): KubeObject {
    this.#requireNamespace(resource, object);
    const prepared = this.#prepared(resource, object, undefined);
    return dryRun ? prepared : this.#store.create(resource, prepared);
  }

  #requireNamespace(resource: Resource, object: KubeObject): void {
    const namespaces = this.#registry.find('', 'v1', 'namespaces');
    if (!resource.namespaced || namespaces === undefined) return;
    const namespace = this.#store.require(namespaces, undefined, object.metadata.namespace ?? 'default');
    if (namespace.metadata.deletionTimestamp !== undefined) {
      throw new ApiError(
        403,
        'Forbidden',
        `unable to create new content in namespace ${namespace.metadata.name} because it is being terminated`,
      );
    }
  }

  /** The status is its own subresource: a plain update keeps it, a status update changes nothing else. */
  update(resource: Resource, object: KubeObject, subresource: string, dryRun = false): KubeObject {
    const before = this.#store.require(resource, object.metadata.namespace, object.metadata.name);
    const { resourceVersion } = object.metadata;
    const version = resourceVersion === undefined ? {} : { resourceVersion };
    const merged: KubeObject =
      subresource === 'status'
        ? {
            ...before,
            metadata: { ...before.metadata, ...version },
            ...(object.status === undefined ? {} : { status: object.status }),
          }
        : { ...object, ...(resource.hasStatus && before.status !== undefined ? { status: before.status } : {}) };
    const prepared = subresource === 'status' ? merged : this.#prepared(resource, merged, before);
    return dryRun ? prepared : this.#store.update(resource, prepared);
  }

  patch(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    contentType: string,
    body: string,
    subresource: string,
    dryRun: boolean,
  ): KubeObject {
    const before = this.#store.require(resource, namespace, name);
    const current = before as unknown as JsonObject;
    const patch: Json = JSON.parse(body);
    const patched = ((): Json => {
      if (contentType.includes('json-patch')) return jsonPatch(current, Array.isArray(patch) ? (patch as never) : []);
      if (contentType.includes('strategic') && resource.columns === undefined)
        return strategicMerge(current, isObject(patch) ? patch : {});
      return mergePatch(current, patch);
    })();
    const asked = at(patch, 'metadata', 'resourceVersion');
    const object = patched as unknown as KubeObject;
    const metadata = {
      ...object.metadata,
      name,
      ...(before.metadata.namespace === undefined ? {} : { namespace: before.metadata.namespace }),
    };
    const free = {
      ...metadata,
      resourceVersion: asked === undefined ? (before.metadata.resourceVersion ?? '') : String(asked),
    };
    return this.update(resource, { ...object, metadata: free }, subresource, dryRun);
  }

  /** Server-side apply: what this manager named before and no longer does is removed; another manager's value needs force. */
  apply(
    resource: Resource,
    namespace: string | undefined,
    name: string,
    body: string,
    manager: string,
    force: boolean,
    dryRun: boolean,
  ): KubeObject {
    const config = this.parse(resource, body, namespace);
    const wanted = stripMeta({ ...config, metadata: { ...config.metadata, name } } as unknown as JsonObject);
    const before = this.#store.get(resource, namespace, name);
    if (before === undefined) {
      return this.create(
        resource,
        withManager({ ...config, metadata: { ...config.metadata, name } }, manager, wanted),
        dryRun,
      );
    }
    const managers = managersOf(before);
    if (!force) rejectConflicts(resource, before, managers, manager, wanted);
    const kept = withoutDropped(before as unknown as JsonObject, managers[manager] ?? {}, wanted);
    const merged = strategicMerge(kept, wanted) as unknown as KubeObject;
    return this.update(
      resource,
      withManager(
        { ...merged, metadata: { ...merged.metadata, resourceVersion: before.metadata.resourceVersion ?? '' } },
        manager,
        wanted,
      ),
      '',
      dryRun,
    );
  }

  /** What the object owns stays, and forgets its owner. */
  #orphan({ metadata: { uid = '' } }: KubeObject): void {
    for (const dependent of this.#store.dependents(uid)) {
      const resource = this.#registry.ofKind(dependent.kind);
      if (resource === undefined) continue;
      const ownerReferences = (dependent.metadata.ownerReferences ?? []).filter(owner => owner.uid !== uid);
      this.#store.update(resource, { ...dependent, metadata: { ...dependent.metadata, ownerReferences } });
    }
  }

  /** Pods on a node end when their kubelet says so; what has finalizers ends with the last of them. */
  delete(resource: Resource, object: KubeObject, options: JsonObject): KubeObject {
    const grace =
      options.gracePeriodSeconds === undefined
        ? resource.kind === 'Pod'
          ? gracePeriodOf(object)
          : 0
        : numberAt(options, 'gracePeriodSeconds');
    if (resource.kind === 'Namespace' && keptNamespaces.has(object.metadata.name))
      throw new ApiError(
        403,
        'Forbidden',
        `namespaces "${object.metadata.name}" is forbidden: this namespace may not be deleted`,
      );
    const uid = at(options, 'preconditions', 'uid');
    if (uid !== undefined && uid !== object.metadata.uid)
      throw conflict(resource, object.metadata.name, `Precondition failed: UID in precondition: ${String(uid)}`);
    const version = at(options, 'preconditions', 'resourceVersion');
    if (version !== undefined && version !== object.metadata.resourceVersion) {
      const why = `Precondition failed: ResourceVersion in precondition: ${String(version)}`;
      throw conflict(resource, object.metadata.name, why);
    }
    if (at(options, 'propagationPolicy') === 'Orphan') this.#orphan(object);
    const onNode = resource.kind === 'Pod' && at(object, 'spec', 'nodeName') !== undefined && grace > 0;
    const isNamespace = resource.kind === 'Namespace' && listAt(object, 'spec', 'finalizers').length > 0;
    if (onNode || isNamespace || (object.metadata.finalizers ?? []).length > 0) {
      if (object.metadata.deletionTimestamp !== undefined && grace >= (object.metadata.deletionGracePeriodSeconds ?? 0))
        return object;
      return this.#store.markDeleted(resource, object, grace);
    }
    return this.#store.remove(resource, object);
  }
}

const keptNamespaces = new Set(['default', 'kube-system', 'kube-public']);

function gracePeriodOf(pod: KubeObject): number {
  return at(pod, 'spec', 'terminationGracePeriodSeconds') === undefined
    ? 30
    : numberAt(pod, 'spec', 'terminationGracePeriodSeconds');
}

function stripMeta(config: JsonObject): JsonObject {
  const metadata = Object.fromEntries(
    Object.entries(objectAt(config, 'metadata')).filter(
      ([key]) =>
        !['managedFields', 'resourceVersion', 'uid', 'creationTimestamp', 'generation', 'name', 'namespace'].includes(
          key,
        ),
    ),
  );
  return {
    ...Object.fromEntries(Object.entries(config).filter(([key]) => !['status', 'apiVersion', 'kind'].includes(key))),
    metadata,
  };
}

/** What each manager applied, kept in the object's managedFields as plain configuration. */
function managersOf(object: KubeObject): Readonly<Record<string, JsonObject>> {
  const entries = Array.isArray(object.metadata.managedFields) ? object.metadata.managedFields : [];
  return Object.fromEntries(
    entries.flatMap(entry =>
      isObject(entry) ? [[String(entry.manager), objectAt(entry, 'fieldsV1', lastApplied)]] : [],
    ),
  );
}

function withManager(object: KubeObject, manager: string, wanted: JsonObject): KubeObject {
  const others = Array.isArray(object.metadata.managedFields)
    ? object.metadata.managedFields.filter(entry => !isObject(entry) || entry.manager !== manager)
    : [];
  const entry: JsonObject = {
    manager,
    operation: 'Apply',
    apiVersion: object.apiVersion,
    fieldsType: 'FieldsV1',
    fieldsV1: { [lastApplied]: wanted },
  };
  return { ...object, metadata: { ...object.metadata, managedFields: [...others, entry] } };
}

function rejectConflicts(
  resource: Resource,
  before: KubeObject,
  managers: Readonly<Record<string, JsonObject>>,
  manager: string,
  wanted: JsonObject,
): void {
  for (const [other, fields] of Object.entries(managers)) {
    if (other === manager) continue;
    const path = conflicting(fields, wanted, '');
    if (path !== undefined) {
      throw new ApiError(409, 'Conflict', `Apply failed with 1 conflict: conflict with "${other}": ${path}`, {
        name: before.metadata.name,
        kind: resource.plural,
        causes: [{ reason: 'FieldManagerConflict', message: `conflict with "${other}"`, field: path }],
      });
    }
  }
}

function conflicting(theirs: JsonObject, ours: JsonObject, path: string): string | undefined {
  for (const [key, value] of Object.entries(ours)) {
    const other = theirs[key];
    if (other === undefined || value === undefined) continue;
    if (isObject(value) && isObject(other)) {
      const inner = conflicting(other, value, `${path}.${key}`);
      if (inner !== undefined) return inner;
    } else if (!Array.isArray(value) && JSON.stringify(value) !== JSON.stringify(other)) {
      return `${path}.${key}`;
    }
  }
  return undefined;
}

/** Ports speak TCP unless they say otherwise. */
function defaultPorts(podSpec: JsonObject): JsonObject {
  const containers = listAt(podSpec, 'containers').map(container => {
    if (!isObject(container) || !Array.isArray(container.ports)) return container;
    return { ...container, ports: container.ports.map(port => (isObject(port) ? { protocol: 'TCP', ...port } : port)) };
  });
  return { ...podSpec, containers };
}

function withTemplatePorts(object: KubeObject): KubeObject {
  const template = objectAt(object.spec, 'template');
  return {
    ...object,
    spec: { ...object.spec, template: { ...template, spec: defaultPorts(objectAt(template, 'spec')) } },
  };
}

function defaultPod(given: KubeObject): KubeObject {
  const pod: KubeObject = { ...given, spec: defaultPorts(given.spec ?? {}) };
  const spec: JsonObject = {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    serviceAccountName: 'default',
    ...pod.spec,
  };
  return { ...pod, spec, status: { phase: 'Pending', qosClass: 'BestEffort', ...pod.status } };
}

function defaultDeployment(given: KubeObject): KubeObject {
  const deployment = withTemplatePorts(given);
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } };
  return {
    ...deployment,
    spec: { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600, strategy, ...deployment.spec },
  };
}

function establishedCrd(crd: KubeObject): KubeObject {
  const condition = (type: string): JsonObject => ({
    type,
    status: 'True',
    reason: 'InitialNamesAccepted',
    message: 'accepted',
  });
  return {
    ...crd,
    status: {
      acceptedNames: objectAt(crd.spec, 'names'),
      conditions: [condition('NamesAccepted'), condition('Established')],
      storedVersions: [],
    },
  };
}
