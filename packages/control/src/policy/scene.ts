/** Everybody that policies can be about, and the maps that they get: the same compiler and lookups as on a node, without a node. */
import {
  type Address,
  type AddressBlockRow,
  type CidrGroupRow,
  firstCidrIdentity,
  firstClassIdentity,
  isIPv4,
  type Labels,
  labelsKey,
  type Peer,
  type PolicyDirectionName,
  type PolicyRow,
  type Prefix,
  prefixContains,
  prefixLength,
  type ReservedIdentity,
  type RuleReference,
  reservedIdentities,
  ruleReferenceKey,
} from '@ciliate/model';
import { appliedRules, type CompiledGroup, compileGroup, type EnforcementMode } from './compile-group.ts';
import { PolicyLookup, type PolicyMapEntry } from './lookup.ts';
import { type PeerContext, type PeerIdentity, prefixesOf, selectsPeer } from './peers.ts';

/** A pod, a node, something reserved, or an address outside. */
export interface Somebody {
  /** 'payments/web', 'host', 'world', '203.0.113.7'. */
  readonly name: string;
  readonly kind: 'pod' | 'reserved' | 'outside';
  readonly identity: number;
  readonly labels: Labels;
  readonly addresses: readonly Address[];
  /** '6/http' → numbers. */
  readonly namedPorts: ReadonlyMap<string, readonly number[]>;
}

export interface SceneInput {
  readonly pods: readonly Somebody[];
  readonly policies: readonly PolicyRow[];
  readonly cidrGroups: readonly CidrGroupRow[];
  readonly serviceIdentities: PeerContext['serviceIdentities'];
  readonly mode: EnforcementMode;
  readonly allowLocalHost: boolean;
  /** world-ipv4 and world-ipv6 instead of world. */
  readonly dualStack: boolean;
  /** Of the node, when policies are for nodes too. */
  readonly hostLabels: Labels;
  /** Numbers of blocks as a node has given them; absent: the scene gives its own. */
  readonly blocks?: readonly AddressBlockRow[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface SideVerdict {
  readonly allowed: boolean;
  /** Denied, were it not that it is only tried out. */
  readonly audit: boolean;
  readonly reference: RuleReference;
}

interface Compiled {
  readonly group: CompiledGroup;
  readonly lookup: PolicyLookup;
}

interface Block extends PeerIdentity {
  readonly prefix: Prefix;
}

const noPorts: Somebody['namedPorts'] = new Map();

export class PolicyScene {
  readonly input: SceneInput;
  readonly context: PeerContext;
  readonly #blocks: readonly Block[];
  readonly #identities: readonly PeerIdentity[];
  readonly #compiled = new Map<string, Compiled>();
  readonly #numbers = new Map<string, number>();
  readonly #references: RuleReference[] = [];
  readonly #selected = new Map<Peer, readonly PeerIdentity[]>();

  constructor(input: SceneInput) {
    this.input = input;
    this.context = { cidrGroups: input.cidrGroups, serviceIdentities: input.serviceIdentities };
    this.#blocks = blocksOf(input, this.context);
    this.#identities = [...identitiesOf(input, this.reserved()), ...this.#blocks];
  }

  /** Host, nodes, world and the like: everybody who has a number without being a pod. */
  reserved(): readonly Somebody[] {
    const { dualStack } = this.input;
    const worlds: readonly ReservedIdentity[] = dualStack ? ['world-ipv4', 'world-ipv6'] : ['world'];
    const others: readonly ReservedIdentity[] = [
      'host',
      'remote-node',
      'kube-apiserver',
      'health',
      'ingress',
      'init',
      'unmanaged',
    ];
    return [...others, ...worlds].map(name => this.reservedOne(name));
  }

  reservedOne(name: ReservedIdentity): Somebody {
    const own = name === 'host' ? this.input.hostLabels : {};
    const labels = { ...own, [`reserved:${name}`]: '' };
    return { name, kind: 'reserved', identity: reservedIdentities[name], labels, addresses: [], namedPorts: noPorts };
  }

  /** An address of nobody in the cluster. */
  outside(address: Address): Somebody {
    const block = longest(this.#blocks, 'cidr', address);
    const world = this.input.dualStack ? (isIPv4(address) ? 'world-ipv4' : 'world-ipv6') : 'world';
    return {
      name: address,
      kind: 'outside',
      identity: block?.id ?? reservedIdentities[world],
      labels: block?.labels ?? { [`reserved:${world}`]: '' },
      addresses: [address],
      namedPorts: noPorts,
    };
  }

  /** Pods and this node have policies of their own. */
  hasPolicy({ kind, identity }: Somebody): boolean {
    return kind === 'pod' || identity === reservedIdentities.host;
  }

  isJudged(direction: PolicyDirectionName, subject: Somebody): boolean {
    return this.hasPolicy(subject) && this.#of(subject).group[direction];
  }

  /** What the policy of `subject` says. */
  side(direction: PolicyDirectionName, subject: Somebody, peer: Somebody, protocol: number, port: number): SideVerdict {
    const open: SideVerdict = { allowed: true, audit: false, reference: { kind: 'default-allow', direction } };
    if (!this.isJudged(direction, subject)) return open;
    const answer = this.#of(subject).lookup.ask({
      direction: direction === 'ingress' ? 0 : 1,
      identity: this.#identityOf(peer),
      classIdentity: this.classOf(peer),
      protocol,
      port,
    });
    const reference = this.#references[answer.ruleId - 1] ?? { kind: 'default-deny', direction, policies: [] };
    return { allowed: answer.allowed || answer.audit, audit: answer.audit && !answer.allowed, reference };
  }

  allows(from: Somebody, to: Somebody, protocol: number, port: number): boolean {
    return (
      this.side('egress', from, to, protocol, port).allowed && this.side('ingress', to, from, protocol, port).allowed
    );
  }

  /** The map of somebody's group, each rule in words. */
  mapOf(subject: Somebody): {
    readonly entries: readonly PolicyMapEntry[];
    readonly rule: (id: number) => RuleReference | undefined;
  } {
    return { entries: this.#of(subject).group.entries, rule: id => this.#references[id - 1] };
  }

  /** 0: in no block of a NetworkPolicy. */
  classOf({ addresses }: Somebody): number {
    const [address] = addresses;
    return address === undefined ? 0 : (longest(this.#blocks, 'class', address)?.id ?? 0);
  }

  /** Numbers of blocks are each scene's own. */
  #identityOf({ kind, identity, addresses: [address] }: Somebody): number {
    return kind === 'outside' && address !== undefined ? this.outside(address).identity : identity;
  }

  #of(subject: Somebody): Compiled {
    const key = `${subject.identity} ${JSON.stringify([...subject.namedPorts].toSorted())}`;
    const known = this.#compiled.get(key);
    if (known !== undefined) return known;
    const host = subject.identity === reservedIdentities.host;
    const about = { labels: subject.labels, host, namedPorts: subject.namedPorts };
    const { mode, allowLocalHost, now, policies } = this.input;
    const group = compileGroup(about, appliedRules(policies, about), {
      mode,
      allowLocalHost,
      now,
      select: peer => this.#select(peer),
      ruleId: reference => this.#number(reference),
    });
    const made = { group, lookup: new PolicyLookup(group.entries) };
    this.#compiled.set(key, made);
    return made;
  }

  #select(peer: Peer): readonly PeerIdentity[] {
    const known = this.#selected.get(peer);
    if (known !== undefined) return known;
    const found = this.#identities.filter(identity => selectsPeer(peer, identity, this.context));
    this.#selected.set(peer, found);
    return found;
  }

  #number(reference: RuleReference): number {
    const key = ruleReferenceKey(reference);
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#references.push(reference);
    this.#numbers.set(key, this.#references.length);
    return this.#references.length;
  }
}

