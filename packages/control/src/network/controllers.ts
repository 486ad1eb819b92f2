import type { NodeConfig, Tables } from '@ciliate/model';
import { Controller, type ControllerModules, replaceAll } from '@ciliate/tables';
import { claimController } from '../claim-controller.ts';
import { IdAllocator } from '../id-allocator.ts';
import { netdevEntries, nodeMapEntries } from './compile-devices.ts';
import { endpointDevice } from './compile-endpoints.ts';
import { compileRoutes } from './compile-routes.ts';

/** endpoints → endpointDeviceRows. */
export function endpointDeviceController(tables: Tables, modules: ControllerModules) {
  return claimController(
    {
      name: 'endpoint-device-rows',
      sources: { endpoints: { table: tables.endpoints, claim: row => endpointDevice(row, modules.clock.now()) } },
      output: tables.endpointDeviceRows,
    },
    modules,
  );
}

/** devices → netdevRows. */
export function netdevController(tables: Tables, config: NodeConfig, modules: ControllerModules) {
  return claimController(
    {
      name: 'netdev-rows',
      sources: { devices: { table: tables.devices, claim: row => netdevEntries(row, config, modules.clock.now()) } },
      output: tables.netdevRows,
    },
    modules,
  );
}

/** nodes → nodeMapRows. */
export function nodeMapController(tables: Tables, config: NodeConfig, modules: ControllerModules) {
  const ids = new IdAllocator({ min: 1, max: 65_535 });
  const idOf = (name: string) => ids.acquire(name) ?? 0;
  return claimController(
    {
      name: 'node-map-rows',
      sources: {
        nodes: { table: tables.nodes, claim: row => nodeMapEntries(row, idOf, config, modules.clock.now()) },
      },
      output: tables.nodeMapRows,
    },
    modules,
  );
}

/** nodes → routeRows. Compiled as a whole: a route to another node has this node's router address as its source. */
export function routeController(tables: Tables, config: NodeConfig, modules: ControllerModules) {
  const { nodes, routeRows } = tables;
  return new Controller(
    {
      name: 'route-rows',
      inputs: { nodes },
      outputs: [routeRows],
      run: (_changes, txn) => replaceAll(routeRows, txn, compileRoutes(nodes.all(), config, modules.clock.now())),
    },
    modules,
  );
}
