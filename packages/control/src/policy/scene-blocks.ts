/** Numbers of blocks and addresses in a scene: those of a node, or the scene's own. */
import {
  type Address,
  type AddressBlockRow,
  type AddressClassRow,
  allLabels,
  bitPrefix,
  firstCidrIdentity,
  firstClassIdentity,
  type Prefix,
  policyKey,
  reservedIdentities,
} from '@ciliate/model';
import { PrefixIndex } from '@ciliate/tables';
import { AddressAsks, longestOf } from './address-asks.ts';
import { ExactClasses } from './exact-classes.ts';
import { blockKey, blockOfKey } from './named-addresses.ts';
import { blockIdentity, classIdentity, type PeerContext, type PeerIdentity } from './peers.ts';
import type { SceneInput } from './scene.ts';

type Numbers = Pick<NonNullable<SceneInput['numbers']>, 'blocks' | 'classes'>;

const ofNodes: readonly number[] = [
  reservedIdentities.host,
  reservedIdentities['remote-node'],
  reservedIdentities['kube-apiserver'],
];

export class SceneBlocks {
  readonly identities: readonly PeerIdentity[];
  readonly #outside = new PrefixIndex<Prefix>();
  readonly #classes = new PrefixIndex<Prefix>();
  readonly #numbers = new Map<string, PeerIdentity>();
  readonly #pods = new Map<Address, number>();
  readonly #nodes = new Map<Address, number>();

  constructor(input: SceneInput, context: PeerContext) {
    const { blocks, classes } = input.numbers ?? ownNumbers(input, context);
    const ofBlocks = blocks.map(block => ({ block, identity: blockIdentity(block, input.dualStack) }));
    this.identities = [...ofBlocks.map(({ identity }) => identity), ...classes.map(classIdentity)];
    for (const { block, identity } of ofBlocks) {
      // One that is leaving is known to policy maps, and no address has it.
      if (block.leaving === true) continue;
      const index = block.kind === 'cidr' ? this.#outside : this.#classes;
      index.set(bitPrefix(block.prefix), block.prefix);
      this.#numbers.set(blockKey(block.kind, block.prefix), identity);
    }
    for (const { of, id, addresses } of classes) {
      for (const address of addresses) (of === 'node' ? this.#nodes : this.#pods).set(address, id);
    }
  }

  outside(address: Address): PeerIdentity | undefined {
    const prefix = longestOf(this.#outside, address);
    return prefix === undefined ? undefined : this.#numbers.get(blockKey('cidr', prefix));
  }

  /** 0: none. A node's address counts only for who has a node's identity. */
  classOf(address: Address, identity: number): number {
    const ofNode = ofNodes.includes(identity) ? this.#nodes.get(address) : undefined;
    const exact = ofNode ?? this.#pods.get(address);
    if (exact !== undefined) return exact;
    const prefix = longestOf(this.#classes, address);
    return prefix === undefined ? 0 : (this.#numbers.get(blockKey('class', prefix))?.id ?? 0);
  }
}

function ownNumbers({ policies, pods, nodes, clusterName }: SceneInput, context: PeerContext): Numbers {
  const { cidrMatchesNodes, cidrGroups } = context;
  const asks = new AddressAsks({ clusterName, cidrMatchesNodes, nodeLabels: allLabels });
  asks.setCidrGroups(cidrGroups);
  asks.setServiceTargets(context.serviceTargets);
  for (const policy of policies) asks.set(policyKey(policy), policy);
  const { blocks } = asks.takeChanges();
  const classes = new ExactClasses([]);
  for (const node of nodes) classes.set(`node ${node.name}`, asks.ofNode(node), 0);
  for (const { name, addresses, namedPorts } of pods) classes.set(`pod ${name}`, asks.ofPod(addresses, namedPorts), 0);
  const made: readonly (AddressClassRow | undefined)[] = classes.takeDirty(0, 1).map(([, row]) => row);
  return { blocks: blocks.map(blockRow), classes: made.filter(row => row !== undefined) };
}

function blockRow(key: string, i: number): AddressBlockRow {
  const { kind, prefix } = blockOfKey(key);
  return { kind, prefix, id: (kind === 'class' ? firstClassIdentity : firstCidrIdentity) + i };
}
