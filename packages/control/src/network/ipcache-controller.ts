/** nodes, endpoints of this node and of others, address blocks of policies, where the API server is → ipcacheRows. */
import {
  type AddressBlockRow,
  type EndpointRow,
  type EndpointSliceRow,
  type IpcacheRow,
  minClusterIdentity,
  type NodeConfig,
  type NodeRow,
  type PolicyGroupRow,
  type PolicyPeerRow,
  type RemoteEndpointRow,
  reservedIdentities,
  type Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, type WriteTxn } from '@ciliate/tables';
import { writeWinners } from '../claim-controller.ts';
import { type Claim, Claims } from '../claims.ts';
import { PeersInForce } from '../policy/peers-in-force.ts';
import { type BlockRestore, noBlocksRestored } from '../policy/restore-policy.ts';
import { apiServerAddresses, isApiServerSlice } from './api-servers.ts';
import { blockIpcache, endpointIpcache, nodeIpcache, remoteEndpointIpcache } from './compile-ipcache.ts';

type IpcacheInputs = {
  readonly nodes: NodeRow;
  readonly endpoints: EndpointRow;
  readonly remoteEndpoints: RemoteEndpointRow;
  readonly addressBlocks: AddressBlockRow;
  readonly endpointSlices: EndpointSliceRow;
  readonly policyPeers: PolicyPeerRow;
  readonly policyGroups: PolicyGroupRow;
};

export function ipcacheController(
  tables: Tables,
  config: NodeConfig,
  modules: ControllerModules,
  restore: BlockRestore = noBlocksRestored,
): Controller<IpcacheInputs> {
  const { nodes, endpoints, remoteEndpoints, addressBlocks, endpointSlices, policyPeers, policyGroups } = tables;
  const rows = new IpcacheRows(tables, config, restore);
  const run = (changes: ChangesOf<IpcacheInputs>, txn: WriteTxn) => {
    rows.run(changes, modules.clock.now());
    rows.write(txn);
  };
  return new Controller<IpcacheInputs>(
    {
      name: 'ipcache-rows',
      inputs: { nodes, endpoints, remoteEndpoints, addressBlocks, endpointSlices, policyPeers, policyGroups },
      outputs: [tables.ipcacheRows],
      run,
    },
    modules,
  );
}

/** A pod or a block whose number the policy maps do not know yet. */
interface Waiting {
  readonly identity: number;
  readonly claim: (now: number) => readonly Claim<IpcacheRow>[];
}

class IpcacheRows {
  readonly #tables: Pick<Tables, 'nodes' | 'endpointSlices' | 'ipcacheRows'>;
  readonly #config: NodeConfig;
  readonly #claims = new Claims<IpcacheRow>();
  readonly #inForce: PeersInForce;
  /** By owner. */
  readonly #waiting = new Map<string, Waiting>();
  /** Owner → its addresses, of those that have claims. */
  readonly #addresses = new Map<string, string>();

  constructor(
    tables: Pick<Tables, 'nodes' | 'endpointSlices' | 'ipcacheRows'>,
    config: NodeConfig,
    { cidrs, identities }: BlockRestore,
  ) {
    this.#tables = tables;
    this.#config = config;
    this.#inForce = new PeersInForce([...cidrs.map(([, id]) => id), ...identities]);
  }

  run(changes: ChangesOf<IpcacheInputs>, now: number): void {
    const ready = new Set(this.#inForce.read(changes));
    const apiServers = apiServerAddresses(this.#tables.endpointSlices);
    const node = (row: NodeRow) =>
      this.#claims.set(`nodes:${row.name}`, nodeIpcache(row, this.#config, now, apiServers));
    for (const { key, row, deleted } of changes.nodes) {
      if (deleted) this.#claims.set(`nodes:${key}`, []);
      else node(row);
    }
    for (const { key, row, deleted } of changes.endpoints) {
      const claim = (identity: number, at: number) => endpointIpcache({ ...row, identity }, this.#config, at);
      this.#pod(`endpoints:${key}`, deleted ? undefined : row, claim, now);
    }
    for (const { key, row, deleted } of changes.remoteEndpoints) {
      const claim = (identity: number, at: number) => remoteEndpointIpcache({ ...row, identity }, this.#config, at);
      this.#pod(`remoteEndpoints:${key}`, deleted ? undefined : row, claim, now);
    }
    for (const { key, row, deleted } of changes.addressBlocks) this.#block(key, row, deleted, now);
    if (changes.endpointSlices.some(({ row }) => isApiServerSlice(row))) {
      // A node's own address stays the node's, with another identity.
      for (const row of this.#tables.nodes.all()) node(row);
    }
    if (ready.size === 0) return;
    for (const [owner, { identity, claim }] of this.#waiting) {
      if (!ready.has(identity)) continue;
      this.#waiting.delete(owner);
      this.#claims.set(owner, claim(now));
    }
  }

  write(txn: WriteTxn): void {
    writeWinners(this.#claims, this.#tables.ipcacheRows, txn);
  }

  /**
   * A pod gets its identity when the policy maps know that. Until then it has the one before, or where it is new that of an address of whom
   * nothing is known yet: packets find their way, and policies that deny somebody do not let it through.
   */
  #pod(
    owner: string,
    row: Pick<EndpointRow, 'identity' | 'addresses'> | undefined,
    claim: (identity: number, now: number) => readonly Claim<IpcacheRow>[],
    now: number,
  ): void {
    this.#waiting.delete(owner);
    const addresses = row?.addresses.join(' ') ?? '';
    const had = this.#addresses.get(owner);
    if (row === undefined) this.#addresses.delete(owner);
    else this.#addresses.set(owner, addresses);
    if (row === undefined || row.identity < minClusterIdentity || this.#inForce.has(row.identity)) {
      this.#claims.set(owner, row === undefined ? [] : claim(row.identity, now));
      return;
    }
    const { identity } = row;
    this.#waiting.set(owner, { identity, claim: at => claim(identity, at) });
    if (had !== addresses) this.#claims.set(owner, claim(reservedIdentities.unmanaged, now));
  }

  #block(key: string, row: AddressBlockRow, deleted: boolean, now: number): void {
    if (row.kind !== 'cidr') return;
    const owner = `addressBlocks:${key}`;
    const isWanted = !deleted && row.leaving !== true;
    this.#waiting.delete(owner);
    const claim = (at: number) => blockIpcache(row, this.#config, at);
    if (isWanted && !this.#inForce.has(row.id)) this.#waiting.set(owner, { identity: row.id, claim });
    else this.#claims.set(owner, isWanted ? claim(now) : []);
  }
}
