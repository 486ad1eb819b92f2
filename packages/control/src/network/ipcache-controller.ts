/** nodes, endpoints of this node and of others, address blocks of policies, where the API server is → ipcacheRows. */
import type {
  AddressBlockRow,
  EndpointRow,
  EndpointSliceRow,
  IpcacheRow,
  NodeConfig,
  NodeRow,
  RemoteEndpointRow,
  Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, type WriteTxn } from '@ciliate/tables';
import { writeWinners } from '../claim-controller.ts';
import { Claims } from '../claims.ts';
import { apiServerAddresses, isApiServerSlice } from './api-servers.ts';
import { blockIpcache, endpointIpcache, nodeIpcache, remoteEndpointIpcache } from './compile-ipcache.ts';

type IpcacheInputs = {
  readonly nodes: NodeRow;
  readonly endpoints: EndpointRow;
  readonly remoteEndpoints: RemoteEndpointRow;
  readonly addressBlocks: AddressBlockRow;
  readonly endpointSlices: EndpointSliceRow;
};

export function ipcacheController(
  tables: Tables,
  config: NodeConfig,
  modules: ControllerModules,
): Controller<IpcacheInputs> {
  const { nodes, endpoints, remoteEndpoints, addressBlocks, endpointSlices, ipcacheRows } = tables;
  const claims = new Claims<IpcacheRow>();
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
    for (const { key, row, deleted } of changes.addressBlocks) {
      claims.set(`addressBlocks:${key}`, deleted ? [] : blockIpcache(row, config, now));
    }
    if (changes.endpointSlices.some(({ row }) => isApiServerSlice(row))) {
      // A node's own address stays the node's, with another identity.
      for (const row of nodes.all()) node(row);
    }
    writeWinners(claims, ipcacheRows, txn);
  };
  return new Controller<IpcacheInputs>(
    {
      name: 'ipcache-rows',
      inputs: { nodes, endpoints, remoteEndpoints, addressBlocks, endpointSlices },
      outputs: [ipcacheRows],
      run,
    },
    modules,
  );
}
