/** Deployment → ReplicaSet → Pod, DaemonSet, StatefulSet. */
import { createHash } from 'node:crypto';
import {
  at,
  isObject,
  type JsonObject,
  type KubeObject,
  listAt,
  numberAt,
  objectAt,
  textAt,
} from '../apiserver/object.ts';
import { type Client, isOwnedBy, ownerReference } from './client.ts';

const revisionKey = 'deployment.kubernetes.io/revision';
const hashKey = 'pod-template-hash';

export function isReady(pod: KubeObject): boolean {
  return listAt(pod, 'status', 'conditions').some(
    condition => textAt(condition, 'type') === 'Ready' && textAt(condition, 'status') === 'True',
  );
}

const isGoing = (object: KubeObject): boolean => object.metadata.deletionTimestamp !== undefined;
const hasEnded = (pod: KubeObject): boolean => ['Succeeded', 'Failed'].includes(textAt(pod, 'status', 'phase'));

function podFrom(
  owner: KubeObject,
  name: { readonly name: string } | { readonly generateName: string },
  extra: JsonObject = {},
): KubeObject {
  const template = objectAt(owner.spec, 'template');
  const metadata = objectAt(template, 'metadata');
  const generated =
    'generateName' in name ? `${name.generateName}${Math.random().toString(36).slice(2, 7).padEnd(5, '0')}` : name.name;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: generated,
      ...('generateName' in name ? { generateName: name.generateName } : {}),
      namespace: owner.metadata.namespace ?? 'default',
      labels: objectAt(metadata, 'labels') as Readonly<Record<string, string>>,
      annotations: objectAt(metadata, 'annotations') as Readonly<Record<string, string>>,
      ownerReferences: [ownerReference(owner)],
    },
    spec: { ...objectAt(template, 'spec'), ...extra },
  };
}

function setStatus(client: Client, object: KubeObject, status: JsonObject): void {
  client.replace({ ...object, status: { ...object.status, ...status } });
}

/** Which pods go first: those not ready, then the youngest. */
function expendable(pods: readonly KubeObject[]): readonly KubeObject[] {
  return pods.toSorted(
    (a, b) =>
      Number(isReady(a)) - Number(isReady(b)) ||
      (b.metadata.creationTimestamp ?? '').localeCompare(a.metadata.creationTimestamp ?? ''),
  );
}

export function syncReplicaSet(client: Client, set: KubeObject): void {
  if (isGoing(set)) return;
  const namespace = set.metadata.namespace;
  const owned = client.list('Pod', namespace).filter(pod => isOwnedBy(pod, set));
  for (const pod of owned.filter(pod => hasEnded(pod) && !isGoing(pod))) client.delete(pod);
  const pods = owned.filter(pod => !isGoing(pod) && !hasEnded(pod));
  const wanted = numberAt(set, 'spec', 'replicas');
  for (let missing = wanted - pods.length; missing > 0; missing -= 1)
    client.create(podFrom(set, { generateName: `${set.metadata.name}-` }));
  for (const pod of expendable(pods).slice(0, Math.max(0, pods.length - wanted))) client.delete(pod);
  const ready = pods.filter(isReady).length;
  setStatus(client, set, {
    replicas: Math.min(pods.length, wanted),
    readyReplicas: ready,
    availableReplicas: ready,
    fullyLabeledReplicas: pods.length,
    observedGeneration: set.metadata.generation ?? 1,
  });
}

