/** What would change: flows between everybody, judged before and after. */
import {
  type PolicyDirectionName,
  type PolicyRow,
  policyKey,
  reservedIdentities,
  ruleReferenceText,
} from '@ciliate/model';
import { appliedRules } from './compile-group.ts';
import { portText, protocolText } from './explain-terms.ts';
import { outsideSamples, portsOfPolicies, unnamedPort } from './policy-test.ts';
import type { PolicyScene, Somebody } from './scene.ts';
import type { PortNumber } from './scene-names.ts';

export interface VerdictChange {
  /** Names of those who are judged alike. */
  readonly from: readonly string[];
  readonly to: readonly string[];
  /** '80/TCP'; 'other/TCP': all that nobody names. */
  readonly ports: readonly string[];
  readonly becomes: 'allowed' | 'denied';
  /** What decides after the change. */
  readonly rule: string;
}

export interface RecordedFlow {
  readonly from: Somebody;
  readonly to: Somebody;
  readonly protocol: number;
  readonly port: number;
}

/** Somebody, and who else has the same identity and named ports. */
interface Kind {
  readonly one: Somebody;
  readonly names: string[];
}

/** Both scenes have the same pods. */
export function policyDiff(before: PolicyScene, after: PolicyScene): readonly VerdictChange[] {
  const changed = changedPolicies(before, after);
  const everybody = kindsOf(before, after);
  const ports = probePorts(before, after);
  const found = new Map<string, { readonly change: VerdictChange; readonly ports: Set<string> }>();
  for (const subject of everybody) {
    if (!after.hasPolicy(subject.one) || !isAbout(changed, subject.one)) continue;
    for (const direction of ['egress', 'ingress'] as const) {
      for (const peer of everybody) {
        if (peer === subject && peer.names.length === 1) continue;
        const [from, to] = direction === 'egress' ? [subject, peer] : [peer, subject];
        for (const port of ports) {
          const decided = changeOf(before, after, { from: from.one, to: to.one, ...port });
          if (decided === undefined) continue;
          const key = JSON.stringify([from.names, to.names, decided]);
          const known = found.get(key) ?? {
            change: { from: from.names, to: to.names, ports: [], ...decided },
            ports: new Set<string>(),
          };
          known.ports.add(shownPort(port));
          found.set(key, known);
        }
      }
    }
  }
  return [...found.values()].map(({ change, ports: names }) => ({ ...change, ports: [...names] }));
}

function shownPort({ protocol, port }: PortNumber): string {
  return port === unnamedPort ? `other/${protocolText(protocol)}` : portText(protocol, port);
}

export interface FlowChange extends RecordedFlow, Pick<VerdictChange, 'becomes' | 'rule'> {}

/** Of flows that have been seen: those whose verdict would be another. */
export function changedFlows(
  before: PolicyScene,
  after: PolicyScene,
  flows: readonly RecordedFlow[],
): readonly FlowChange[] {
  return flows.flatMap(flow => {
    const decided = changeOf(before, after, flow);
    return decided === undefined ? [] : [{ ...flow, ...decided }];
  });
}

function changeOf(
  before: PolicyScene,
  after: PolicyScene,
  { from, to, protocol, port }: RecordedFlow,
): Pick<VerdictChange, 'becomes' | 'rule'> | undefined {
  const [was, is] = [before, after].map(scene => scene.allows(from, to, protocol, port));
  if (was === is) return undefined;
  const sides = (scene: PolicyScene) => [
    scene.side('egress', from, to, protocol, port),
    scene.side('ingress', to, from, protocol, port),
  ];
  const [old, now] = [sides(before), sides(after)];
  // What decides: the side that denies now, or the one that does no longer.
  const index = (is === true ? old : now).findIndex(side => !side.allowed);
  const side = now[index];
  return {
    becomes: is === true ? 'allowed' : 'denied',
    rule: side === undefined ? '' : ruleReferenceText(side.reference),
  };
}

