import type { EndpointSliceRow, SliceEndpoint } from '../rows.ts';
import { type Parsed, type ParseProblem, parsing } from './parsed.ts';
import { Reader } from './reader.ts';
import { protocols } from './service.ts';

/**
 * A discovery.k8s.io/v1 EndpointSlice. Addresses that cannot be read are noted and left out; one of the other family than the slice's,
 * which the API does not allow, counts as what it is. A slice of no service has '' as its service; one of type FQDN is an error.
 */
export function endpointSliceFromK8s(object: unknown): Parsed<EndpointSliceRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const family = root.at('addressType').choice(['IPv4', 'IPv6'], 'IPv4');
    return {
      namespace: root.at('metadata', 'namespace').text(),
      name: root.at('metadata', 'name').text(),
      service: root.at('metadata', 'labels').labels()['kubernetes.io/service-name'] ?? '',
      family,
      ports: root.at('ports').list().flatMap(slicePort),
      endpoints: root
        .at('endpoints')
        .list()
        .map(endpoint => sliceEndpoint(endpoint, problems))
        .filter(endpoint => endpoint.addresses.length > 0),
    };
  });
}

/** A port without number means all ports: nothing that a load balancer could use. */
function slicePort(port: Reader): EndpointSliceRow['ports'] {
  if (port.at('port').absent) return [];
  return [
    {
      name: port.at('name').text(''),
      port: port.at('port').integer(1, 65_535),
      protocol: port.at('protocol').choice(protocols, 'TCP'),
    },
  ];
}

/** What Cilium's operator writes for services that its proxy serves: nobody is there. */
const placeholder = '192.192.192.192';

function sliceEndpoint(endpoint: Reader, problems: ParseProblem[]): SliceEndpoint {
  const conditions = endpoint.at('conditions');
  const target = endpoint.at('targetRef');
  const isPod = target.at('kind').text('') === 'Pod';
  const addresses = endpoint.at('addresses').addresses(problems);
  return {
    addresses: addresses.filter(address => address !== placeholder),
    // Absent conditions: ready and serving count as true, terminating as false (EndpointConditions, discovery/v1).
    ready: conditions.at('ready').boolean(true),
    serving: conditions.at('serving').boolean(true),
    terminating: conditions.at('terminating').boolean(false),
    nodeName: endpoint.at('nodeName').text(''),
    zone: endpoint.at('zone').text(''),
    zoneHints: hints(endpoint.at('hints', 'forZones')),
    nodeHints: hints(endpoint.at('hints', 'forNodes')),
    targetPod: isPod ? `${target.at('namespace').text('')}/${target.at('name').text('')}` : '',
  };
}

function hints(list: Reader): readonly string[] | undefined {
  return list.absent ? undefined : list.list().map(item => item.at('name').text(''));
}
