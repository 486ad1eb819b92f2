/**
 * The rules about one group of endpoints, and from them the entries about any identity. What a policy map says of an identity depends on
 * the rules that name it and on those about everybody, and on no other identity: so one that comes or goes costs its own entries.
 */
import { PolicyDirection, PolicyFlags } from '@ciliate/abi';
import {
  isAudited,
  type Labels,
  type Peer,
  type PolicyDirectionName,
  type PolicyMapEntry,
  type PolicyRow,
  type PolicyRule,
  type PortRule,
  policyReference,
  type RuleReference,
  ruleReference,
  type TrafficRule,
} from '@ciliate/model';
import type { AppliedRule, EnforcementMode, PolicySubject } from './compile-group.ts';
import { entriesOfPart, type Use } from './part.ts';
import { asksClass, type PeerIdentity } from './peers.ts';
import { type PortPrefix, portPrefixes } from './port-prefixes.ts';

export interface RuleContext {
  readonly mode: EnforcementMode;
  readonly ruleId: (reference: RuleReference) => number;
  /** Equal for peers that stand for the same. */
  readonly keyOf: (peer: Peer) => string;
  /** Blocks of Cilium's policies hold nodes too. */
  readonly cidrMatchesNodes: boolean;
  /** Milliseconds since 1970: audit ends at a time. */
  readonly now: number;
  /** The node's own processes (kubelet, probes) reach its pods, whatever policies say. */
  readonly allowLocalHost: boolean;
}

const { POLICY_DENY, POLICY_DEFAULT, POLICY_AUDIT, POLICY_LOG, POLICY_KNOWN } = PolicyFlags;
const everybody = 0;
const hostIdentity = 1;
const anybody: Peer = { kind: 'everybody' };
const anyPort: PortRule = { protocol: 0, port: 0, endPort: 0, l7: false };

export class GroupCompiler {
  /** A direction without anything to judge is left alone by the datapath. */
  readonly ingress: boolean;
  readonly egress: boolean;
  /** Some rule asks about addresses, not identities alone. */
  readonly usesClasses: boolean;
  readonly #directions: readonly DirectionRules[];

  constructor(subject: PolicySubject, applied: readonly AppliedRule[], context: RuleContext) {
    const of = (name: PolicyDirectionName) => new DirectionRules(name, subject, applied, context);
    const both = { ingress: of('ingress'), egress: of('egress') };
    this.ingress = both.ingress.isJudged;
    this.egress = both.egress.isJudged;
    this.usesClasses = applied.some(({ rule }) =>
      [...rule.ingress, ...rule.egress].some(({ peers }) => peers?.some(peer => asksClass(peer, context))),
    );
    this.#directions = this.ingress || this.egress ? Object.values(both) : [];
  }

  /** Deny rules are only tried out: what is allowed to everybody decides where they stand. */
  get hasAudits(): boolean {
    return this.#directions.some(({ hasAudits }) => hasAudits);
  }

  /** Peers that rules name, by key. */
  *peers(): IterableIterator<readonly [string, Peer]> {
    for (const { peers } of this.#directions) yield* peers;
  }

  /** Identities that have entries whatever rules name. */
  standing(): readonly number[] {
    return this.#directions.some(({ allowsHost }) => allowsHost) ? [everybody, hostIdentity] : [everybody];
  }

  /** `keys` of the peers that stand for the identity; everybody has the number 0. */
  part(identity: Pick<PeerIdentity, 'id' | 'namedPorts'>, keys: Iterable<string>): readonly PolicyMapEntry[] {
    const all = [...keys];
    return this.#directions.flatMap(direction => direction.part(identity, all));
  }
}

/** Until its identity is known an endpoint is `init`, and isolated. */
const isInit = (labels: Labels): boolean => 'reserved:init' in labels;

class DirectionRules {
  readonly peers = new Map<string, Peer>();
  readonly isJudged: boolean;
  readonly allowsHost: boolean;
  hasAudits = false;
  readonly #name: PolicyDirectionName;
  readonly #direction: number;
  readonly #subject: PolicySubject;
  readonly #context: RuleContext;
  readonly #uses = new Map<string, Use[]>();
  readonly #ofEverybody: Use[] = [];
  readonly #ofHost: readonly Use[];
  readonly #byDefault: PolicyMapEntry;
  /** What rules about everybody allow: audits stand in such a place too. */
  readonly #allowed: readonly PolicyMapEntry[];
  #count = 0;

