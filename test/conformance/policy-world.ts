/** A cluster in memory for policy cases: policies, who is there, and the verdict of the compiled maps. */
import {
  AddressAsks,
  appliedRules,
  classIdentity,
  compileGroup,
  type EnforcementMode,
  ExactClasses,
  noPeerContext,
  type PeerContext,
  type PeerIdentity,
  PolicyLookup,
  type PolicySubject,
  prefixesOf,
  selectsPeer,
} from '@ciliate/control';
import {
  type Address,
  type AddressClassRow,
  allLabels,
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumNetworkPolicyFromK8s,
  networkPolicyFromK8s,
  type Parsed,
  type Peer,
  type PolicyRow,
  type Prefix,
  policyKey,
  prefixContains,
  prefixLength,
  type RuleReference,
  ruleReferenceKey,
  tryParseAddress,
} from '@ciliate/model';

export function parsePolicy(object: unknown): Parsed<PolicyRow> {
  const kind = typeof object === 'object' && object !== null && 'kind' in object ? object.kind : '';
  if (kind === 'NetworkPolicy') return networkPolicyFromK8s(object);
  if (kind === 'CiliumNetworkPolicy') return ciliumNetworkPolicyFromK8s(object);
  return ciliumClusterwideNetworkPolicyFromK8s(object);
}

/** The data holds what a proxy would have to decide for denied: so do the compiled maps, once the policy is not refused for it. */
const atL4 = [/^L7 rules/, /^rules by DNS name/, /^serverNames/, /^mutual authentication/, /^listener/];

export function withoutL7(row: PolicyRow): PolicyRow {
  return { ...row, refused: row.refused.filter(reason => !atL4.some(pattern => pattern.test(reason))) };
}

export interface Someone {
  readonly name: string;
  readonly subject: PolicySubject;
  readonly identity: PeerIdentity;
  /** Pods' addresses: classes of ipBlocks are looked up by them. */
  readonly address?: string;
}

export class PolicyWorld {
  readonly #classes: readonly PeerIdentity[];
  readonly #exact = new Map<Address, number>();
  readonly #everyone: readonly PeerIdentity[];
  readonly #lookups = new Map<string, { ingress: boolean; egress: boolean; lookup: PolicyLookup }>();
  readonly #context: PeerContext;
  readonly #policies: readonly PolicyRow[];
  readonly #mode: EnforcementMode;
  readonly rules = new Map<number, RuleReference>();
  readonly #ids = new Map<string, number>();

  constructor(
    policies: readonly PolicyRow[],
    everyone: readonly Someone[],
    mode: EnforcementMode = 'default',
    context: PeerContext = noPeerContext,
  ) {
    this.#policies = policies;
    this.#mode = mode;
    this.#context = context;
    this.#classes = classesOf(policies);
    const exact = exactClasses(policies, everyone);
    for (const { id, addresses } of exact) for (const address of addresses) this.#exact.set(address, id);
    this.#everyone = [...everyone.map(one => one.identity), ...this.#classes, ...exact.map(classIdentity)];
  }

  #ruleId(reference: RuleReference): number {
    const key = ruleReferenceKey(reference);
    const id = this.#ids.get(key) ?? this.#ids.size + 1;
    this.#ids.set(key, id);
    this.rules.set(id, reference);
    return id;
  }

  #compiled(one: Someone) {
    const known = this.#lookups.get(one.name);
    if (known !== undefined) return known;
    const group = compileGroup(one.subject, appliedRules(this.#policies, one.subject), {
      mode: this.#mode,
      select: (peer: Peer) => this.#everyone.filter(identity => selectsPeer(peer, identity, this.#context)),
      ruleId: reference => this.#ruleId(reference),
      cidrMatchesNodes: this.#context.cidrMatchesNodes,
      now: 0,
      allowLocalHost: false,
    });
    const made = { ingress: group.ingress, egress: group.egress, lookup: new PolicyLookup(group.entries) };
    this.#lookups.set(one.name, made);
    return made;
  }

  #classOf(address: string | undefined): number {
    const parsed = address === undefined ? undefined : tryParseAddress(address);
    if (parsed === undefined) return 0;
    const exact = this.#exact.get(parsed);
    if (exact !== undefined) return exact;
    const containing = this.#classes.filter(({ prefix }) => prefix !== undefined && prefixContains(prefix, parsed));
    const length = ({ prefix }: PeerIdentity) => (prefix === undefined ? 0 : prefixLength(prefix));
    return containing.toSorted((a, b) => length(b) - length(a))[0]?.id ?? 0;
  }

  /** What the policy of `of` says about a flow with `peer`. */
  allows(direction: 'ingress' | 'egress', of: Someone, peer: Someone, protocol: number, port: number): boolean {
    const compiled = this.#compiled(of);
    if (!compiled[direction]) return true;
    return compiled.lookup.ask({
      direction: direction === 'ingress' ? 0 : 1,
      identity: peer.identity.id,
      classIdentity: this.#classOf(peer.address),
      protocol,
      port,
    }).allowed;
  }
}

function classesOf(policies: readonly PolicyRow[]): readonly PeerIdentity[] {
  const rules = policies.flatMap(policy => policy.rules).flatMap(rule => [...rule.ingress, ...rule.egress]);
  const peers = rules.flatMap(rule => rule.peers ?? []).filter(peer => peer.kind === 'cidr' && peer.pods);
  const prefixes = new Set<Prefix>(peers.flatMap(peer => prefixesOf(peer, noPeerContext)));
  return [...prefixes].map((prefix, i) => ({
    id: 0x0200_0000 + i,
    labels: {},
    prefix,
    kind: 'class',
    namedPorts: new Map(),
  }));
}

/** Pods whose port names rules with ipBlocks use: what a name means depends on the pod. */
function exactClasses(policies: readonly PolicyRow[], everyone: readonly Someone[]): readonly AddressClassRow[] {
  const asks = new AddressAsks({ clusterName: 'default', cidrMatchesNodes: false, nodeLabels: allLabels });
  for (const policy of policies) asks.set(policyKey(policy), policy);
  asks.takeChanges();
  const classes = new ExactClasses([]);
  for (const { name, address, identity } of everyone) {
    const parsed = address === undefined ? undefined : tryParseAddress(address);
    classes.set(name, asks.ofPod(parsed === undefined ? [] : [parsed], identity.namedPorts), 0);
  }
  return classes.takeDirty(0, 1).flatMap(([, row]) => row ?? []);
}
