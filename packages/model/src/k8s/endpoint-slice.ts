import { intern } from '@ciliate/tables';
import { compactList, sharedList, sharedPorts } from '../compact.ts';
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
      service: intern(root.at('metadata', 'labels').labels()['kubernetes.io/service-name'] ?? ''),
      family,
      ports: sharedPorts(root.at('ports').list().flatMap(slicePort)),
      endpoints: compactList(
        root
          .at('endpoints')
          .list()
          .flatMap(endpoint => sliceEndpoints(endpoint, problems)),
      ),
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

function sliceEndpoints(endpoint: Reader, problems: ParseProblem[]): readonly SliceEndpoint[] {
  const conditions = endpoint.at('conditions');
  const target = endpoint.at('targetRef');
  const isPod = target.at('kind').text('') === 'Pod';
  const addresses = endpoint.at('addresses').addresses(problems);
  const [nodeName, zone] = [intern(endpoint.at('nodeName').text('')), intern(endpoint.at('zone').text(''))];
  return addresses
    .filter(address => address !== placeholder)
    .map(address => ({
      address,
      // Absent conditions: ready and serving count as true, terminating as false (EndpointConditions, discovery/v1).
      ready: conditions.at('ready').boolean(true),
      serving: conditions.at('serving').boolean(true),
      terminating: conditions.at('terminating').boolean(false),
      nodeName,
      zone,
      zoneHints: hints(endpoint.at('hints', 'forZones')),
      nodeHints: hints(endpoint.at('hints', 'forNodes')),
      targetPod: isPod ? `${target.at('namespace').text('')}/${target.at('name').text('')}` : '',
    }));
}

function hints(list: Reader): readonly string[] | undefined {
  return list.absent ? undefined : sharedList(list.list().map(item => item.at('name').text('')));
}