/** The same content in another order, as `rollout undo` writes it, is the same template. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).filter(([, content]) => content !== null && content !== undefined);
  return Object.fromEntries(
    entries.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([key, content]) => [key, canonical(content)]),
  );
}

function templateHash(owner: KubeObject): string {
  return createHash('sha256')
    .update(JSON.stringify(canonical(objectAt(owner.spec, 'template'))))
    .digest('hex')
    .slice(0, 10);
}

function newReplicaSet(deployment: KubeObject, hash: string, replicas: number, revision: number): KubeObject {
  const template = objectAt(deployment.spec, 'template');
  const metadata = objectAt(template, 'metadata');
  const labels = { ...(objectAt(metadata, 'labels') as Readonly<Record<string, string>>), [hashKey]: hash };
  const selector = objectAt(deployment.spec, 'selector');
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${deployment.metadata.name}-${hash}`,
      namespace: deployment.metadata.namespace ?? 'default',
      labels,
      annotations: { [revisionKey]: String(revision) },
      ownerReferences: [ownerReference(deployment)],
    },
    spec: {
      replicas,
      selector: { ...selector, matchLabels: { ...objectAt(selector, 'matchLabels'), [hashKey]: hash } },
      template: { ...template, metadata: { ...metadata, labels } },
    },
  };
}

/** A number, or a percentage of the replicas; surge rounds up, unavailability down. */
function share(value: unknown, replicas: number, up: boolean): number {
  const text = String(value ?? '25%');
  if (!text.endsWith('%')) return Number(text);
  const exact = (Number(text.slice(0, -1)) * replicas) / 100;
  return up ? Math.ceil(exact) : Math.floor(exact);
}

function scaleTo(client: Client, set: KubeObject, replicas: number): undefined {
  if (numberAt(set, 'spec', 'replicas') !== replicas) client.replace({ ...set, spec: { ...set.spec, replicas } });
}

/** One step of a rolling update; readiness of pods calls for the next. */
function roll(client: Client, deployment: KubeObject, current: KubeObject, old: readonly KubeObject[]): undefined {
  const wanted = numberAt(deployment, 'spec', 'replicas');
  const strategy = objectAt(deployment.spec, 'strategy');
  const recreate = textAt(strategy, 'type') === 'Recreate';
  const surge = recreate ? 0 : share(at(strategy, 'rollingUpdate', 'maxSurge'), wanted, true);
  const unavailable = recreate ? wanted : share(at(strategy, 'rollingUpdate', 'maxUnavailable'), wanted, false);
  const spare = Math.max(surge + unavailable, 1) - unavailable;
  const size = (set: KubeObject): number => numberAt(set, 'spec', 'replicas');
  const running = old.reduce((sum, set) => sum + size(set), 0);
  if (running === 0) return scaleTo(client, current, wanted);
  const living = old.reduce((sum, set) => sum + numberAt(set, 'status', 'replicas'), 0);
  if (!recreate || living === 0)
    scaleTo(client, current, Math.min(wanted, Math.max(size(current), wanted + spare - running)));
  if (recreate) for (const set of old) scaleTo(client, set, 0);
  else
    shrink(
      client,
      client.get('ReplicaSet', current.metadata.namespace, current.metadata.name) ?? current,
      old,
      wanted - unavailable,
    );
}

/**
 * Takes pods from the old sets as far as `least` stay available. What is asked of the sets counts, not only what they report:
 * a report may be from before the last step.
 */
function shrink(client: Client, current: KubeObject, old: readonly KubeObject[], least: number): undefined {
  const size = (set: KubeObject): number => numberAt(set, 'spec', 'replicas');
  const ready = (set: KubeObject): number => Math.min(size(set), numberAt(set, 'status', 'readyReplicas'));
  const running = old.reduce((sum, set) => sum + size(set), 0);
  let removable = running + ready(current) - least;
  const left = old.map(set => {
    const fewer = Math.max(0, Math.min(removable, size(set) - ready(set)));
    removable -= fewer;
    return size(set) - fewer;
  });
  const available = [current, ...old].reduce((sum, set) => sum + ready(set), 0);
  removable = Math.min(removable, available - least);
  for (const [index, set] of old.entries()) {
    const fewer = Math.max(0, Math.min(removable, left[index] ?? 0));
    removable -= fewer;
    scaleTo(client, set, (left[index] ?? 0) - fewer);
  }
}

function condition(type: string, on: boolean, reason: string, before: KubeObject): JsonObject {
  const status = on ? 'True' : 'False';
  const old = listAt(before, 'status', 'conditions').find(
    entry => textAt(entry, 'type') === type && textAt(entry, 'status') === status,
  );
  const now = new Date().toISOString();
  return {
    type,
    status,
    reason,
    message: reason,
    lastUpdateTime: textAt(old, 'lastUpdateTime') || now,
    lastTransitionTime: textAt(old, 'lastTransitionTime') || now,
  };
}

