/**
 * policies × cidrGroups × pod CIDRs → addressBlocks: a number for every block that a rule names, and for what it leaves out; and for an API
 * server that is no node.
 */
import {
  type AddressBlockRow,
  type CidrGroupRow,
  type EndpointSliceRow,
  firstCidrIdentity,
  firstClassIdentity,
  hostPrefix,
  type NodeRow,
  type Peer,
  type PolicyRow,
  type Prefix,
  prefixCovers,
  type Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, replaceAll } from '@ciliate/tables';
import { IdAllocator } from '../id-allocator.ts';
import { nodeIPs } from '../network/addresses.ts';
import { apiServerAddresses, isApiServerSlice } from '../network/api-servers.ts';
import { noPeerContext, type PeerContext, prefixesOf } from './peers.ts';

/** Blocks that the kernel held before this agent started. */
export interface BlockRestore {
  readonly cidrs: Iterable<readonly [prefix: string, id: number]>;
  readonly classes: Iterable<readonly [prefix: string, id: number]>;
}

type BlockTables = Pick<
  Tables,
  'policies' | 'ciliumPolicies' | 'clusterwidePolicies' | 'cidrGroups' | 'nodes' | 'endpointSlices' | 'addressBlocks'
>;

type BlockInputs = {
  readonly policies: PolicyRow;
  readonly ciliumPolicies: PolicyRow;
  readonly clusterwidePolicies: PolicyRow;
  readonly cidrGroups: CidrGroupRow;
  readonly nodes: NodeRow;
  readonly endpointSlices: EndpointSliceRow;
};

export function addressBlockController(tables: BlockTables, restore: BlockRestore, modules: ControllerModules) {
  const { policies, ciliumPolicies, clusterwidePolicies, cidrGroups, nodes, endpointSlices, addressBlocks } = tables;
  const numbers = {
    cidr: new IdAllocator({ min: firstCidrIdentity, max: firstCidrIdentity + 0xff_fffe }),
    class: new IdAllocator({ min: firstClassIdentity, max: firstClassIdentity + 0xff_fffe }),
  };
  numbers.cidr.restore(restore.cidrs);
  numbers.class.restore(restore.classes);
  let before = new Map<string, AddressBlockRow>();
  return new Controller<BlockInputs>(
    {
      name: 'policy-address-blocks',
      inputs: { policies, ciliumPolicies, clusterwidePolicies, cidrGroups, nodes, endpointSlices },
      outputs: [addressBlocks],
      // Numbers that the kernel still uses must not be given up because half of the policies are not there yet.
      whole: true,
      run: (changes, txn) => {
        if (!concernsBlocks(changes)) return;
        const all = [...policies.all(), ...ciliumPolicies.all(), ...clusterwidePolicies.all()];
        const podCIDRs = nodes.all().flatMap(node => node.podCIDRs);
        const rows = new Map<string, AddressBlockRow>();
        for (const [kind, prefix] of blocks(all, { ...noPeerContext, cidrGroups: cidrGroups.all() }, podCIDRs)) {
          const id = numbers[kind].acquire(prefix);
          if (id !== undefined) rows.set(`${kind} ${prefix}`, { kind, prefix, id });
        }
        for (const prefix of apiServersOutside(endpointSlices, nodes)) {
          const id = numbers.cidr.acquire(prefix);
          if (id !== undefined) rows.set(`cidr ${prefix}`, { kind: 'cidr', prefix, id, apiServer: true });
        }
        for (const [key, row] of before) if (!rows.has(key)) numbers[row.kind].release(row.prefix);
        before = rows;
        replaceAll(addressBlocks, txn, rows.values());
      },
    },
    modules,
  );
}

/** Each block once. Cilium's blocks are never about pods: one inside a pod CIDR would only hide it. */
function* blocks(
  policies: readonly PolicyRow[],
  context: PeerContext,
  podCIDRs: readonly Prefix[],
): IterableIterator<readonly ['cidr' | 'class', Prefix]> {
  for (const peer of policies.flatMap(peersOf)) {
    const kind = peer.kind === 'cidr' && peer.pods ? 'class' : 'cidr';
    for (const prefix of prefixesOf(peer, context)) {
      if (kind === 'class' || !podCIDRs.some(pods => prefixCovers(pods, prefix))) yield [kind, prefix];
    }
  }
}

/** Slices come and go with pods; only the API server's count. */
function concernsBlocks({ endpointSlices, ...others }: ChangesOf<BlockInputs>): boolean {
  return Object.values(others).some(list => list.length > 0) || endpointSlices.some(({ row }) => isApiServerSlice(row));
}

function apiServersOutside(slices: BlockTables['endpointSlices'], nodes: BlockTables['nodes']): readonly Prefix[] {
  const own = new Set(nodes.all().flatMap(nodeIPs));
  return [...apiServerAddresses(slices)].filter(address => !own.has(address)).map(hostPrefix);
}

function peersOf(policy: PolicyRow): readonly Peer[] {
  if (policy.refused.length > 0) return [];
  return policy.rules.flatMap(rule => [...rule.ingress, ...rule.egress]).flatMap(traffic => traffic.peers ?? []);
}
