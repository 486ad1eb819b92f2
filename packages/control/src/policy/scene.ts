/** Everybody that policies can be about, and the maps that they get: the same compiler and lookups as on a node, without a node. */
import {
  type Address,
  type AddressBlockRow,
  type AddressClassRow,
  type CidrGroupRow,
  type IdentityRow,
  isIPv4,
  type Labels,
  labelsKey,
  type Peer,
  type PolicyDirectionName,
  type PolicyMapEntry,
  type PolicyRow,
  type ReservedIdentity,
  type RuleReference,
  reservedIdentities,
  ruleReferenceKey,
} from '@ciliate/model';
import type { PeerNode } from './address-asks.ts';
import { appliedRules, type CompiledGroup, compileGroup, type EnforcementMode } from './compile-group.ts';
import { PolicyLookup } from './lookup.ts';
import { type PeerContext, type PeerIdentity, selectsPeer } from './peers.ts';
import { SceneBlocks } from './scene-blocks.ts';

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
  readonly serviceTargets: PeerContext['serviceTargets'];
  readonly mode: EnforcementMode;
  readonly allowLocalHost: boolean;
  /** world-ipv4 and world-ipv6 instead of world. */
  readonly dualStack: boolean;
  /** Of the node, when policies are for nodes too. */
  readonly hostLabels: Labels;
  readonly nodes: readonly PeerNode[];
  readonly clusterName: string;
  /** Blocks of Cilium's policies hold nodes too. */
  readonly cidrMatchesNodes: boolean;
  /** Numbers as a node has given them; absent: the scene gives its own. */
  readonly numbers?: {
    readonly blocks: readonly AddressBlockRow[];
    readonly classes: readonly AddressClassRow[];
    /** Those that nobody has too: policy maps know them until the operator takes them away. */
    readonly identities: readonly Pick<IdentityRow, 'id' | 'labels'>[];
  };
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

const noPorts: Somebody['namedPorts'] = new Map();

export class PolicyScene {
  readonly input: SceneInput;
  readonly context: PeerContext;
  readonly #blocks: SceneBlocks;
  readonly #identities: readonly PeerIdentity[];
  readonly #compiled = new Map<string, Compiled>();
  readonly #numbers = new Map<string, number>();
  readonly #references: RuleReference[] = [];
  readonly #selected = new Map<Peer, readonly PeerIdentity[]>();

  constructor(input: SceneInput) {
    this.input = input;
    const { cidrGroups, cidrMatchesNodes, serviceTargets } = input;
    this.context = { cidrGroups, cidrMatchesNodes, serviceTargets };
    this.#blocks = new SceneBlocks(input, this.context);
    this.#identities = [...identitiesOf(input, this.reserved()), ...this.#blocks.identities];
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
    const too = name === 'kube-apiserver' ? { 'reserved:remote-node': '' } : {};
    const labels = { ...own, [`reserved:${name}`]: '', ...too };
    return { name, kind: 'reserved', identity: reservedIdentities[name], labels, addresses: [], namedPorts: noPorts };
  }

  /** Nodes by name: 'node:worker-1'. */
  nodes(): readonly Somebody[] {
    return this.input.nodes.map(({ name, labels, addresses, local, apiServers }) => {
      const kind = local ? 'host' : apiServers.length > 0 ? 'kube-apiserver' : 'remote-node';
      const own = Object.entries(labels).map(([key, value]) => [`node:${key}`, value]);
      const one = this.reservedOne(kind);
      return { ...one, name: `node:${name}`, labels: { ...Object.fromEntries(own), ...one.labels }, addresses };
    });
  }

  /** An address of nobody in the cluster. */
  outside(address: Address): Somebody {
    const block = this.#blocks.outside(address);
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

  /** 0: policies ask nothing of the address. */
  classOf({ addresses, identity }: Somebody): number {
    const [address] = addresses;
    return address === undefined ? 0 : this.#blocks.classOf(address, identity);
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
    const { mode, allowLocalHost, cidrMatchesNodes, now, policies } = this.input;
    const group = compileGroup(about, appliedRules(policies, about), {
      mode,
      allowLocalHost,
      cidrMatchesNodes,
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
  for (const { id, labels } of input.numbers?.identities ?? []) {
    found.set(id, { id, labels, prefix: undefined, kind: 'labels', namedPorts: noPorts });
  }
  for (const { identity, labels, namedPorts } of [...reserved, ...input.pods]) {
    const before = found.get(identity)?.namedPorts ?? noPorts;
    const merged = new Map(before);
    for (const [name, numbers] of namedPorts) merged.set(name, [...new Set([...(before.get(name) ?? []), ...numbers])]);
    found.set(identity, { id: identity, labels, prefix: undefined, kind: 'labels', namedPorts: merged });
  }
  return [...found.values()];
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
