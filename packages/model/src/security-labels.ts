import type { Labels } from './labels.ts';

/** Keys of security labels that are not a pod's own labels. Names of Cilium's, so that its policies select alike. */
export const securityLabelKeys = {
  namespace: 'k8s:io.kubernetes.pod.namespace',
  namespaceLabels: 'k8s:io.cilium.k8s.namespace.labels.',
  serviceAccount: 'k8s:io.cilium.k8s.policy.serviceaccount',
  cluster: 'k8s:io.cilium.k8s.policy.cluster',
} as const;

/** Keys that differ between replicas of one workload, or say nothing about who it is: Cilium's default label filter. */
const irrelevant: readonly RegExp[] = [
  /^io\.kubernetes\./,
  /(^|\.)kubernetes\.io\//,
  /(^|\.)beta\.kubernetes\.io\//,
  /(^|\.)k8s\.io\//,
  /^pod-template-(hash|generation)$/,
  /^controller-revision-hash$/,
  /^controller-uid$/,
  /^statefulset\.kubernetes\.io\/pod-name$/,
  /^batch\.kubernetes\.io\//,
  /^annotation/,
  /^etcd_node$/,
];

/** Always relevant, although another pattern would drop them. */
const relevant: readonly RegExp[] = [/^app\.kubernetes\.io\//, /^io\.cilium\.k8s\./];

export interface SecurityLabelsInput {
  readonly namespace: string;
  readonly podLabels: Labels;
  readonly namespaceLabels: Labels;
  readonly serviceAccount: string;
  readonly cluster: string;
}

/** The labels whose set is a pod's identity: 'source:key' → value. */
export function securityLabels(input: SecurityLabelsInput): Labels {
  const labels: Record<string, string> = {};
  for (const [key, value] of Object.entries(input.podLabels)) if (isRelevant(key)) labels[`k8s:${key}`] = value;
  for (const [key, value] of Object.entries(input.namespaceLabels)) {
    labels[`${securityLabelKeys.namespaceLabels}${key}`] = value;
  }
  labels[securityLabelKeys.namespace] = input.namespace;
  labels[securityLabelKeys.cluster] = input.cluster;
  if (input.serviceAccount !== '') labels[securityLabelKeys.serviceAccount] = input.serviceAccount;
  return labels;
}

/** True when a pod's label of this key (without source) is part of its identity. */
export function isRelevant(key: string): boolean {
  return relevant.some(pattern => pattern.test(key)) || !irrelevant.some(pattern => pattern.test(key));
}
