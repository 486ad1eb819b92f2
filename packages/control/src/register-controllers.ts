import type { NodeConfig, Tables } from '@ciliate/model';
import type { ControllerHealth, ControllerModules } from '@ciliate/tables';
import {
  endpointDeviceController,
  endpointMapController,
  ipcacheController,
  netdevController,
  nodeMapController,
  routeController,
} from './network/controllers.ts';
import { frontendController } from './services/frontend-controller.ts';
import { lbController } from './services/lb-controller.ts';
import type { LbRestore } from './services/lb-state.ts';

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
}

export const nothingRestored: Restore = { lb: { services: [], backends: [] } };

/** All controllers of a node, in the order in which data flows. Nothing runs before start(). */
export function registerControllers(
  tables: Tables,
  config: NodeConfig,
  modules: ControllerModules,
  restore: Restore = nothingRestored,
): readonly AnyController[] {
  return [
    endpointDeviceController(tables, modules),
    endpointMapController(tables, config, modules),
    netdevController(tables, config, modules),
    nodeMapController(tables, config, modules),
    ipcacheController(tables, config, modules),
    routeController(tables, config, modules),
    frontendController(tables, config, modules),
    lbController(tables, config, restore.lb, modules),
  ];
}
