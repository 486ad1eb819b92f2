/** A scene over the wire: what an agent knows, for tools that ask about it. */
import type { CidrGroupRow, PolicyRow } from '@ciliate/model';
import { PolicyScene, type SceneInput, type Somebody } from './scene.ts';
import { peerKey } from './selector-cache.ts';
import { noTargets, type ServiceTargets, servicePeersOf } from './service-peers.ts';

export interface SceneJson extends Omit<SceneInput, 'pods' | 'serviceTargets' | 'numbers'> {
  readonly pods: readonly (Omit<Somebody, 'namedPorts'> & {
    readonly namedPorts: readonly (readonly [string, readonly number[]])[];
  })[];
  /** Service references of policies, and whom they stand for. */
  readonly services: readonly (readonly [string, ServiceTargets])[];
}

export function sceneToJson({ input }: PolicyScene): SceneJson {
  const { pods, serviceTargets, numbers: _own, ...rest } = input;
  const services = new Map(rest.policies.flatMap(servicePeersOf).map(peer => [peerKey(peer), serviceTargets(peer)]));
  return { ...rest, pods: pods.map(pod => ({ ...pod, namedPorts: [...pod.namedPorts] })), services: [...services] };
}

/** Numbers of address blocks are the scene's own: other policies may name others. */
export function sceneFromJson(json: SceneJson): PolicyScene {
  const { pods, services, ...rest } = json;
  const known = new Map(services);
  return new PolicyScene({
    ...rest,
    pods: pods.map(pod => ({ ...pod, namedPorts: new Map(pod.namedPorts) })),
    serviceTargets: peer => known.get(peerKey(peer)) ?? noTargets,
  });
}

/** The same people under other policies: those given replace what has the same key. */
export function withPolicies(
  scene: PolicyScene,
  policies: readonly PolicyRow[],
  groups: readonly CidrGroupRow[],
): PolicyScene {
  const { numbers: _own, ...input } = scene.input;
  const keyOf = ({ kind, namespace, name }: PolicyRow) => `${kind}/${namespace}/${name}`;
  const all = new Map([...input.policies, ...policies].map(policy => [keyOf(policy), policy]));
  const names = new Map([...input.cidrGroups, ...groups].map(group => [group.name, group]));
  return new PolicyScene({ ...input, policies: [...all.values()], cidrGroups: [...names.values()] });
}
