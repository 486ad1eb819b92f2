import type { NamespaceRow, PodRow } from '../rows.ts';
import { type Parsed, parsing } from './parsed.ts';
import { Reader } from './reader.ts';
import { protocols } from './service.ts';

/** A core/v1 Pod. */
export function podFromK8s(object: unknown): Parsed<PodRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const status = root.at('status');
    const several = status
      .at('podIPs')
      .list()
      .map(item => item.at('ip'));
    const ips = several.length > 0 ? several : [status.at('podIP')];
    return {
      namespace: root.at('metadata', 'namespace').text(),
      name: root.at('metadata', 'name').text(),
      uid: root.at('metadata', 'uid').text(''),
      nodeName: root.at('spec', 'nodeName').text(''),
      labels: root.at('metadata', 'labels').labels(),
      serviceAccount: root.at('spec', 'serviceAccountName').text('default') || 'default',
      podIPs: ips.flatMap(ip => (ip.text('') === '' ? [] : (ip.address(problems) ?? []))),
      hostNetwork: root.at('spec', 'hostNetwork').boolean(false),
      phase: status.at('phase').text('Pending'),
      namedPorts: namedPorts(root),
    };
  });
}

/** A core/v1 Namespace. */
export function namespaceFromK8s(object: unknown): Parsed<NamespaceRow> {
  return parsing(() => {
    const root = new Reader(object);
    return { name: root.at('metadata', 'name').text(), labels: root.at('metadata', 'labels').labels() };
  });
}

/** Ports of the containers that have a name. Of two with one name the first counts. */
function namedPorts(root: Reader): PodRow['namedPorts'] {
  const named: Record<string, PodRow['namedPorts'][string]> = {};
  // Init containers that run on (sidecars) serve ports like any other.
  for (const container of [...root.at('spec', 'initContainers').list(), ...root.at('spec', 'containers').list()]) {
    for (const port of container.at('ports').list()) {
      const name = port.at('name').text('');
      if (name === '' || named[name] !== undefined) continue;
      named[name] = {
        port: port.at('containerPort').integer(1, 65_535),
        protocol: port.at('protocol').choice(protocols, 'TCP'),
      };
    }
  }
  return named;
}