  constructor(
    name: PolicyDirectionName,
    subject: PolicySubject,
    applied: readonly AppliedRule[],
    context: RuleContext,
  ) {
    this.#name = name;
    this.#direction = PolicyDirection[name === 'ingress' ? 'POLICY_INGRESS' : 'POLICY_EGRESS'];
    this.#subject = subject;
    this.#context = context;
    const isolating = [...new Set(applied.filter(({ rule }) => rule.isolates[name]).map(({ policy }) => policy))];
    const { mode, allowLocalHost } = context;
    const isIsolated = mode !== 'never' && (isolating.length > 0 || mode === 'always' || isInit(subject.labels));
    const denies = applied.some(({ rule }) => rule[name].some(traffic => traffic.deny && hasMatter(traffic)));
    // Not by what is denied now: a deny must hold from the first packet of who comes later.
    this.isJudged = mode !== 'never' && (isIsolated || denies);
    this.allowsHost = this.isJudged && name === 'ingress' && isIsolated && allowLocalHost && !subject.host;
    if (this.isJudged) {
      for (const { policy, rule } of applied) for (const traffic of rule[name]) this.#add(policy, rule, traffic);
    }
    this.#byDefault = this.#default(isIsolated, isolating);
    this.#ofHost = this.allowsHost ? [this.#localHost()] : [];
    const enforced = this.#ofEverybody.filter(({ value }) => (value.flags & POLICY_AUDIT) === 0);
    const own = entriesOfPart(noIdentity, enforced, { direction: this.#direction, isDenied: false, allowed: [] });
    this.#allowed = own.filter(([, { flags }]) => (flags & POLICY_DENY) === 0);
  }

  part(identity: Pick<PeerIdentity, 'id' | 'namedPorts'>, keys: readonly string[]): readonly PolicyMapEntry[] {
    if (!this.isJudged) return identity.id === everybody ? [this.#byDefault] : [];
    const [, { flags }] = this.#byDefault;
    const place = {
      direction: this.#direction,
      isDenied: (flags & (POLICY_DENY | POLICY_AUDIT)) === POLICY_DENY,
      allowed: this.#allowed,
    };
    if (identity.id === everybody) {
      const rules = entriesOfPart(identity, this.#ofEverybody, place);
      const hasOwn = rules.some(([key]) => key.prefixlen === 40);
      return hasOwn ? rules : [...rules, this.#byDefault];
    }
    const uses = keys.flatMap(key => this.#uses.get(key) ?? []);
    const own = identity.id === hostIdentity ? [...uses, ...this.#ofHost] : uses;
    return entriesOfPart(
      identity,
      own.toSorted((a, b) => a.order - b.order),
      place,
    );
  }

  #default(isIsolated: boolean, isolating: readonly PolicyRow[]): PolicyMapEntry {
    const { ruleId, now } = this.#context;
    const direction = this.#name;
    // Also where nothing is judged: an endpoint's entry may still ask for it while it changes.
    if (!isIsolated) {
      const known = this.#deniesSome() ? POLICY_KNOWN : 0;
      return this.#defaultEntry(ruleId({ kind: 'default-allow', direction }), POLICY_DEFAULT | known);
    }
    const policies = isolating.map(policyReference);
    const audited = policies.length > 0 && isolating.every(policy => isAudited(policy.audit, now));
    const flags = POLICY_DENY | POLICY_DEFAULT | (audited ? POLICY_AUDIT : 0);
    return this.#defaultEntry(ruleId({ kind: 'default-deny', direction, policies }), flags);
  }

  /** A deny of some identities cannot hold for who is not known yet. */
  #deniesSome(): boolean {
    const uses = [...this.#uses.values()].flat();
    return uses.some(({ value }) => (value.flags & (POLICY_DENY | POLICY_AUDIT)) === POLICY_DENY);
  }

  #defaultEntry(ruleId: number, flags: number): PolicyMapEntry {
    const key = { prefixlen: 40, identity: everybody, direction: this.#direction, proto: 0, dport: 0 };
    return [key, { ruleId, proxyPort: 0, flags, packets: 0n, bytes: 0n }];
  }

  #localHost(): Use {
    return this.#use(this.#context.ruleId({ kind: 'local-host', direction: this.#name }), 0, everyPort);
  }

  #use(ruleId: number, flags: number, ports: Pick<Use, 'prefixes' | 'names'>): Use {
    this.#count += 1;
    return { order: this.#count, value: { ruleId, proxyPort: 0, flags, packets: 0n, bytes: 0n }, ...ports };
  }

  #add(policy: PolicyRow, rule: PolicyRule, traffic: TrafficRule): void {
    // Before anything is counted: a rule id is for a rule that has entries.
    if (!hasMatter(traffic)) return;
    const ruleId = this.#context.ruleId(ruleReference(policy, rule, traffic, this.#name));
    const audit = traffic.deny && isAudited(policy.audit, this.#context.now);
    this.hasAudits ||= audit;
    const flags =
      (traffic.deny ? POLICY_DENY : 0) | (traffic.log === undefined ? 0 : POLICY_LOG) | (audit ? POLICY_AUDIT : 0);
    // What L7 rules stand on is for a proxy to judge: without one it does not pass.
    const use = this.#use(ruleId, flags, this.#portsOf((traffic.ports ?? [anyPort]).filter(port => !port.l7)));
    for (const peer of traffic.peers ?? [anybody]) {
      if (peer.kind === 'everybody') this.#ofEverybody.push(use);
      // A port name means another port to each.
      if (peer.kind !== 'everybody') this.#keep(peer, use);
      else if (use.names.length > 0) this.#keep(peer, { ...use, prefixes: [] });
    }
  }

  #keep(peer: Peer, use: Use): void {
    const key = this.#context.keyOf(peer);
    this.peers.set(key, peer);
    const uses = this.#uses.get(key);
    if (uses === undefined) this.#uses.set(key, [use]);
    else uses.push(use);
  }

  /** Egress: a name means what each destination calls so. */
  #portsOf(ports: readonly PortRule[]): Pick<Use, 'prefixes' | 'names'> {
    const isNamed = ({ port }: PortRule) => typeof port === 'string' && this.#name === 'egress';
    return {
      prefixes: ports.filter(port => !isNamed(port)).flatMap(port => this.#prefixes(port)),
      names: ports.filter(isNamed).map(({ protocol, port }) => ({ protocol, name: `${protocol}/${port}` })),
    };
  }

  #prefixes({ protocol, port, endPort }: PortRule): readonly (PortPrefix & { readonly protocol: number })[] {
    if (typeof port === 'string') {
      const numbers = this.#subject.namedPorts.get(`${protocol}/${port}`) ?? [];
      return numbers.map(number => ({ protocol, port: number, bits: 16 }));
    }
    const isIcmp = protocol === 1 || protocol === 58;
    if (port === 0 && endPort === 0 && !isIcmp) return [{ protocol, port: 0, bits: 0 }];
    return portPrefixes(port, endPort === 0 ? port : endPort).map(prefix => ({ ...prefix, protocol }));
  }
}

const noIdentity = { id: everybody, namedPorts: new Map<string, readonly number[]>() };
const everyPort: Pick<Use, 'prefixes' | 'names'> = { prefixes: [{ protocol: 0, port: 0, bits: 0 }], names: [] };

/** A rule that names nobody, or no port, says nothing. */
function hasMatter({ peers, ports }: TrafficRule): boolean {
  return peers?.length !== 0 && ports?.length !== 0;
}
