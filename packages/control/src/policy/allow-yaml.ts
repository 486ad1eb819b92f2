/** The smallest policy that would let a flow through one side. */
import {
  type Labels,
  type PolicyDirectionName,
  type PolicyReference,
  reservedIdentities,
  securityLabelKeys,
} from '@ciliate/model';
import { protocolText } from './explain-terms.ts';
import type { PolicyScene, Somebody } from './scene.ts';
import { yamlText } from './yaml-text.ts';

/** What shall be let through: one direction of one subject. */
export interface Wanted {
  readonly direction: PolicyDirectionName;
  readonly subject: Somebody;
  readonly peer: Somebody;
  readonly protocol: number;
  readonly port: number;
}

/** A NetworkPolicy where such ones isolate and where it can say it; else Cilium's kinds. */
export function allowingPolicy(scene: PolicyScene, wanted: Wanted, isolating: readonly PolicyReference[]): string {
  const { subject, peer, protocol } = wanted;
  const isHost = subject.kind !== 'pod';
  const isIcmp = protocol === 1 || protocol === 58;
  const speaksNetworkPolicy = !isHost && !isIcmp && (peer.kind === 'pod' || peer.kind === 'outside');
  const ofNetworkPolicies = isolating.some(one => one.kind === 'NetworkPolicy');
  if (speaksNetworkPolicy && ofNetworkPolicies) return yamlText(networkPolicy(scene, wanted));
  return yamlText(isHost ? hostPolicy(wanted) : ciliumPolicy(scene, wanted));
}

function networkPolicy(scene: PolicyScene, wanted: Wanted): unknown {
  const { direction, subject, peer, protocol, port } = wanted;
  const [from, type] = direction === 'ingress' ? ['from', 'Ingress'] : ['to', 'Egress'];
  const rule = { [from]: [networkPeer(peer, subject)], ports: [{ protocol: protocolText(protocol), port }] };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: nameOf(wanted), namespace: namespaceOf(subject) },
    spec: {
      podSelector: { matchLabels: ownLabels(selecting(scene, wanted)) },
      policyTypes: [type],
      [direction]: [rule],
    },
  };
}

function networkPeer(peer: Somebody, subject: Somebody): unknown {
  const [address] = peer.addresses;
  if (peer.kind === 'outside') return { ipBlock: { cidr: `${address}/${address?.includes(':') ? 128 : 32}` } };
  const podSelector = { matchLabels: ownLabels(telling(peer.labels)) };
  const namespace = namespaceOf(peer);
  if (namespace === namespaceOf(subject)) return { podSelector };
  return { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } }, podSelector };
}

function ciliumPolicy(scene: PolicyScene, wanted: Wanted): unknown {
  const { direction, subject } = wanted;
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: nameOf(wanted), namespace: namespaceOf(subject) },
    spec: {
      endpointSelector: { matchLabels: ownLabels(selecting(scene, wanted)) },
      // It lets through, and isolates nobody who was not isolated before.
      enableDefaultDeny: { [direction]: false },
      [direction]: [ciliumRule(wanted)],
    },
  };
}

function hostPolicy(wanted: Wanted): unknown {
  const { direction } = wanted;
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumClusterwideNetworkPolicy',
    metadata: { name: nameOf(wanted) },
    spec: { nodeSelector: {}, enableDefaultDeny: { [direction]: false }, [direction]: [ciliumRule(wanted)] },
  };
}

function ciliumRule({ direction, subject, peer, protocol, port }: Wanted): unknown {
  const side = direction === 'ingress' ? 'from' : 'to';
  const isIcmp = protocol === 1 || protocol === 58;
  const ports = isIcmp
    ? { icmps: [{ fields: [{ family: protocol === 58 ? 'IPv6' : 'IPv4', type: port }] }] }
    : { toPorts: [{ ports: [{ port: String(port), protocol: protocolText(protocol) }] }] };
  return { ...ciliumPeer(side, peer, subject), ...ports };
}

function ciliumPeer(side: string, peer: Somebody, subject: Somebody): Readonly<Record<string, unknown>> {
  const [address] = peer.addresses;
  if (peer.kind === 'outside') return { [`${side}CIDR`]: [`${address}/${address?.includes(':') ? 128 : 32}`] };
  if (peer.kind === 'reserved') return reservedPeer(side, peer);
  const own = ownLabels(telling(peer.labels));
  const namespace = namespaceOf(peer);
  const across = subject.kind !== 'pod' || namespace !== namespaceOf(subject);
  const labels = across ? { ...own, 'io.kubernetes.pod.namespace': namespace } : own;
  return { [`${side}Endpoints`]: [{ matchLabels: labels }] };
}

const hostname = 'kubernetes.io/hostname';

function reservedPeer(side: string, { name, labels, identity }: Somebody): Readonly<Record<string, unknown>> {
  if (!name.startsWith('node:')) return { [`${side}Entities`]: [name] };
  const own = labels[`node:${hostname}`];
  if (identity === reservedIdentities.host) return { [`${side}Entities`]: ['host'] };
  return own === undefined
    ? { [`${side}Entities`]: ['remote-node'] }
    : { [`${side}Nodes`]: [{ matchLabels: { [hostname]: own } }] };
}

/** Labels of the subject for the policy's selector: few, unless those would isolate pods that are not isolated yet. */
function selecting(scene: PolicyScene, { direction, subject }: Wanted): Labels {
  const few = telling(subject.labels);
  const namespace = namespaceOf(subject);
  const hit = scene.input.pods.filter(
    pod => namespaceOf(pod) === namespace && Object.entries(few).every(([key, value]) => pod.labels[key] === value),
  );
  return hit.every(pod => scene.isJudged(direction, pod)) ? few : podLabels(subject.labels);
}

const tellingKeys = ['app.kubernetes.io/name', 'app', 'k8s-app', 'name'];

/** The label by which people know a workload; all of them when there is none such. */
function telling(labels: Labels): Labels {
  const key = tellingKeys.map(name => `k8s:${name}`).find(name => name in labels);
  return key === undefined ? podLabels(labels) : { [key]: labels[key] ?? '' };
}

function podLabels(labels: Labels): Labels {
  const added = /^k8s:io\.(cilium\.k8s|kubernetes)\./;
  return Object.fromEntries(Object.entries(labels).filter(([key]) => key.startsWith('k8s:') && !added.test(key)));
}

function ownLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [key.replace(/^k8s:/, ''), value]));
}

function namespaceOf({ labels }: Somebody): string {
  return labels[securityLabelKeys.namespace] ?? '';
}

function nameOf({ direction, subject, peer, protocol, port }: Wanted): string {
  const [from, to] = direction === 'ingress' ? [peer, subject] : [subject, peer];
  const short = (one: Somebody) =>
    one.identity === reservedIdentities.host ? 'host' : (one.name.split('/').at(-1) ?? '');
  const text = `allow-${short(from)}-to-${short(to)}-${port}-${protocolText(protocol)}`.toLowerCase();
  return text
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/-$/, '');
}
