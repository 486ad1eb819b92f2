/** What a node knows, as a scene: policies are compiled anew, beside the incremental compiler. */
import {
  auditedBy,
  hostEndpoint,
  type LabelFilter,
  type Labels,
  policyKey,
  reservedIdentities,
  type Tables,
} from '@ciliate/model';
import { apiServerAddresses } from '../network/api-servers.ts';
import { peerNode } from './address-sources.ts';
import { PolicyScene, type SceneInput, type Somebody } from './scene.ts';
import { portNumbers } from './scene-objects.ts';
import { peerKey } from './selector-cache.ts';
import { noTargets } from './service-peers.ts';

export type TableScene = Pick<
  SceneInput,
  'mode' | 'allowLocalHost' | 'dualStack' | 'now' | 'clusterName' | 'cidrMatchesNodes'
> & {
  readonly nodeName: string;
  readonly nodeLabels: LabelFilter;
};

export function sceneFromTables(tables: Tables, { nodeName, nodeLabels, ...settings }: TableScene): PolicyScene {
  const { policies, ciliumPolicies, clusterwidePolicies, cidrGroups, nodes, namespaces } = tables;
  const own = Object.entries(nodes.get(nodeName)?.labels ?? {}).map(([key, value]) => [`k8s:${key}`, value] as const);
  const all = [...policies.all(), ...ciliumPolicies.all(), ...clusterwidePolicies.all()].map(row =>
    auditedBy(row, namespaces.get(row.namespace)),
  );
  const servers = apiServerAddresses(tables.endpointSlices);
  const kept = (labels: Labels) =>
    Object.fromEntries(Object.entries(labels).filter(([key]) => nodeLabels.keeps('node', key)));
  return new PolicyScene({
    ...settings,
    pods: [...localPods(tables), ...remotePods(tables)],
    policies: all.toSorted((a, b) => (policyKey(a) < policyKey(b) ? -1 : 1)),
    cidrGroups: cidrGroups.all(),
    serviceTargets: peer => tables.serviceTargets.get(peerKey(peer)) ?? noTargets,
    hostLabels: Object.fromEntries(own),
    nodes: nodes.all().map(row => peerNode({ ...row, labels: kept(row.labels) }, tables, servers)),
    numbers: {
      blocks: tables.addressBlocks.all(),
      classes: tables.addressClasses.all(),
      identities: tables.identities.all().filter(({ reserved }) => !reserved),
    },
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
  { kind, identity, addresses }: Somebody,
): number | undefined {
  if (kind === 'reserved')
    return identity === reservedIdentities.host ? endpointPolicies.get(hostEndpoint)?.group : undefined;
  const [row] = addresses.flatMap(address => endpoints.by('address', address));
  return row === undefined ? undefined : endpointPolicies.get(String(row.id))?.group;
}
