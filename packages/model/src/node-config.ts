/** What compilers and controllers know of the node they run on. Fixed for the life of the agent. */
import { mapSpecs } from '@ciliate/abi';
import type { Prefix } from './address.ts';
import { allLabels, type LabelFilter } from './label-filter.ts';

export interface NodeConfig {
  readonly nodeName: string;
  readonly clusterName: string;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly routingMode: 'tunnel' | 'native';
  /** Pods belong to another CNI: nothing is routed to them or delivered, and those of this node are reached by its own routes. */
  readonly serviceOnly: boolean;
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
  readonly lbSourceRangesMax: number;
  readonly lbAlgorithm: 'random' | 'maglev';
  /** How a backend on another node is reached; hybrid: DSR for TCP alone. */
  readonly lbMode: 'snat' | 'dsr' | 'hybrid';
  /** A service may choose SNAT or DSR by its annotation. */
  readonly lbModeAnnotation: boolean;
  /** XDP on native devices: nowhere, on each, or on those whose driver can. */
  readonly lbAcceleration: 'disabled' | 'native' | 'best-effort';
  /** ClusterIPs answer clients outside the cluster. */
  readonly externalClusterIP: boolean;
  /** loadBalancerSourceRanges count for every address of a service, NodePorts too. */
  readonly sourceRangesForAll: boolean;
  /** What no port of a service's own address serves is dropped, not routed. */
  readonly unservedDropped: boolean;
  /** Of the node's addresses only those in these answer NodePorts; none: all. */
  readonly nodePortCIDRs: readonly Prefix[];
  /** Entries of a Maglev table, one of maglevSizes. */
  readonly maglevSize: number;
  readonly maglevSeed: number;
  /** Entries of the policy map of one group of endpoints. */
  readonly policyMapMax: number;
  /** Prefixes that policy_classes and ipcache have room for. */
  readonly policyClassesMax: number;
  readonly ipcacheMax: number;
  /** Whom policies isolate: those that one selects, everybody, nobody. */
  readonly policyEnforcement: 'default' | 'always' | 'never';
  /** What policy would deny is reported and let through. */
  readonly policyAudit: boolean;
  /** The node's own processes reach its pods whatever policies say. */
  readonly allowLocalHost: boolean;
  /** Policies with a nodeSelector are enforced. */
  readonly hostFirewall: boolean;
  /** Address blocks of Cilium's policies hold nodes too, not outsiders alone. */
  readonly policyCIDRMatchesNodes: boolean;
  /** Labels of nodes that policies may select by. */
  readonly nodeLabels: LabelFilter;
}

/** Fields of NodeConfig whose values are the same on nearly every node. */
export const nodeConfigDefaults = {
  clusterName: 'default',
  ipv4: true,
  ipv6: true,
  routingMode: 'tunnel',
  serviceOnly: false,
  autoDirectNodeRoutes: false,
  hostDevice: 'ciliate_host',
  directDevice: 'eth0',
  routeMtu: 1450,
  lbServicesMax: 65_536,
  lbBackendsMax: 65_536,
  lbRevnatMax: 65_535,
  lbSourceRangesMax: 65_536,
  lbAlgorithm: 'random',
  lbMode: 'snat',
  lbModeAnnotation: false,
  lbAcceleration: 'disabled',
  externalClusterIP: false,
  sourceRangesForAll: false,
  unservedDropped: true,
  nodePortCIDRs: [],
  maglevSize: 16_381,
  maglevSeed: 1,
  policyMapMax: 16_384,
  policyClassesMax: mapSpecs.policy_classes.maxEntries,
  ipcacheMax: mapSpecs.ipcache.maxEntries,
  policyEnforcement: 'default',
  policyAudit: false,
  allowLocalHost: true,
  hostFirewall: false,
  policyCIDRMatchesNodes: false,
  nodeLabels: allLabels,
} as const satisfies Omit<NodeConfig, 'nodeName'>;