/** A set that is rolled back to becomes the newest revision. */
function withRevision(client: Client, set: KubeObject, newest: number): KubeObject {
  if (Number(set.metadata.annotations?.[revisionKey] ?? 0) === newest) return set;
  const annotations = { ...set.metadata.annotations, [revisionKey]: String(newest + 1) };
  client.replace({ ...set, metadata: { ...set.metadata, annotations } });
  return client.get('ReplicaSet', set.metadata.namespace, set.metadata.name) ?? set;
}

/** Sets of old revisions that are empty go, but for the newest few, which `rollout undo` may want. */
function dropOldRevisions(client: Client, deployment: KubeObject, old: readonly KubeObject[]): void {
  const limit =
    at(deployment.spec, 'revisionHistoryLimit') === undefined ? 10 : numberAt(deployment.spec, 'revisionHistoryLimit');
  const revisionOf = (set: KubeObject): number => Number(set.metadata.annotations?.[revisionKey] ?? 0);
  const empty = old.filter(set => numberAt(set, 'spec', 'replicas') === 0 && numberAt(set, 'status', 'replicas') === 0);
  for (const set of empty.toSorted((a, b) => revisionOf(b) - revisionOf(a)).slice(limit)) client.delete(set);
}

export function syncDeployment(client: Client, deployment: KubeObject): void {
  if (isGoing(deployment)) return;
  const namespace = deployment.metadata.namespace;
  const sets = client.list('ReplicaSet', namespace).filter(set => isOwnedBy(set, deployment));
  const hash = templateHash(deployment);
  const name = `${deployment.metadata.name}-${hash}`;
  const wanted = numberAt(deployment, 'spec', 'replicas');
  const revision = Math.max(0, ...sets.map(set => Number(set.metadata.annotations?.[revisionKey] ?? 0)));
  const again = sets.find(set => set.metadata.name === name);
  const current =
    (again === undefined ? undefined : withRevision(client, again, revision)) ??
    client.create(
      newReplicaSet(
        deployment,
        hash,
        sets.some(set => numberAt(set, 'spec', 'replicas') > 0) ? 0 : wanted,
        revision + 1,
      ),
    );
  const old = sets.filter(set => set.metadata.name !== name);
  if (textAt(deployment, 'spec', 'paused') !== 'true') roll(client, deployment, current, old);
  dropOldRevisions(client, deployment, old);
  const fresh = client.get('ReplicaSet', namespace, name) ?? current;
  const all = [fresh, ...old.flatMap(set => client.get('ReplicaSet', namespace, set.metadata.name) ?? [])];
  const sum = (field: string): number => all.reduce((total, set) => total + numberAt(set, 'status', field), 0);
  const available = sum('availableReplicas');
  const updated = numberAt(fresh, 'status', 'replicas');
  const complete = updated === wanted && available >= wanted && sum('replicas') === wanted;
  const stored = client.get('Deployment', namespace, deployment.metadata.name);
  if (stored === undefined) return;
  const annotations = {
    ...stored.metadata.annotations,
    [revisionKey]: fresh.metadata.annotations?.[revisionKey] ?? '1',
  };
  client.replace({
    ...stored,
    metadata: { ...stored.metadata, annotations },
    status: {
      observedGeneration: stored.metadata.generation ?? 1,
      replicas: sum('replicas'),
      updatedReplicas: updated,
      readyReplicas: sum('readyReplicas'),
      availableReplicas: available,
      unavailableReplicas: Math.max(0, wanted - available),
      conditions: [
        condition(
          'Available',
          available >= wanted - share(at(stored.spec, 'strategy', 'rollingUpdate', 'maxUnavailable'), wanted, false),
          'MinimumReplicasAvailable',
          stored,
        ),
        condition('Progressing', true, complete ? 'NewReplicaSetAvailable' : 'ReplicaSetUpdated', stored),
      ],
    },
  });
}

const revisionHashKey = 'controller-revision-hash';
/** Pods from before the label was written count as up to date. */
const hasHash = (pod: KubeObject, hash: string): boolean => (pod.metadata.labels?.[revisionHashKey] ?? hash) === hash;

function withHash(pod: KubeObject, hash: string): KubeObject {
  return { ...pod, metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, [revisionHashKey]: hash } } };
}

