import type { NodeConfig, Tables } from '@ciliate/model';
import type { ControllerHealth, ControllerModules } from '@ciliate/tables';
import {
  endpointDeviceController,
  netdevController,
  nodeMapController,
  routeController,
} from './network/controllers.ts';
import { endpointMapController } from './network/endpoint-map-controller.ts';
import { ipcacheController } from './network/ipcache-controller.ts';
import type { AddressFacts } from './policy/address-asks.ts';
import { addressBlockController } from './policy/address-blocks.ts';
import { policyClassController } from './policy/class-rows.ts';
import { noPolicyRestored, type PolicyRestore, policyController } from './policy/policy-controller.ts';
import { type BlockRestore, noBlocksRestored } from './policy/restore-policy.ts';
import { serviceTargetsController } from './policy/service-targets.ts';
import { frontendController } from './services/frontend-controller.ts';
import { lbController } from './services/lb-controller.ts';
import type { LbRestore } from './services/lb-state.ts';
import { redirectSkipController } from './services/redirect-skips.ts';

/** What the agent needs of a controller of any inputs. */
export interface AnyController {
  readonly name: string;
  start(): void;
  stop(): void;
  health(): ControllerHealth;
  settled(): Promise<void>;
}

/** Ids that the kernel held before this agent started. */
export interface Restore {
  readonly lb: LbRestore;
  readonly policy: PolicyRestore;
  readonly blocks: BlockRestore;
}

export const nothingRestored: Restore = {
  lb: { services: [], backends: [] },
  policy: noPolicyRestored,
  blocks: noBlocksRestored,
};

/** All controllers of a node, in the order in which data flows. Nothing runs before start(). */
export function registerControllers(
  tables: Tables,
  config: NodeConfig,
  modules: ControllerModules,
  restore: Restore = nothingRestored,
): readonly AnyController[] {
  const policy = {
    nodeName: config.nodeName,
    mode: config.policyEnforcement,
    allowLocalHost: config.allowLocalHost,
    dualStack: config.ipv4 && config.ipv6,
    hostFirewall: config.hostFirewall,
    cidrMatchesNodes: config.policyCIDRMatchesNodes,
    maxEntries: config.policyMapMax,
    addressMaps: { classes: config.policyClassesMax, ipcache: config.ipcacheMax },
  };
  return [
    serviceTargetsController(tables, modules),
    addressBlockController(tables, addressFacts(config), restore.blocks, modules),
    policyController(tables, policy, restore.policy, modules),
    policyClassController(tables, restore.blocks, modules),
    endpointDeviceController(tables, modules),
    endpointMapController(tables, config, modules, restore.policy),
    netdevController(tables, config, modules),
    nodeMapController(tables, config, modules),
    ipcacheController(tables, config, modules, restore.blocks),
    routeController(tables, config, modules),
    frontendController(tables, config, modules),
    lbController(tables, config, restore.lb, modules),
    redirectSkipController(tables, config, modules),
  ];
}

const addressFacts = ({ clusterName, policyCIDRMatchesNodes, nodeLabels }: NodeConfig): AddressFacts => ({
  clusterName,
  cidrMatchesNodes: policyCIDRMatchesNodes,
  nodeLabels,
});
