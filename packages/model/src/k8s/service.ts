import type { Protocol, ServicePortRow, ServiceRow, ServiceType } from '../rows.ts';
import { type Parsed, type ParseProblem, parsing } from './parsed.ts';
import { Reader } from './reader.ts';

export const protocols: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];
const types: readonly ServiceType[] = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'];
const policies = ['Cluster', 'Local'] as const;

/** Default of sessionAffinityConfig.clientIP.timeoutSeconds (Kubernetes API, core/v1). */
const defaultAffinitySeconds = 10_800;

/** A core/v1 Service. */
export function serviceFromK8s(object: unknown): Parsed<ServiceRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const spec = root.at('spec');
    return {
      namespace: root.at('metadata', 'namespace').text(),
      name: root.at('metadata', 'name').text(),
      uid: root.at('metadata', 'uid').text(''),
      type: spec.at('type').choice(types, 'ClusterIP'),
      labels: root.at('metadata', 'labels').labels(),
      annotations: root.at('metadata', 'annotations').labels(),
      clusterIPs: clusterIPs(spec, problems),
      externalIPs: spec.at('externalIPs').addresses(problems),
      loadBalancerIPs: loadBalancerIPs(root, problems),
      ports: spec.at('ports').list().map(servicePort),
      externalTrafficPolicy: spec.at('externalTrafficPolicy').choice(policies, 'Cluster'),
      internalTrafficPolicy: spec.at('internalTrafficPolicy').choice(policies, 'Cluster'),
      affinityTimeout: affinityTimeout(spec),
    };
  });
}

function clusterIPs(spec: Reader, problems: ParseProblem[]): ServiceRow['clusterIPs'] {
  if (spec.at('type').text('') === 'ExternalName') return [];
  const single = spec.at('clusterIP').text('');
  const list = spec.at('clusterIPs');
  if (single === 'None' || list.list().some(item => item.text('') === 'None')) return [];
  if (list.list().length > 0) return list.addresses(problems);
  const address = single === '' ? undefined : spec.at('clusterIP').address(problems);
  return address === undefined ? [] : [address];
}

function loadBalancerIPs(root: Reader, problems: ParseProblem[]): ServiceRow['loadBalancerIPs'] {
  const ingress = root.at('status', 'loadBalancer', 'ingress').list();
  const ips = ingress.map(item => item.at('ip')).filter(ip => !ip.absent);
  return ips.map(ip => ip.address(problems)).filter(address => address !== undefined);
}

function servicePort(port: Reader): ServicePortRow {
  return {
    name: port.at('name').text(''),
    port: port.at('port').integer(1, 65_535),
    protocol: port.at('protocol').choice(protocols, 'TCP'),
    nodePort: port.at('nodePort').integer(0, 65_535, 0),
  };
}

function affinityTimeout(spec: Reader): number {
  if (spec.at('sessionAffinity').text('None') !== 'ClientIP') return 0;
  return spec.at('sessionAffinityConfig', 'clientIP', 'timeoutSeconds').integer(1, 86_400, defaultAffinitySeconds);
}
