import { defaultLabelFilter, type LabelFilter } from './label-filter.ts';
import type { Labels } from './labels.ts';

/** Keys of security labels that are not a pod's own labels. Names of Cilium's, so that its policies select alike. */
export const securityLabelKeys = {
  namespace: 'k8s:io.kubernetes.pod.namespace',
  namespaceLabels: 'k8s:io.cilium.k8s.namespace.labels.',
  serviceAccount: 'k8s:io.cilium.k8s.policy.serviceaccount',
  cluster: 'k8s:io.cilium.k8s.policy.cluster',
} as const;

export interface SecurityLabelsInput {
  readonly namespace: string;
  readonly podLabels: Labels;
  readonly namespaceLabels: Labels;
  readonly serviceAccount: string;
  readonly cluster: string;
}

/**
 * The labels whose set is a pod's identity: 'source:key' → value. Namespace and cluster are always among them: policies of a namespace mean
 * its own pods.
 */
export function securityLabels(input: SecurityLabelsInput, filter: LabelFilter = defaultLabelFilter): Labels {
  const labels: Record<string, string> = {};
  const add = (key: string, value: string): void => {
    if (filter.keeps('k8s', key)) labels[`k8s:${key}`] = value;
  };
  for (const [key, value] of Object.entries(input.podLabels)) add(key, value);
  for (const [key, value] of Object.entries(input.namespaceLabels))
    add(`${withoutSource(securityLabelKeys.namespaceLabels)}${key}`, value);
  if (input.serviceAccount !== '') add(withoutSource(securityLabelKeys.serviceAccount), input.serviceAccount);
  labels[securityLabelKeys.namespace] = input.namespace;
  labels[securityLabelKeys.cluster] = input.cluster;
  return labels;
}

const withoutSource = (key: string): string => key.slice(key.indexOf(':') + 1);