/** Rolling update of DaemonSets and StatefulSets: one pod of an old template at a time, the next when all are ready. */
function replaceOutdated(client: Client, set: KubeObject, pods: readonly KubeObject[], hash: string): undefined {
  if (textAt(set.spec, 'updateStrategy', 'type') === 'OnDelete') return;
  const outdated = pods.filter(pod => !hasHash(pod, hash) && !isGoing(pod));
  const broken = outdated.find(pod => !isReady(pod));
  const next = broken ?? (pods.every(pod => isReady(pod) && !isGoing(pod)) ? outdated.at(-1) : undefined);
  if (next !== undefined) client.delete(next);
}

export function syncDaemonSet(client: Client, set: KubeObject): void {
  if (isGoing(set)) return;
  const pods = client.list('Pod', set.metadata.namespace).filter(pod => isOwnedBy(pod, set) && !isGoing(pod));
  const hash = templateHash(set);
  const wanted = Object.entries(objectAt(set.spec, 'template', 'spec', 'nodeSelector'));
  const nodes = client
    .list('Node')
    .filter(node => wanted.every(([key, value]) => node.metadata.labels?.[key] === value));
  for (const node of nodes) {
    if (!pods.some(pod => textAt(pod, 'spec', 'nodeName') === node.metadata.name)) {
      const made = podFrom(set, { generateName: `${set.metadata.name}-` }, { nodeName: node.metadata.name });
      client.create(withHash(made, hash));
    }
  }
  const names = new Set(nodes.map(node => node.metadata.name));
  for (const pod of pods) if (!names.has(textAt(pod, 'spec', 'nodeName'))) client.delete(pod);
  if (pods.length >= nodes.length) replaceOutdated(client, set, pods, hash);
  const ready = pods.filter(isReady).length;
  setStatus(client, set, {
    desiredNumberScheduled: nodes.length,
    currentNumberScheduled: pods.length,
    updatedNumberScheduled: pods.filter(pod => hasHash(pod, hash)).length,
    numberReady: ready,
    numberAvailable: ready,
    numberMisscheduled: 0,
    observedGeneration: set.metadata.generation ?? 1,
  });
}

/** Pods are named NAME-0, NAME-1 …; one is made when all before it are ready. */
export function syncStatefulSet(client: Client, set: KubeObject): void {
  if (isGoing(set)) return;
  const namespace = set.metadata.namespace;
  const wanted = at(set.spec, 'replicas') === undefined ? 1 : numberAt(set.spec, 'replicas');
  const hash = templateHash(set);
  const pods = client.list('Pod', namespace).filter(pod => isOwnedBy(pod, set));
  const ordinal = (pod: KubeObject): number => Number(pod.metadata.name.slice(set.metadata.name.length + 1));
  for (let index = 0; index < wanted; index += 1) {
    const pod = pods.find(candidate => ordinal(candidate) === index);
    if (pod === undefined) {
      const made = podFrom(
        set,
        { name: `${set.metadata.name}-${index}` },
        { hostname: `${set.metadata.name}-${index}`, subdomain: textAt(set.spec, 'serviceName') },
      );
      client.create({
        ...made,
        metadata: {
          ...made.metadata,
          labels: {
            ...made.metadata.labels,
            [revisionHashKey]: hash,
            'statefulset.kubernetes.io/pod-name': made.metadata.name,
            'apps.kubernetes.io/pod-index': String(index),
          },
        },
      });
    }
    if ((pod === undefined || !isReady(pod)) && textAt(set.spec, 'podManagementPolicy') !== 'Parallel') break;
  }
  for (const pod of pods) if (ordinal(pod) >= wanted && !isGoing(pod)) client.delete(pod);
  if (pods.length >= wanted) replaceOutdated(client, set, pods, hash);
  const ready = pods.filter(pod => isReady(pod) && !isGoing(pod)).length;
  setStatus(client, set, {
    replicas: pods.length,
    readyReplicas: ready,
    currentReplicas: pods.length,
    updatedReplicas: pods.filter(pod => hasHash(pod, hash)).length,
    currentRevision: hash,
    updateRevision: hash,
    availableReplicas: ready,
    observedGeneration: set.metadata.generation ?? 1,
  });
}
