/** Cluster DNS as the objects of a cluster: it runs as a pod, like anywhere else. */
import type { KubeObject } from '@ciliate/sources';
import { dnsAddresses } from '../layout.ts';

const labels = { 'k8s-app': 'kube-dns' };

export function dnsManifests(): readonly { readonly path: string; readonly object: KubeObject }[] {
  return [
    { path: '/apis/apps/v1/namespaces/kube-system/deployments', object: deployment() },
    { path: '/api/v1/namespaces/kube-system/services', object: service() },
  ];
}

function deployment(): KubeObject {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'cluster-dns', namespace: 'kube-system', labels },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          // Its own names are not resolved by itself.
          dnsPolicy: 'Default',
          containers: [
            {
              name: 'dns',
              image: 'ciliate/dns',
              ports: [
                { name: 'dns', containerPort: 53, protocol: 'UDP' },
                { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
              ],
              readinessProbe: { tcpSocket: { port: 53 }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  };
}

function service(): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kube-dns', namespace: 'kube-system', labels: { ...labels, 'kubernetes.io/name': 'ClusterDNS' } },
    spec: {
      selector: labels,
      clusterIP: dnsAddresses[0],
      clusterIPs: [...dnsAddresses],
      ipFamilies: ['IPv4', 'IPv6'],
      ipFamilyPolicy: 'RequireDualStack',
      ports: [
        { name: 'dns', port: 53, targetPort: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, targetPort: 53, protocol: 'TCP' },
      ],
    },
  };
}
