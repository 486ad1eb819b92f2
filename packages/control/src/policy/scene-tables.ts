/** What a node knows, as a scene: policies are compiled anew, beside the incremental compiler. */
import { auditedBy, hostEndpoint, policyKey, type Tables } from '@ciliate/model';
import { PolicyScene, type SceneInput, type Somebody } from './scene.ts';
import { portNumbers } from './scene-objects.ts';
import { serviceIdentities } from './service-peers.ts';

export type TableScene = Pick<SceneInput, 'mode' | 'allowLocalHost' | 'dualStack' | 'now'> & {
  readonly nodeName: string;
};

export function sceneFromTables(tables: Tables, { nodeName, ...settings }: TableScene): PolicyScene {
  const { policies, ciliumPolicies, clusterwidePolicies, cidrGroups, nodes, namespaces, addressBlocks } = tables;
  const own = Object.entries(nodes.get(nodeName)?.labels ?? {}).map(([key, value]) => [`k8s:${key}`, value] as const);
  const all = [...policies.all(), ...ciliumPolicies.all(), ...clusterwidePolicies.all()].map(row =>
    auditedBy(row, namespaces.get(row.namespace)),
  );
  return new PolicyScene({
    ...settings,
    pods: [...localPods(tables), ...remotePods(tables)],
    policies: all.toSorted((a, b) => (policyKey(a) < policyKey(b) ? -1 : 1)),
    cidrGroups: cidrGroups.all(),
    serviceIdentities: peer => serviceIdentities(tables, peer),
    hostLabels: Object.fromEntries(own),
    blocks: addressBlocks.all(),
  });
}

function localPods({ endpoints, pods }: Tables): readonly Somebody[] {
  return endpoints
    .all()
    .filter(row => row.kind === 'pod')
    .map(({ podNamespace, podName, identity, labels, addresses }) => {
      const name = `${podNamespace}/${podName}`;
      const namedPorts = portNumbers(pods.get(name)?.namedPorts ?? {});
      return { name, kind: 'pod', identity, labels, addresses, namedPorts };
    });
}

function remotePods({ remoteEndpoints, identities, endpoints }: Tables): readonly Somebody[] {
  return remoteEndpoints
    .all()
    .filter(({ namespace, name }) => endpoints.by('pod', `${namespace}/${name}`).length === 0)
    .map(({ namespace, name, addresses, identity, namedPorts }) => ({
      name: `${namespace}/${name}`,
      kind: 'pod',
      identity,
      labels: identities.get(String(identity))?.labels ?? {},
      addresses,
      namedPorts: portNumbers(namedPorts),
    }));
}

/** Group that judges somebody of this node; undefined: nobody of this node. */
export function groupOf(
  { endpoints, endpointPolicies }: Tables,
  { kind, name, addresses }: Somebody,
): number | undefined {
  if (kind === 'reserved') return name === 'host' ? endpointPolicies.get(hostEndpoint)?.group : undefined;
  const [row] = addresses.flatMap(address => endpoints.by('address', address));
  return row === undefined ? undefined : endpointPolicies.get(String(row.id))?.group;
}