function changedPolicies(before: PolicyScene, after: PolicyScene): readonly PolicyRow[] {
  const [old, now] = [before, after].map(scene => new Map(scene.input.policies.map(row => [policyKey(row), row])));
  const keys = new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])]);
  return [...keys].flatMap(key => {
    const [a, b] = [old?.get(key), now?.get(key)];
    if (JSON.stringify(rulesOf(a)) === JSON.stringify(rulesOf(b))) return [];
    return [a, b].flatMap(row => row ?? []);
  });
}

function rulesOf(row: PolicyRow | undefined): unknown {
  return row === undefined ? undefined : [row.rules, row.refused, row.audit];
}

function isAbout(policies: readonly PolicyRow[], { labels, identity, namedPorts }: Somebody): boolean {
  return appliedRules(policies, { labels, host: identity === reservedIdentities.host, namedPorts }).length > 0;
}

/** Judged alike in both scenes. */
function kindsOf(before: PolicyScene, after: PolicyScene): readonly Kind[] {
  const kinds = new Map<string, Kind>();
  const isAsked = (name: string) =>
    ['host', 'remote-node', 'kube-apiserver'].includes(name) || name.startsWith('world');
  const others = after.reserved().filter(({ name }) => isAsked(name));
  const outside = new Map([before, after].flatMap(outsideSamples).map(one => [one.name, one]));
  for (const one of [...after.input.pods, ...others, ...after.nodes(), ...outside.values()]) {
    const own = one.kind === 'outside' ? one.name : one.identity;
    const key = JSON.stringify([own, [...one.namedPorts], before.classOf(one), after.classOf(one)]);
    const known = kinds.get(key);
    if (known === undefined) kinds.set(key, { one, names: [one.name] });
    else known.names.push(one.name);
  }
  return [...kinds.values()];
}

function probePorts(...scenes: readonly PolicyScene[]): readonly PortNumber[] {
  const found = new Map<string, PortNumber>();
  for (const one of scenes.flatMap(portsOfPolicies)) found.set(`${one.protocol}/${one.port}`, one);
  return [...found.values()];
}

/** Ways to a node that a policy for nodes must not close. */
export interface NodeAccess {
  readonly apiServerPort: number;
  /** The SSH session in which the command runs. */
  readonly ssh: { readonly client: Somebody; readonly port: number } | undefined;
}

export interface LockOut {
  /** 'the kubelet (10250/TCP) from remote-node' */
  readonly way: string;
  readonly rule: string;
}

const kubeletPort = 10_250;

/** Ways to and from this node that are open before and closed after. */
export function lockOuts(before: PolicyScene, after: PolicyScene, access: NodeAccess): readonly LockOut[] {
  const node = after.reservedOne('host');
  const [other, apiServer] = [after.reservedOne('remote-node'), after.reservedOne('kube-apiserver')];
  const ways: readonly (readonly [string, PolicyDirectionName, Somebody, number])[] = [
    ['the kubelet', 'ingress', apiServer, kubeletPort],
    ['the kubelet', 'ingress', other, kubeletPort],
    ['the API server of this node', 'ingress', other, access.apiServerPort],
    ['the API server', 'egress', apiServer, access.apiServerPort],
    ['the API server', 'egress', apiServer, 443],
    ...(access.ssh === undefined ? [] : [['this SSH session', 'ingress', access.ssh.client, access.ssh.port] as const]),
  ];
  return ways.flatMap(([what, direction, peer, port]) => {
    if (!before.side(direction, node, peer, 6, port).allowed) return [];
    const { allowed, reference } = after.side(direction, node, peer, 6, port);
    if (allowed) return [];
    const way = `${what} (${port}/TCP) ${direction === 'ingress' ? 'from' : 'at'} ${peer.name}`;
    return [{ way, rule: ruleReferenceText(reference) }];
  });
}
