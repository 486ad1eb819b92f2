/** The policy map of one group of endpoints, from scratch. Deterministic: equal input, equal entries in equal order. */
import { PolicyDirection, type PolicyEntry, PolicyFlags, type PolicyKey } from '@ciliate/abi';
import {
  isAudited,
  type Labels,
  matchesTerms,
  type Peer,
  type PolicyDirectionName,
  type PolicyRow,
  type PolicyRule,
  type PortRule,
  policyReference,
  type RuleReference,
  ruleReference,
  type TrafficRule,
} from '@ciliate/model';
import { type PolicyMapEntry, policyKeyText } from './lookup.ts';
import { asksClass, type PeerIdentity } from './peers.ts';
import { portPrefixes } from './port-prefixes.ts';
import { withAudits } from './with-audits.ts';

export type EnforcementMode = 'default' | 'always' | 'never';

/** Whom the map is for: endpoints with the same identity and the same named ports. */
export interface PolicySubject {
  readonly labels: Labels;
  readonly host: boolean;
  /** '6/http' → numbers. */
  readonly namedPorts: ReadonlyMap<string, readonly number[]>;
}

export interface CompileContext {
  readonly mode: EnforcementMode;
  /** Blocks of Cilium's policies hold nodes too. */
  readonly cidrMatchesNodes: boolean;
  /** Identities that a peer stands for. */
  readonly select: (peer: Peer) => Iterable<PeerIdentity>;
  readonly ruleId: (reference: RuleReference) => number;
  /** Milliseconds since 1970: audit ends at a time. */
  readonly now: number;
  /** The node's own processes (kubelet, probes) reach its pods, whatever policies say. */
  readonly allowLocalHost: boolean;
}

export interface CompiledGroup {
  readonly entries: readonly PolicyMapEntry[];
  /** A direction without anything to judge is left alone by the datapath. */
  readonly ingress: boolean;
  readonly egress: boolean;
  /** Some rule asks about addresses, not identities alone. */
  readonly usesClasses: boolean;
}

/** A rule about the subject. */
export interface AppliedRule {
  readonly policy: PolicyRow;
  readonly rule: PolicyRule;
}

const { POLICY_DENY, POLICY_DEFAULT, POLICY_AUDIT, POLICY_LOG } = PolicyFlags;
const hostIdentity = 1;

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
  context: CompileContext,
): CompiledGroup {
  if (context.mode === 'never') return { entries: [], ingress: false, egress: false, usesClasses: false };
  const ingress = new DirectionCompiler('ingress', subject, applied, context);
  const egress = new DirectionCompiler('egress', subject, applied, context);
  return {
    entries: [...ingress.entries(), ...egress.entries()],
    ingress: ingress.isJudged,
    egress: egress.isJudged,
    usesClasses: applied.some(({ rule }) =>
      [...rule.ingress, ...rule.egress].some(({ peers }) => peers?.some(peer => asksClass(peer, context))),
    ),
  };
}

/** Until its identity is known an endpoint is `init`, and isolated. */
function isInit(labels: Labels): boolean {
  return 'reserved:init' in labels;
}

class DirectionCompiler {
  readonly #name: PolicyDirectionName;
  readonly #direction: number;
  readonly #subject: PolicySubject;
  readonly #context: CompileContext;
  readonly #entries = new Map<string, PolicyMapEntry>();
  /** Deny rules that are only tried out. */
  readonly #audits: PolicyMapEntry[] = [];
  readonly #isolating: readonly PolicyRow[];
  readonly #isIsolated: boolean;

