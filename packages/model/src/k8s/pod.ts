import { readAudit } from '../policy/audit.ts';
import type { NamespaceRow, PodRow } from '../rows.ts';
import { type Parsed, type ParseProblem, parsing } from './parsed.ts';
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
    const staticUid = root.at('metadata', 'annotations').labels()['kubernetes.io/config.mirror'];
    return {
      namespace: root.at('metadata', 'namespace').text(),
      name: root.at('metadata', 'name').text(),
      uid: root.at('metadata', 'uid').text(''),
      ...(staticUid === undefined ? {} : { staticUid }),
      nodeName: root.at('spec', 'nodeName').text(''),
      labels: root.at('metadata', 'labels').labels(),
      serviceAccount: root.at('spec', 'serviceAccountName').text('default') || 'default',
      podIPs: ips.flatMap(ip => (ip.text('') === '' ? [] : (ip.address(problems) ?? []))),
      hostNetwork: root.at('spec', 'hostNetwork').boolean(false),
      phase: status.at('phase').text('Pending'),
      namedPorts: namedPorts(root),
      ready: isReady(status),
      hostPorts: hostPorts(root, problems),
    };
  });
}

/** Whether the pod is the one that the runtime calls so; '' = it does not say. Another one of the name has been, or is to come. */
export function isPodOf({ uid, staticUid }: Pick<PodRow, 'uid' | 'staticUid'>, runtimeUid: string): boolean {
  return runtimeUid === '' || uid === '' || uid === runtimeUid || staticUid === runtimeUid;
}

/** A core/v1 Namespace. */
export function namespaceFromK8s(object: unknown): Parsed<NamespaceRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const audit = readAudit(root, problems);
    const row = { name: root.at('metadata', 'name').text(), labels: root.at('metadata', 'labels').labels() };
    return audit === 'off' ? row : { ...row, audit };
  });
}

function isReady(status: Reader): boolean {
  const ready = status
    .at('conditions')
    .list()
    .find(condition => condition.at('type').text('') === 'Ready');
  return ready?.at('status').text('') === 'True';
}

function hostPorts(root: Reader, problems: ParseProblem[]): PodRow['hostPorts'] {
  const containers = [...root.at('spec', 'initContainers').list(), ...root.at('spec', 'containers').list()];
  const ports = containers.flatMap(container => container.at('ports').list());
  return ports
    .filter(port => port.at('hostPort').integer(0, 65_535, 0) > 0)
    .flatMap(port => {
      const ip = port.at('hostIP');
      const isAny = ['', '0.0.0.0', '::'].includes(ip.text(''));
      const hostIP = isAny ? undefined : ip.address(problems);
      // Who asks for an address that cannot be read does not ask for every one.
      if (!isAny && hostIP === undefined) return [];
      return [
        {
          hostPort: port.at('hostPort').integer(1, 65_535),
          hostIP,
          containerPort: port.at('containerPort').integer(1, 65_535),
          protocol: port.at('protocol').choice(protocols, 'TCP'),
        },
      ];
    });
}

/** Ports of the containers that have a name. Of two with one name the first counts. */
function namedPorts(root: Reader): PodRow['namedPorts'] {
  const named: Record<string, PodRow['namedPorts'][string]> = {};
  // Init containers that run on (sidecars) serve ports like any other.
  for (const container of [...root.at('spec', 'initContainers').list(), ...root.at('spec', 'containers').list()]) {
    for (const port of container.at('ports').list()) {
      const name = port.at('name').text('');
      if (name === '' || Object.hasOwn(named, name)) continue;
      named[name] = {
        port: port.at('containerPort').integer(1, 65_535),
        protocol: port.at('protocol').choice(protocols, 'TCP'),
      };
    }
  }
  return named;
}
