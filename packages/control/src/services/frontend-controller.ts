import type { FrontendRow, NodeConfig, NodeRow, Tables } from '@ciliate/model';
import { type Change, Controller, type ControllerModules, deepEqual } from '@ciliate/tables';
import { writeWinners } from '../claim-controller.ts';
import { Claims } from '../claims.ts';
import { compileService, type FrontendContext, frontendClaims, nodePortAddressesOf } from './compile-frontends.ts';

type FrontendTables = Pick<Tables, 'services' | 'endpointSlices' | 'nodes' | 'frontends'>;

/** services × endpointSlices × this node's addresses → frontends. Recompiles the services that a change touches. */
export function frontendController(
  tables: FrontendTables,
  config: Pick<NodeConfig, 'nodeName' | 'ipv4' | 'ipv6'>,
  modules: ControllerModules,
) {
  const { services, endpointSlices, nodes, frontends } = tables;
  const claims = new Claims<FrontendRow>();
  const serviceOfSlice = new Map<string, string>();
  let context: FrontendContext = { ipv4: config.ipv4, ipv6: config.ipv6, nodePortAddresses: [] };

  /** True when this node's addresses are others than before. */
  const readNode = (changes: readonly Change<NodeRow>[]): boolean => {
    if (!changes.some(change => change.key === config.nodeName)) return false;
    const nodePortAddresses = nodePortAddressesOf(nodes.get(config.nodeName));
    if (deepEqual(nodePortAddresses, context.nodePortAddresses)) return false;
    context = { ...context, nodePortAddresses };
    return true;
  };

  return new Controller(
    {
      name: 'service-frontends',
      inputs: { services, endpointSlices, nodes },
      outputs: [frontends],
      // Services without their slices would look as if nothing served them.
      whole: true,
      run: (changes, txn) => {
        const dirty = new Set(changes.services.map(change => change.key));
        for (const { key, row, deleted } of changes.endpointSlices) {
          const before = serviceOfSlice.get(key);
          if (before !== undefined) dirty.add(before);
          if (deleted) serviceOfSlice.delete(key);
          else serviceOfSlice.set(key, `${row.namespace}/${row.service}`);
          dirty.add(`${row.namespace}/${row.service}`);
        }
        if (readNode(changes.nodes)) for (const row of services.all()) dirty.add(services.spec.key(row));
        for (const key of dirty) {
          const service = services.get(key);
          const rows = service === undefined ? [] : compileService(service, endpointSlices.by('service', key), context);
          claims.set(key, frontendClaims(rows));
        }
        writeWinners(claims, frontends, txn);
      },
    },
    modules,
  );
}
