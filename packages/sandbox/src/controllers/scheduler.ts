/** Gives pods a node: fits by selector, taints and readiness; of those, the one with the fewest pods of the same owner, then of all. */
import { at, type KubeObject, listAt, objectAt, textAt } from '../apiserver/object.ts';
import type { Client } from './client.ts';

function isNodeReady(node: KubeObject): boolean {
  return listAt(node, 'status', 'conditions').some(
    condition => textAt(condition, 'type') === 'Ready' && textAt(condition, 'status') === 'True',
  );
}

function tolerates(pod: KubeObject, node: KubeObject): boolean {
  const tolerations = listAt(pod, 'spec', 'tolerations');
  return listAt(node, 'spec', 'taints')
    .filter(taint => textAt(taint, 'effect') !== 'PreferNoSchedule')
    .every(taint =>
      tolerations.some(toleration => {
        const key = textAt(toleration, 'key');
        const exists = textAt(toleration, 'operator') === 'Exists';
        return (
          (key === '' && exists) ||
          (key === textAt(taint, 'key') && (exists || textAt(toleration, 'value') === textAt(taint, 'value')))
        );
      }),
    );
}

function fits(pod: KubeObject, node: KubeObject): boolean {
  if (textAt(node, 'spec', 'unschedulable') === 'true' || !isNodeReady(node) || !tolerates(pod, node)) return false;
  return Object.entries(objectAt(pod, 'spec', 'nodeSelector')).every(
    ([key, value]) => node.metadata.labels?.[key] === value,
  );
}

export function schedule(client: Client, pod: KubeObject): undefined {
  if (textAt(pod, 'spec', 'nodeName') !== '' || pod.metadata.deletionTimestamp !== undefined) return;
  const nodes = client.list('Node').filter(node => fits(pod, node));
  const pods = client.list('Pod');
  const owner = pod.metadata.ownerReferences?.[0]?.uid;
  const on = (node: KubeObject): readonly KubeObject[] =>
    pods.filter(other => textAt(other, 'spec', 'nodeName') === node.metadata.name);
  const score = (node: KubeObject): number => {
    const here = on(node);
    return (
      here.filter(other => owner !== undefined && other.metadata.ownerReferences?.[0]?.uid === owner).length * 1000 +
      here.length
    );
  };
  const [best] = nodes
    .map(node => ({ node, score: score(node) }))
    .toSorted((a, b) => a.score - b.score || a.node.metadata.name.localeCompare(b.node.metadata.name));
  if (best === undefined) return unschedulable(client, pod);
  const scheduled = { type: 'PodScheduled', status: 'True', lastTransitionTime: new Date().toISOString() };
  const others = listAt(pod, 'status', 'conditions').filter(condition => textAt(condition, 'type') !== 'PodScheduled');
  client.replace({
    ...pod,
    spec: { ...pod.spec, nodeName: best.node.metadata.name },
    status: { ...pod.status, conditions: [...others, scheduled] },
  });
}

function unschedulable(client: Client, pod: KubeObject): undefined {
  const message = `0/${client.list('Node').length} nodes are available: none is ready, schedulable and fits the pod's nodeSelector and tolerations`;
  const known = listAt(pod, 'status', 'conditions').find(condition => textAt(condition, 'type') === 'PodScheduled');
  if (textAt(known, 'message') === message) return;
  const condition = {
    type: 'PodScheduled',
    status: 'False',
    reason: 'Unschedulable',
    message,
    lastTransitionTime: new Date().toISOString(),
  };
  client.replace({
    ...pod,
    status: { ...pod.status, phase: at(pod.status, 'phase') ?? 'Pending', conditions: [condition] },
  });
}
