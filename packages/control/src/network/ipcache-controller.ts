/** nodes, endpoints of this node and of others, address blocks of policies, where the API server is → ipcacheRows. */
import type {
  AddressBlockRow,
  EndpointRow,
  EndpointSliceRow,
  IpcacheRow,
  NodeConfig,
  NodeRow,
  PolicyGroupRow,
  PolicyPeerRow,
  RemoteEndpointRow,
  Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, type WriteTxn } from '@ciliate/tables';
import { writeWinners } from '../claim-controller.ts';
import { Claims } from '../claims.ts';
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
  const claims = new Claims<IpcacheRow>();
  const inForce = new PeersInForce(restore.cidrs.map(([, id]) => id));
  const waiting = new Map<number, AddressBlockRow>();
  const block = (row: AddressBlockRow, deleted: boolean, now: number) => {
    waiting.delete(row.id);
    const isWanted = !deleted && row.leaving !== true;
    if (isWanted && row.kind === 'cidr' && !inForce.has(row.id)) waiting.set(row.id, row);
    else claims.set(`addressBlocks:${row.kind} ${row.prefix}`, isWanted ? blockIpcache(row, config, now) : []);
  };
  const run = (changes: ChangesOf<IpcacheInputs>, txn: WriteTxn) => {
    const now = modules.clock.now();
    const apiServers = apiServerAddresses(endpointSlices);
    const node = (row: NodeRow) => claims.set(`nodes:${row.name}`, nodeIpcache(row, config, now, apiServers));
    for (const { key, row, deleted } of changes.nodes) {
      if (deleted) claims.set(`nodes:${key}`, []);
      else node(row);
    }
    for (const { key, row, deleted } of changes.endpoints) {
      claims.set(`endpoints:${key}`, deleted ? [] : endpointIpcache(row, config, now));
    }
    for (const { key, row, deleted } of changes.remoteEndpoints) {
      claims.set(`remoteEndpoints:${key}`, deleted ? [] : remoteEndpointIpcache(row, config, now));
    }
    const ready = inForce.read(changes);
    for (const { row, deleted } of changes.addressBlocks) block(row, deleted, now);
    for (const id of ready) {
      const row = waiting.get(id);
      if (row !== undefined) block(row, false, now);
    }
    if (changes.endpointSlices.some(({ row }) => isApiServerSlice(row))) {
      // A node's own address stays the node's, with another identity.
      for (const row of nodes.all()) node(row);
    }
    writeWinners(claims, tables.ipcacheRows, txn);
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