function identitiesOf(input: SceneInput, reserved: readonly Somebody[]): readonly PeerIdentity[] {
  const found = new Map<number, PeerIdentity>();
  for (const { identity, labels, namedPorts } of [...reserved, ...input.pods]) {
    const before = found.get(identity)?.namedPorts ?? noPorts;
    const merged = new Map(before);
    for (const [name, numbers] of namedPorts) merged.set(name, [...new Set([...(before.get(name) ?? []), ...numbers])]);
    found.set(identity, { id: identity, labels, prefix: undefined, kind: 'labels', namedPorts: merged });
  }
  return [...found.values()];
}

function blocksOf(input: SceneInput, context: PeerContext): readonly Block[] {
  const blocks = new Map<string, Block>();
  const rules = input.policies.flatMap(policy => (policy.refused.length > 0 ? [] : policy.rules));
  for (const peer of rules.flatMap(rule => [...rule.ingress, ...rule.egress]).flatMap(one => one.peers ?? [])) {
    const kind = peer.kind === 'cidr' && peer.pods ? 'class' : 'cidr';
    for (const prefix of prefixesOf(peer, context)) {
      const world = input.dualStack ? (isIPv4(prefix) ? 'world-ipv4' : 'world-ipv6') : 'world';
      const labels: Labels = kind === 'class' ? {} : { [`reserved:${world}`]: '', [`cidr:${prefix}`]: '' };
      const given = input.blocks?.find(block => block.kind === kind && block.prefix === prefix)?.id;
      const id = given ?? (kind === 'class' ? firstClassIdentity : firstCidrIdentity) + blocks.size;
      // A node leaves some out: those inside of its pods' prefixes.
      if (input.blocks !== undefined && given === undefined) continue;
      const key = `${kind} ${prefix}`;
      if (!blocks.has(key)) blocks.set(key, { id, labels, prefix, kind, namedPorts: noPorts });
    }
  }
  return [...blocks.values()];
}

function longest(blocks: readonly Block[], kind: Block['kind'], address: Address): Block | undefined {
  let best: Block | undefined;
  for (const block of blocks) {
    if (block.kind !== kind || !prefixContains(block.prefix, address)) continue;
    if (best === undefined || prefixLength(block.prefix) > prefixLength(best.prefix)) best = block;
  }
  return best;
}

/** A number for each label set, as the cluster would give. */
export function identityNumbers(): (labels: Labels) => number {
  const numbers = new Map<string, number>();
  return labels => {
    const key = labelsKey(labels);
    const id = numbers.get(key) ?? 256 + numbers.size;
    numbers.set(key, id);
    return id;
  };
}
