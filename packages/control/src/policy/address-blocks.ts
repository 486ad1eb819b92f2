/**
 * policies × cidrGroups × nodes × pods → addressBlocks, addressClasses: a number for every block that a rule names, and for what it leaves
 * out; for an API server that is no node; and for addresses of which a rule asks more (exact-classes.ts).
 */
import {
  type AddressBlockRow,
  type CidrGroupRow,
  type DeviceRow,
  type EndpointRow,
  type EndpointSliceRow,
  firstCidrIdentity,
  firstClassIdentity,
  type NodeRow,
  type PodRow,
  type PolicyRow,
  type Prefix,
  prefixCovers,
  type RemoteEndpointRow,
  type ServiceTargetsRow,
  type Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, upsert, type WriteTxn } from '@ciliate/tables';
import { IdAllocator } from '../id-allocator.ts';
import { apiServersOutside, isApiServerSlice } from '../network/api-servers.ts';
import { AddressAsks, type AddressFacts } from './address-asks.ts';
import { AddressSources } from './address-sources.ts';
import { ExactClasses } from './exact-classes.ts';
import { blockKey, blockOfKey } from './named-addresses.ts';
import { type BlockRestore, linger } from './restore-policy.ts';
import { peerKey } from './selector-cache.ts';
import { noTargets } from './service-peers.ts';

type BlockTables = Pick<Tables, keyof BlockInputs | 'addressBlocks' | 'addressClasses'>;

export type BlockInputs = {
  readonly policies: PolicyRow;
  readonly ciliumPolicies: PolicyRow;
  readonly clusterwidePolicies: PolicyRow;
  readonly cidrGroups: CidrGroupRow;
  readonly nodes: NodeRow;
  readonly endpointSlices: EndpointSliceRow;
  readonly devices: DeviceRow;
  readonly endpoints: EndpointRow;
  readonly remoteEndpoints: RemoteEndpointRow;
  readonly pods: PodRow;
  readonly serviceTargets: ServiceTargetsRow;
};

export function addressBlockController(
  tables: BlockTables,
  facts: AddressFacts,
  restore: BlockRestore,
  modules: ControllerModules,
): Controller<BlockInputs> {
  const runner = new BlockRunner(tables, facts, restore, modules);
  const { policies, ciliumPolicies, clusterwidePolicies, cidrGroups, nodes, endpointSlices } = tables;
  const { devices, endpoints, remoteEndpoints, pods, serviceTargets } = tables;
  return new Controller<BlockInputs>(
    {
      name: 'policy-address-blocks',
      inputs: {
        ...{ policies, ciliumPolicies, clusterwidePolicies, cidrGroups, nodes, endpointSlices },
        ...{ devices, endpoints, remoteEndpoints, pods, serviceTargets },
      },
      outputs: [tables.addressBlocks, tables.addressClasses],
      // Numbers that the kernel still uses must not be given up because half of the policies are not there yet.
      whole: true,
      run: (changes, txn) => runner.run(changes, txn),
      again: () => runner.untilExpiry(),
    },
    modules,
  );
}