  constructor(
    name: PolicyDirectionName,
    subject: PolicySubject,
    applied: readonly AppliedRule[],
    context: CompileContext,
  ) {
    this.#name = name;
    this.#direction = PolicyDirection[name === 'ingress' ? 'POLICY_INGRESS' : 'POLICY_EGRESS'];
    this.#subject = subject;
    this.#context = context;
    this.#isolating = [...new Set(applied.filter(({ rule }) => rule.isolates[name]).map(({ policy }) => policy))];
    this.#isIsolated = this.#isolating.length > 0 || context.mode === 'always' || isInit(subject.labels);
    for (const { policy, rule } of applied) for (const traffic of rule[name]) this.#add(policy, rule, traffic);
    if (name === 'ingress' && this.#isIsolated && context.allowLocalHost && !subject.host) this.#allowHost();
  }

  get isJudged(): boolean {
    const denies = [...this.#entries.values()].some(([, value]) => (value.flags & POLICY_DENY) !== 0);
    return this.#isIsolated || denies || this.#audits.length > 0;
  }

  /** Ordered by key; the default goes last, unless a rule about everybody and everything has its place. */
  entries(): readonly PolicyMapEntry[] {
    if (!this.isJudged) return [];
    const byDefault = this.#default();
    const enforced = [...this.#entries.values()].filter(entry => !this.#isCovered(entry));
    const isDenied = (byDefault[1].flags & (POLICY_DENY | POLICY_AUDIT)) === POLICY_DENY;
    const kept = withAudits(
      enforced,
      this.#audits.filter(entry => !this.#isCovered(entry)),
      isDenied,
    );
    const hasOwn = kept.some(([key]) => policyKeyText(key) === policyKeyText(byDefault[0]));
    return [...kept.toSorted(([a], [b]) => compareKeys(a, b)), ...(hasOwn ? [] : [byDefault])];
  }

  #default(): PolicyMapEntry {
    const { ruleId, now } = this.#context;
    const direction = this.#name;
    if (!this.#isIsolated) {
      return this.#entry(0, 0, 0, 0, ruleId({ kind: 'default-allow', direction }), POLICY_DEFAULT);
    }
    const policies = this.#isolating.map(policyReference);
    const audited = policies.length > 0 && this.#isolating.every(policy => isAudited(policy.audit, now));
    const flags = POLICY_DENY | POLICY_DEFAULT | (audited ? POLICY_AUDIT : 0);
    return this.#entry(0, 0, 0, 0, ruleId({ kind: 'default-deny', direction, policies }), flags);
  }

  #allowHost(): void {
    const id = this.#context.ruleId({ kind: 'local-host', direction: this.#name });
    this.#put(this.#entry(hostIdentity, 0, 0, 0, id, 0));
  }

  #add(policy: PolicyRow, rule: PolicyRule, traffic: TrafficRule): void {
    // Before anything is counted: a rule id is for a rule that has entries.
    if (traffic.peers?.length === 0 || traffic.ports?.length === 0) return;
    const ruleId = this.#context.ruleId(ruleReference(policy, rule, traffic, this.#name));
    const audit = traffic.deny && isAudited(policy.audit, this.#context.now);
    const flags = (traffic.deny ? POLICY_DENY : 0) | (traffic.log ? POLICY_LOG : 0) | (audit ? POLICY_AUDIT : 0);
    // What L7 rules stand on is for a proxy to judge: without one it does not pass.
    const ports = (traffic.ports ?? [anyPort]).filter(port => !port.l7);
    for (const peer of traffic.peers ?? [everybody]) {
      for (const port of ports) this.#addPort(peer, port, ruleId, flags);
    }
  }

  #addPort(peer: Peer, port: PortRule, ruleId: number, flags: number): void {
    if (typeof port.port === 'string' && this.#name === 'egress') {
      // The name means what each destination calls so.
      for (const identity of this.#context.select(peer)) {
        for (const number of identity.namedPorts.get(`${port.protocol}/${port.port}`) ?? []) {
          this.#put(this.#entry(identity.id, port.protocol, number, 16, ruleId, flags));
        }
      }
      return;
    }
    const prefixes = this.#prefixes(port);
    for (const id of this.#ids(peer)) {
      for (const { number, bits } of prefixes) {
        this.#put(this.#entry(id, port.protocol, number, bits, ruleId, flags));
      }
    }
  }

  #ids(peer: Peer): readonly number[] {
    if (peer.kind === 'everybody') return [0];
    return [...this.#context.select(peer)].map(identity => identity.id);
  }

  #prefixes(port: PortRule): readonly { readonly number: number; readonly bits: number }[] {
    if (typeof port.port === 'string') {
      const numbers = this.#subject.namedPorts.get(`${port.protocol}/${port.port}`) ?? [];
      return numbers.map(number => ({ number, bits: 16 }));
    }
    const isIcmp = port.protocol === 1 || port.protocol === 58;
    if (port.port === 0 && port.endPort === 0 && !isIcmp) return [{ number: 0, bits: 0 }];
    return portPrefixes(port.port, port.endPort === 0 ? port.port : port.endPort).map(one => ({
      number: one.port,
      bits: one.bits,
    }));
  }

  #entry(id: number, proto: number, dport: number, bits: number, ruleId: number, flags: number): PolicyMapEntry {
    const prefixlen = proto === 0 ? 40 : 48 + bits;
    const key: PolicyKey = { prefixlen, identity: id, direction: this.#direction, proto, dport };
    return [key, { ruleId, proxyPort: 0, flags, packets: 0n, bytes: 0n }];
  }

  /** Of two rules for one key a deny wins, then the first. */
  #put(entry: PolicyMapEntry): void {
    if ((entry[1].flags & POLICY_AUDIT) !== 0) {
      this.#audits.push(entry);
      return;
    }
    const text = policyKeyText(entry[0]);
    const before = this.#entries.get(text);
    if (before === undefined || strength(entry[1]) > strength(before[1])) this.#entries.set(text, entry);
    else if ((entry[1].flags & POLICY_LOG) !== 0 && (before[1].flags & POLICY_LOG) === 0) {
      this.#entries.set(text, [before[0], { ...before[1], flags: before[1].flags | POLICY_LOG }]);
    }
  }

  /** A broader deny of the same identity says the same or the contrary: the longest match must not find this one. */
  #isCovered([key, value]: PolicyMapEntry): boolean {
    const audit = (value.flags & POLICY_AUDIT) !== 0;
    if ((value.flags & POLICY_DENY) !== 0 && !audit) return false;
    const broader = audit ? [policyKeyText(key), ...broaderKeys(key)] : broaderKeys(key);
    return broader.some(text => ((this.#entries.get(text)?.[1].flags ?? 0) & POLICY_DENY) !== 0);
  }
}

const anyPort: PortRule = { protocol: 0, port: 0, endPort: 0, l7: false };
const everybody: Peer = { kind: 'everybody' };

function strength(value: PolicyEntry): number {
  return (value.flags & POLICY_DENY) === 0 ? 1 : 2;
}

function broaderKeys(key: PolicyKey): readonly string[] {
  const keys = key.prefixlen > 40 ? [policyKeyText({ ...key, prefixlen: 40, proto: 0, dport: 0 })] : [];
  for (let bits = 0; bits < key.prefixlen - 48; bits += 1) {
    const dport = bits === 0 ? 0 : (key.dport >>> (16 - bits)) << (16 - bits);
    keys.push(policyKeyText({ ...key, prefixlen: 48 + bits, dport }));
  }
  return keys;
}

function compareKeys(a: PolicyKey, b: PolicyKey): number {
  return a.identity - b.identity || a.proto - b.proto || a.dport - b.dport || a.prefixlen - b.prefixlen;
}
