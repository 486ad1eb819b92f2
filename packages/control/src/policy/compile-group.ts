/** The policy map of one group of endpoints, from scratch. Deterministic: equal input, equal entries in equal order. */
import {
  type Labels,
  matchesTerms,
  type Peer,
  type PolicyMapEntry,
  type PolicyRow,
  type PolicyRule,
} from '@ciliate/model';
import { GroupCompiler, type RuleContext } from './group-compiler.ts';
import type { PeerIdentity } from './peers.ts';
import { peerKey } from './selector-cache.ts';

export type EnforcementMode = 'default' | 'always' | 'never';

/** Whom the map is for: endpoints with the same identity and the same named ports. */
export interface PolicySubject {
  readonly labels: Labels;
  readonly host: boolean;
  /** '6/http' → numbers. */
  readonly namedPorts: ReadonlyMap<string, readonly number[]>;
}

export interface CompileContext extends Omit<RuleContext, 'keyOf'> {
  /** Identities that a peer stands for. */
  readonly select: (peer: Peer) => Iterable<PeerIdentity>;
}

export interface CompiledGroup {
  readonly entries: readonly PolicyMapEntry[];
  readonly ingress: boolean;
  readonly egress: boolean;
  readonly usesClasses: boolean;
}

/** A rule about the subject. */
export interface AppliedRule {
  readonly policy: PolicyRow;
  readonly rule: PolicyRule;
}

/** Rules that select the subject. Refused policies are not enforced at all. */
export function appliedRules(policies: Iterable<PolicyRow>, subject: PolicySubject): readonly AppliedRule[] {
  const applied: AppliedRule[] = [];
  for (const policy of policies) {
    if (policy.refused.length > 0) continue;
    for (const rule of policy.rules) {
      if (rule.host === subject.host && matchesTerms(rule.subject, subject.labels)) applied.push({ policy, rule });
    }
  }
  return applied;
}

export function compileGroup(
  subject: PolicySubject,
  applied: readonly AppliedRule[],
  { select, ...context }: CompileContext,
): CompiledGroup {
  const compiler = new GroupCompiler(subject, applied, { ...context, keyOf: peerKey });
  const entries = [...partsOf(compiler, (_key, peer) => select(peer))].flatMap(([, part]) => part);
  const { ingress, egress, usesClasses } = compiler;
  return { entries, ingress, egress, usesClasses };
}

/** The entries about everybody whom the rules name. */
export function* partsOf(
  compiler: GroupCompiler,
  select: (key: string, peer: Peer) => Iterable<PeerIdentity>,
): IterableIterator<readonly [number, readonly PolicyMapEntry[]]> {
  const found = new Map<number, { readonly namedPorts: PeerIdentity['namedPorts']; readonly keys: Set<string> }>();
  for (const id of compiler.standing()) found.set(id, { namedPorts: noPorts, keys: new Set() });
  for (const [key, peer] of compiler.peers()) {
    for (const { id, namedPorts } of select(key, peer)) {
      const known = found.get(id);
      if (known === undefined) found.set(id, { namedPorts, keys: new Set([key]) });
      else found.set(id, { namedPorts, keys: known.keys.add(key) });
    }
  }
  for (const [id, { namedPorts, keys }] of found) yield [id, compiler.part({ id, namedPorts }, keys)];
}

const noPorts: PeerIdentity['namedPorts'] = new Map();
