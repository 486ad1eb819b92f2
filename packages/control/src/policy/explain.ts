/** Why a flow is allowed or denied: the rule that made it so; for default denies who isolates, what came nearest and what would help. */
import {
  matchesTerms,
  type PolicyDirectionName,
  type PolicyReference,
  type PolicyRow,
  type PolicyRule,
  policyReference,
  type RuleReference,
  reservedIdentities,
  ruleReference,
  ruleReferenceText,
  type TrafficRule,
} from '@ciliate/model';
import { allowingPolicy } from './allow-yaml.ts';
import { failedPeer, failedPort, failedTerms, portText } from './explain-terms.ts';
import type { PolicyScene, Somebody } from './scene.ts';

export interface FlowExplanation {
  readonly from: string;
  readonly to: string;
  /** '5432/TCP' */
  readonly port: string;
  readonly allowed: boolean;
  /** Egress of `from`, then ingress of `to`. */
  readonly sides: readonly SideExplanation[];
}

export interface SideExplanation {
  readonly direction: PolicyDirectionName;
  readonly subject: string;
  /** False: no policy can be about it here (an address outside, another node). */
  readonly hasPolicy: boolean;
  readonly allowed: boolean;
  /** It would be denied, were that not only reported. */
  readonly audit: boolean;
  readonly reference: RuleReference;
  /** The reference in words. */
  readonly rule: string;
  /** Default deny: policies that isolate the subject. */
  readonly isolatedBy: readonly PolicyReference[];
  /** Default deny: the allow rule with the fewest parts that do not fit. */
  readonly nearest: NearestRule | undefined;
  /** Denied: what to do; for a default deny the smallest policy that would allow it. */
  readonly remedy: string | undefined;
  readonly yaml: string | undefined;
}

export interface NearestRule {
  readonly rule: string;
  readonly failed: readonly string[];
}

export function explainFlow(
  scene: PolicyScene,
  from: Somebody,
  to: Somebody,
  protocol: number,
  port: number,
): FlowExplanation {
  const flow = { protocol, port };
  const sides = [explainSide(scene, 'egress', from, to, flow), explainSide(scene, 'ingress', to, from, flow)];
  return {
    from: from.name,
    to: to.name,
    port: portText(protocol, port),
    allowed: sides.every(side => side.allowed),
    sides,
  };
}

interface FlowPort {
  readonly protocol: number;
  readonly port: number;
}

export function explainSide(
  scene: PolicyScene,
  direction: PolicyDirectionName,
  subject: Somebody,
  peer: Somebody,
  flow: FlowPort,
): SideExplanation {
  const { allowed, audit, reference } = scene.side(direction, subject, peer, flow.protocol, flow.port);
  const isDefault = reference.kind === 'default-deny';
  const about = {
    direction,
    subject: subject.name,
    hasPolicy: scene.hasPolicy(subject),
    allowed,
    audit,
    reference,
    rule: ruleReferenceText(reference),
    isolatedBy: isDefault ? reference.policies : [],
  };
  if (allowed && !audit) return { ...about, nearest: undefined, remedy: undefined, yaml: undefined };
  if (!isDefault) {
    const remedy = `a deny rule wins over every allow rule: narrow or remove ${about.rule}`;
    return { ...about, nearest: undefined, remedy, yaml: undefined };
  }
  return {
    ...about,
    nearest: nearestRule(scene, direction, subject, peer, flow),
    remedy: 'apply the policy below, or widen a rule',
    yaml: allowingPolicy(scene, { direction, subject, peer, ...flow }, reference.policies),
  };
}

interface Candidate {
  readonly policy: PolicyRow;
  readonly rule: PolicyRule;
  readonly traffic: TrafficRule;
}

/** Of the allow rules, those about somebody else too: perhaps only their selector is wrong. */
function nearestRule(
  scene: PolicyScene,
  direction: PolicyDirectionName,
  subject: Somebody,
  peer: Somebody,
  { protocol, port }: FlowPort,
): NearestRule | undefined {
  const named = direction === 'ingress' ? subject.namedPorts : peer.namedPorts;
  let best: { readonly rule: string; readonly failed: readonly string[]; readonly cost: number } | undefined;
  for (const { policy, rule, traffic } of candidates(scene, direction, subject)) {
    const selector = failedTerms(rule.subject, subject.labels).map(text => `it selects ${text}`);
    const who = direction === 'ingress' ? 'from' : 'to';
    const peers = failedPeer(traffic, peer, scene.context).map(text => `${who} ${text}`);
    const failed = [...selector, ...peers, ...failedPort(traffic, protocol, port, named)];
    // A rule about the subject is nearer than one that is not.
    const cost = failed.length + selector.length * 2;
    if (failed.length === 0 || (best !== undefined && best.cost <= cost)) continue;
    best = { rule: ruleReferenceText(ruleReference(policy, rule, traffic, direction)), failed, cost };
  }
  return best === undefined ? undefined : { rule: best.rule, failed: best.failed };
}

function* candidates(
  { input }: PolicyScene,
  direction: PolicyDirectionName,
  subject: Somebody,
): IterableIterator<Candidate> {
  const host = subject.identity === reservedIdentities.host;
  for (const policy of input.policies) {
    if (policy.refused.length > 0) continue;
    for (const rule of policy.rules) {
      if (rule.host !== host) continue;
      for (const traffic of rule[direction]) if (!traffic.deny) yield { policy, rule, traffic };
    }
  }
}

/** Policies that are about somebody. */
export function policiesOf(scene: PolicyScene, subject: Somebody): readonly PolicyReference[] {
  const host = subject.identity === reservedIdentities.host;
  return scene.input.policies
    .filter(policy => policy.rules.some(rule => rule.host === host && matchesTerms(rule.subject, subject.labels)))
    .map(policyReference);
}
