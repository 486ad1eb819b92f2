/** The datapath as the composition root uses it. */
import type { Address, Tables } from '@ciliate/model';
import type { Database } from '@ciliate/tables';
import type { EndpointDevices } from './endpoint/endpoint-devices.ts';
import type { WorkHealth } from './keyed-queue.ts';
import type { Log } from './log.ts';
import type { AgentOptions } from './options/agent-options.ts';
import type { DatapathView } from './status/context.ts';

export interface AgentDatapath {
  readonly view: DatapathView;
  readonly endpointDevices: EndpointDevices;
  /** Reconcilers and controllers. */
  readonly health: () => readonly WorkHealth[];
  readonly mtu: () => number;
  /** Resolves when the kernel has all that the tables want by now. */
  settled(): Promise<void>;
  /** Controllers and reconcilers begin; endpoints are restored by now. */
  start(): void | Promise<void>;
  /** Stops writing; programs, links and maps stay where they are. */
  stop(): void | Promise<void>;
}

/** What must be known before programs can be loaded. */
export interface DatapathNode {
  readonly nodeAddresses: readonly Address[];
  readonly routers: readonly Address[];
}

export type OpenDatapath = (
  options: AgentOptions,
  node: DatapathNode,
  modules: { readonly db: Database; readonly tables: Tables; readonly log: Log },
) => Promise<AgentDatapath>;
