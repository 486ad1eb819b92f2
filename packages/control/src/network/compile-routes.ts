import { type Address, isIPv4, type NodeConfig, type NodeRow, type Prefix, type RouteRow } from '@ciliate/model';
import { pending } from '@ciliate/tables';
import { isEnabled, nodeIP } from './addresses.ts';

export type RouteConfig = Pick<
  NodeConfig,
  'ipv4' | 'ipv6' | 'routingMode' | 'serviceOnly' | 'autoDirectNodeRoutes' | 'hostDevice' | 'directDevice' | 'routeMtu'
>;

/**
 * Routes of this node's main table: its own pod CIDRs through the host device, those of others through the tunnel (by way
 * of the host device too) or directly through their nodes. Source is the router's address, which pods' replies can reach.
 */
export function compileRoutes(nodes: readonly NodeRow[], config: RouteConfig, now: number): readonly RouteRow[] {
  const local = nodes.find(node => node.local);
  if (local === undefined || config.serviceOnly) return [];
  const routes = new Map<Prefix, RouteRow>();
  for (const node of [...nodes.filter(other => !other.local), local]) {
    for (const prefix of node.podCIDRs) {
      const source = local.routerAddresses.find(address => isIPv4(address) === isIPv4(prefix));
      const hop = node.local ? viaHost(config, 0) : hopTo(node, prefix, config);
      if (hop === undefined || !isEnabled(prefix, config)) continue;
      routes.set(prefix, { prefix, ...hop, source, status: pending(now) });
    }
  }
  return [...routes.values()];
}

type Hop = Pick<RouteRow, 'device' | 'gateway' | 'mtu'>;

/** mtu 0: the device's. */
function viaHost(config: RouteConfig, mtu: number): Hop {
  return { device: config.hostDevice, gateway: undefined, mtu };
}

/** Undefined: the network is trusted to know the way. */
function hopTo(node: NodeRow, prefix: Prefix, config: RouteConfig): Hop | undefined {
  if (config.routingMode === 'tunnel') return viaHost(config, config.routeMtu);
  const gateway: Address | undefined = nodeIP(node, isIPv4(prefix));
  if (!config.autoDirectNodeRoutes || gateway === undefined) return undefined;
  return { device: config.directDevice, gateway, mtu: 0 };
}
