import { intern } from '@ciliate/tables';
import { type Prefix, tryParsePrefix } from '../address.ts';
import { compactList, sharedPorts } from '../compact.ts';
import { type Labels, sameLabels } from '../labels.ts';
import type { Protocol, ServicePortRow, ServiceRow, ServiceType } from '../rows.ts';
import { parseSelector } from '../selector.ts';
import { ownAnnotations } from './own-annotations.ts';
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
    const annotations = root.at('metadata', 'annotations').labels();
    const labels = root.at('metadata', 'labels').labels();
    return {
      namespace: root.at('metadata', 'namespace').text(),
      name: intern(root.at('metadata', 'name').text()),
      uid: root.at('metadata', 'uid').text(''),
      type: spec.at('type').choice(types, 'ClusterIP'),
      labels,
      selector: selectorOf(spec, labels),
      clusterIPs: clusterIPs(spec, problems),
      externalIPs: spec.at('externalIPs').addresses(problems),
      loadBalancerIPs: compactList(loadBalancerIPs(root, problems)),
      ports: sharedPorts(spec.at('ports').list().map(servicePort)),
      externalTrafficPolicy: spec.at('externalTrafficPolicy').choice(policies, 'Cluster'),
      internalTrafficPolicy: spec.at('internalTrafficPolicy').choice(policies, 'Cluster'),
      affinityTimeout: affinityTimeout(spec),
      headless: headlessLabel in labels || spec.at('clusterIP').text('') === 'None',
      healthCheckNodePort: spec.at('healthCheckNodePort').integer(0, 65_535, 0),
      sourceRanges: compactList(sourceRanges(spec, annotations, problems)),
      loadBalancerClass: spec.at('loadBalancerClass').text(''),
      trafficDistribution: trafficDistribution(spec, annotations),
      ...annotated(annotations, problems),
      ...ownAnnotations(annotations, problems),
      created: Date.parse(root.at('metadata', 'creationTimestamp').text('')) || 0,
    };
  });
}

/** Nearly always the service's labels say the same: one object for both. */
function selectorOf(spec: Reader, labels: Labels): Labels {
  const selector = spec.at('selector').labels();
  return sameLabels(selector, labels) ? labels : selector;
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
  // An address with ipMode Proxy is served by a load balancer in front of us, not by the node.
  const ips = ingress
    .filter(item => item.at('ipMode').text('VIP') !== 'Proxy')
    .map(item => item.at('ip'))
    .filter(ip => !ip.absent);
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

const headlessLabel = 'service.kubernetes.io/headless';
const prefix = 'service.cilium.io/';

function sourceRanges(spec: Reader, annotations: Labels, problems: ParseProblem[]): readonly Prefix[] {
  const list = spec.at('loadBalancerSourceRanges').list();
  // The annotation is older than the field, and counts when that is absent.
  const text = annotations['service.beta.kubernetes.io/load-balancer-source-ranges'] ?? '';
  const texts = list.length > 0 ? list.map(item => item.text('').trim()) : text.split(',').map(part => part.trim());
  return texts
    .filter(one => one !== '')
    .flatMap(one => {
      const range = tryParsePrefix(one);
      if (range !== undefined) return [range];
      problems.push({
        field: 'spec.loadBalancerSourceRanges',
        message: `'${one}' is not an address prefix; it is left out`,
        remedy: 'write it as 10.0.0.0/8',
      });
      return [];
    });
}

/** PreferClose is the older name of PreferSameZone (Kubernetes 1.34); the annotation is older than the field. */
function trafficDistribution(spec: Reader, annotations: Labels): ServiceRow['trafficDistribution'] {
  const wanted = spec.at('trafficDistribution').text('');
  if (wanted === 'PreferSameNode') return 'PreferSameNode';
  if (wanted === 'PreferClose' || wanted === 'PreferSameZone') return 'PreferSameZone';
  const mode =
    annotations['service.kubernetes.io/topology-mode'] ?? annotations['service.kubernetes.io/topology-aware-hints'];
  return mode?.toLowerCase() === 'auto' ? 'PreferSameZone' : '';
}

type Annotated = Pick<
  ServiceRow,
  'sourceRangesDeny' | 'exposedType' | 'algorithm' | 'forwardingMode' | 'delegatesToProxy' | 'exposedNodes'
>;

/** Cilium's annotations. One that cannot be read is noted, and counts as absent. */
function annotated(annotations: Labels, problems: ParseProblem[]): Annotated {
  const choice = <Choice extends string>(name: string, allowed: readonly Choice[]): Choice | '' => {
    const value = annotations[`${prefix}${name}`];
    const found = allowed.find(one => one.toLowerCase() === value?.toLowerCase());
    if (value !== undefined && found === undefined) {
      problems.push({
        field: `metadata.annotations.${prefix}${name}`,
        message: `'${value}' is not known; it is left out`,
        remedy: `use one of ${allowed.join(', ')}`,
      });
    }
    return found ?? '';
  };
  // Between the clusters of a mesh: with one cluster every value means the same.
  choice('affinity', ['none', 'local', 'remote']);
  return {
    sourceRangesDeny: choice('src-ranges-policy', ['allow', 'deny']) === 'deny',
    exposedType: choice('type', ['ClusterIP', 'NodePort', 'LoadBalancer']),
    algorithm: choice('lb-algorithm', ['random', 'maglev']),
    forwardingMode: choice('forwarding-mode', ['snat', 'dsr']),
    delegatesToProxy: choice('proxy-delegation', ['none', 'delegate-if-local']) === 'delegate-if-local',
    exposedNodes: exposedNodes(annotations, problems),
  };
}

/** service.cilium.io/node names one by its label service.cilium.io/node; node-selector is a label selector. */
function exposedNodes(annotations: Labels, problems: ParseProblem[]): ServiceRow['exposedNodes'] {
  const selector = annotations[`${prefix}node-selector`];
  if (selector !== undefined) {
    try {
      return parseSelector(selector);
    } catch (error) {
      problems.push({
        field: `metadata.annotations.${prefix}node-selector`,
        message: `${error instanceof Error ? error.message : String(error)}; it is left out`,
        remedy: 'write a label selector',
      });
      return undefined;
    }
  }
  const node = annotations[`${prefix}node`];
  return node === undefined ? undefined : { matchLabels: { [`${prefix}node`]: node } };
}
