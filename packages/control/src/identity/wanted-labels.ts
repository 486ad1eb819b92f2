import { type EndpointRow, type Labels, type NamespaceRow, type PodRow, securityLabels } from '@ciliate/model';

/**
 * The label set whose number is the endpoint's identity; undefined while its pod or the pod's namespace is not known, so
 * that the endpoint stays in identity init (5).
 */
export function wantedLabels(
  endpoint: Pick<EndpointRow, 'kind'>,
  pod: PodRow | undefined,
  namespace: NamespaceRow | undefined,
  cluster: string,
): Labels | undefined {
  if (endpoint.kind === 'health') return { 'reserved:health': '' };
  if (pod === undefined || namespace === undefined) return undefined;
  return securityLabels({
    namespace: pod.namespace,
    podLabels: pod.labels,
    namespaceLabels: namespace.labels,
    serviceAccount: pod.serviceAccount,
    cluster,
  });
}
