/** Services as Kubernetes objects, for the agent. */
import { type BenchService, servicePort } from './spec.ts';

const namespace = 'default';

export function serviceObject({ name, clusterIp, nodePort }: BenchService, n: number): object {
  return {
    metadata: { name, namespace, uid: `service-${n}`, resourceVersion: '1' },
    spec: {
      type: nodePort === undefined ? 'ClusterIP' : 'NodePort',
      clusterIP: clusterIp,
      clusterIPs: [clusterIp],
      ipFamilies: ['IPv4'],
      ports: [{ name: 'main', protocol: 'TCP', port: servicePort, ...(nodePort === undefined ? {} : { nodePort }) }],
    },
  };
}

/** One slice for each port number: a slice has one list of ports for all of its endpoints. */
export function sliceObjects({ name, endpoints }: BenchService): readonly object[] {
  return [...new Set(endpoints.map(endpoint => endpoint.port))].map(port =>
    sliceObject(
      name,
      port,
      endpoints.filter(endpoint => endpoint.port === port).map(endpoint => endpoint.ip),
    ),
  );
}

export function sliceObject(service: string, port: number, ips: readonly string[], resourceVersion = '1'): object {
  return {
    metadata: {
      name: `${service}-${port}`,
      namespace,
      uid: `slice-${service}-${port}`,
      resourceVersion,
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: 'IPv4',
    ports: [{ name: 'main', protocol: 'TCP', port }],
    endpoints: ips.map(ip => ({ addresses: [ip], conditions: { ready: true, serving: true, terminating: false } })),
  };
}
