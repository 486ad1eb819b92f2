/** What policies ask of addresses, and the answers for a node or a pod. */
import {
  type Address,
  addressBytes,
  bitPrefix,
  type CidrGroupRow,
  isIPv4,
  type LabelFilter,
  type Labels,
  type PolicyRow,
  type Prefix,
  securityLabelKeys,
} from '@ciliate/model';
import { PrefixIndex } from '@ciliate/tables';
import type { ClassClaims } from './exact-classes.ts';
import { type BlockKind, blockKey, blockOfKey, NamedAddresses } from './named-addresses.ts';
import type { PeerContext } from './peers.ts';

/** Settings that decide about addresses. */
export interface AddressFacts {
  readonly clusterName: string;
  /** Blocks of Cilium's policies hold nodes too. */
  readonly cidrMatchesNodes: boolean;
  /** Labels that policies may select nodes by. */
  readonly nodeLabels: LabelFilter;
}

/** A node as a peer. */
export interface PeerNode {
  readonly name: string;
  /** Of its Node object. */
  readonly labels: Labels;
  readonly addresses: readonly Address[];
  readonly local: boolean;
  /** Those of its addresses on which the API server listens. */
  readonly apiServers: readonly Address[];
}

/** What began or ceased to be asked. */
export interface AskChanges {
  /** Keys of blocks. */
  readonly blocks: readonly string[];
  readonly labels: boolean;
  readonly ports: boolean;
}

export class AddressAsks {
  readonly #facts: AddressFacts;
  readonly #named = new NamedAddresses();
  /** Blocks that policies name: those that may hold nodes, and those that pods may be in. */
  readonly #ofNodes = new PrefixIndex<Prefix>();
  readonly #ofPods = new PrefixIndex<Prefix>();

  constructor(facts: AddressFacts) {
    this.#facts = facts;
  }

  set(key: string, policy: PolicyRow | undefined): void {
    this.#named.set(key, policy);
  }

  setCidrGroups(groups: readonly CidrGroupRow[]): void {
    this.#named.setCidrGroups(groups);
  }

  setServiceTargets(serviceTargets: PeerContext['serviceTargets']): void {
    this.#named.setServiceTargets(serviceTargets);
  }

  /** Since it was last asked; the answers are by what is asked until then. */
  takeChanges(): AskChanges {
    const blocks = this.#named.blocks.takeChanged();
    for (const key of blocks) this.#index(key);
    const labels = this.#named.nodeKeys.takeChanged().length > 0;
    return { blocks, labels, ports: this.#named.portNames.takeChanged().length > 0 };
  }

  isNamed(block: string): boolean {
    return this.#named.blocks.has(block);
  }

  blocks(): IterableIterator<string> {
    return this.#named.blocks.keys();
  }

  get asksPorts(): boolean {
    return this.#named.portNames.size > 0;
  }

  ofNode({ labels, addresses, local, apiServers }: PeerNode): ClassClaims {
    const asksLabels = this.#named.nodeKeys.size > 0;
    if (!asksLabels && !this.#facts.cidrMatchesNodes) return [];
    const own = Object.entries(labels).filter(([key]) => this.#asksLabel(key));
    const common = {
      ...Object.fromEntries(own.map(([key, value]) => [`node:${key}`, value])),
      [`reserved:${local ? 'host' : 'remote-node'}`]: '',
      [securityLabelKeys.cluster]: this.#facts.clusterName,
    };
    return [...new Set(addresses)].flatMap(address => {
      const block = longestOf(this.#ofNodes, address);
      if (!asksLabels && block === undefined) return [];
      const its = apiServers.includes(address) ? { ...common, 'reserved:kube-apiserver': '' } : common;
      return [[address, { of: 'node', labels: its, block, namedPorts: [] }] as const];
    });
  }

  /** What a name means depends on whose port it is: of pods only those count that have one of the names of rules with blocks. */
  ofPod(addresses: readonly Address[], ports: Iterable<readonly [string, readonly number[]]>): ClassClaims {
    if (!this.asksPorts) return [];
    const namedPorts = [...ports]
      .filter(([name]) => this.#named.portNames.has(name))
      .toSorted(([a], [b]) => (a < b ? -1 : 1));
    if (namedPorts.length === 0) return [];
    return addresses.flatMap(address => {
      const block = longestOf(this.#ofPods, address);
      return block === undefined ? [] : [[address, { of: 'pod', labels: {}, block, namedPorts }] as const];
    });
  }

  #asksLabel(key: string): boolean {
    return this.#named.nodeKeys.has(key) && this.#facts.nodeLabels.keeps('node', key);
  }

  #index(key: string): void {
    const { prefix } = blockOfKey(key);
    const isNamed = (kind: BlockKind) => this.#named.blocks.has(blockKey(kind, prefix));
    const [ofClass, ofCidr] = [isNamed('class'), isNamed('cidr')];
    setOrDelete(this.#ofPods, prefix, ofClass);
    setOrDelete(this.#ofNodes, prefix, ofClass || (ofCidr && this.#facts.cidrMatchesNodes));
  }
}

/** Of the address's family: as bytes IPv4 is inside of ::/0. */
export function longestOf(index: PrefixIndex<Prefix>, address: Address): Prefix | undefined {
  const prefix = index.longest(addressBytes(address))?.value;
  return prefix !== undefined && isIPv4(prefix) === isIPv4(address) ? prefix : undefined;
}

function setOrDelete(index: PrefixIndex<Prefix>, prefix: Prefix, isThere: boolean): void {
  if (isThere) index.set(bitPrefix(prefix), prefix);
  else index.delete(bitPrefix(prefix));
}