class BlockRunner {
  readonly #tables: BlockTables;
  readonly #modules: ControllerModules;
  readonly #asks: AddressAsks;
  readonly #numbers = {
    cidr: new IdAllocator({ min: firstCidrIdentity, max: firstCidrIdentity + 0xff_fffe }),
    class: new IdAllocator({ min: firstClassIdentity, max: firstClassIdentity + 0x7f_fffe }),
  };
  readonly #sources: AddressSources;
  readonly #classes: ExactClasses;
  /** Key of a block that nobody names any more → since when. */
  readonly #leaving = new Map<string, number>();
  #podCIDRs: readonly Prefix[] = [];
  #apiServers: ReadonlySet<Prefix> = new Set();

  constructor(tables: BlockTables, facts: AddressFacts, restore: BlockRestore, modules: ControllerModules) {
    this.#tables = tables;
    this.#modules = modules;
    this.#numbers.cidr.restore(restore.cidrs);
    this.#numbers.class.restore(restore.classes);
    this.#classes = new ExactClasses(restore.exact);
    this.#asks = new AddressAsks(facts);
    this.#sources = new AddressSources(tables, this.#asks, this.#classes);
  }

  run(changes: ChangesOf<BlockInputs>, txn: WriteTxn): void {
    for (const source of ['policies', 'ciliumPolicies', 'clusterwidePolicies'] as const) {
      for (const { key, row, deleted } of changes[source]) this.#asks.set(key, deleted ? undefined : row);
    }
    if (changes.cidrGroups.length > 0) this.#asks.setCidrGroups(this.#tables.cidrGroups.all());
    if (changes.serviceTargets.length > 0) {
      this.#asks.setServiceTargets(peer => this.#tables.serviceTargets.get(peerKey(peer)) ?? noTargets);
    }
    const now = this.#modules.clock.now();
    const asked = this.#asks.takeChanges();
    const touched = new Set([...asked.blocks, ...this.#readNodes(changes)]);
    for (const key of touched) this.#put(key, now, txn);
    this.#dropLeft(now, txn);
    this.#sources.read(changes, asked, now);
    const { addressClasses } = this.#tables;
    for (const [key, row] of this.#classes.takeDirty(now, linger)) {
      if (row === undefined) addressClasses.delete(txn, key);
      else upsert(addressClasses, txn, row);
    }
  }

  untilExpiry(): number | undefined {
    const classes = this.#classes.nextExpiry(linger);
    const times = [
      ...[...this.#leaving.values()].map(since => since + linger),
      ...(classes === undefined ? [] : [classes]),
    ];
    return times.length === 0 ? undefined : Math.max(0, Math.min(...times) - this.#modules.clock.now());
  }

  /** Blocks about which pod CIDRs or the API server's addresses decide otherwise now. Slices come and go with pods; only its own count. */
  #readNodes({ nodes, endpointSlices }: ChangesOf<BlockInputs>): readonly string[] {
    if (nodes.length === 0 && !endpointSlices.some(({ row }) => isApiServerSlice(row))) return [];
    const servers = new Set(apiServersOutside(this.#tables.endpointSlices, this.#tables.nodes.all()));
    const moved = [...servers, ...this.#apiServers].filter(
      prefix => !servers.has(prefix) || !this.#apiServers.has(prefix),
    );
    this.#apiServers = servers;
    const podCIDRs = this.#tables.nodes.all().flatMap(node => node.podCIDRs);
    const same =
      podCIDRs.length === this.#podCIDRs.length && podCIDRs.every((prefix, i) => prefix === this.#podCIDRs[i]);
    this.#podCIDRs = podCIDRs;
    return [...moved.map(prefix => blockKey('cidr', prefix)), ...(same ? [] : this.#asks.blocks())];
  }

  #put(key: string, now: number, txn: WriteTxn): void {
    const { kind, prefix } = blockOfKey(key);
    const apiServer = kind === 'cidr' && this.#apiServers.has(prefix);
    if (!apiServer && !this.#isWanted(key)) {
      this.#leave(key, now, txn);
      return;
    }
    const id = this.#numbers[kind].acquire(prefix);
    if (id === undefined) return;
    this.#leaving.delete(key);
    upsert(this.#tables.addressBlocks, txn, { kind, prefix, id, ...(apiServer ? { apiServer } : {}) });
  }

  /** Cilium's blocks are never about pods: one inside a pod CIDR would only hide it. */
  #isWanted(key: string): boolean {
    const { kind, prefix } = blockOfKey(key);
    if (!this.#asks.isNamed(key)) return false;
    return kind === 'class' || !this.#podCIDRs.some(pods => prefixCovers(pods, prefix));
  }

  /** Addresses lose the number first, policy maps later: in between nobody is somebody whom no rule knows. */
  #leave(key: string, now: number, txn: WriteTxn): void {
    const row = this.#tables.addressBlocks.peek(txn, key);
    if (row === undefined || row.leaving === true) return;
    this.#leaving.set(key, now);
    const left: AddressBlockRow = { kind: row.kind, prefix: row.prefix, id: row.id, leaving: true };
    this.#tables.addressBlocks.insert(txn, left);
  }

  #dropLeft(now: number, txn: WriteTxn): void {
    for (const [key, since] of this.#leaving) {
      if (now - since < linger) continue;
      const { kind, prefix } = blockOfKey(key);
      this.#leaving.delete(key);
      this.#numbers[kind].release(prefix);
      this.#tables.addressBlocks.delete(txn, key);
    }
  }
}
