/** What compilers and controllers know of the node they run on. Fixed for the life of the agent. */
export interface NodeConfig {
  readonly nodeName: string;
  readonly clusterName: string;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly routingMode: 'tunnel' | 'native';
  /** Native: routes to other nodes' pod CIDRs through the nodes' addresses. */
  readonly autoDirectNodeRoutes: boolean;
  /** The dummy device that carries the router addresses and takes what goes to pods. */
  readonly hostDevice: string;
  /** The device towards other nodes. */
  readonly directDevice: string;
  /** Bytes that a pod may send towards other nodes in one packet: the device's MTU minus the tunnel's header. */
  readonly routeMtu: number;
  /** Entries of the kernel's maps. */
  readonly lbServicesMax: number;
  readonly lbBackendsMax: number;
  readonly lbRevnatMax: number;
}

/** Fields of NodeConfig whose values are the same on nearly every node. */
export const nodeConfigDefaults = {
  clusterName: 'default',
  ipv4: true,
  ipv6: true,
  routingMode: 'tunnel',
  autoDirectNodeRoutes: false,
  hostDevice: 'ciliate_host',
  directDevice: 'eth0',
  routeMtu: 1450,
  lbServicesMax: 65_536,
  lbBackendsMax: 65_536,
  lbRevnatMax: 65_536,
} as const satisfies Omit<NodeConfig, 'nodeName'>;
