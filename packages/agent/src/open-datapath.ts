/** Joins @ciliate/datapath and @ciliate/control to the agent: tables → controllers → reconcilers → kernel. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AnyController,
  type LbLimits,
  lbMapSizes,
  lbWrites,
  registerControllers,
  restoreBlocks,
  restoreLbIds,
  restorePolicies,
} from '@ciliate/control';
import {
  createEndpointDevice,
  Datapath,
  DeviceReflector,
  endpointDeviceAlive,
  endpointDeviceOperations,
  endpointMapOperations,
  ipcacheOperations,
  isUnserved,
  lbOperations,
  lbSkipOperations,
  loadedPeer,
  loadedService,
  netdevOperations,
  netdevProgramOperations,
  nodeClassOperations,
  nodeMapOperations,
  packetCounters,
  policyClassOperations,
  policyGroupOperations,
  probePolicy,
  readDevices,
  removeEndpointDevice,
  routeOperations,
  runServiceFlow,
  StaleSockets,
} from '@ciliate/datapath';
import {
  inNetworkNamespace,
  listLinks,
  NetlinkSocket,
  namespaceInode,
  networkNamespaceCookie,
  processNamespaces,
} from '@ciliate/kernel';
import { type NodeConfig, nodeConfigDefaults, prefixAddress, prefixContains, type Tables } from '@ciliate/model';
import {
  type Database,
  type Operations,
  type Reconcilable,
  Reconciler,
  type ReconcilerHealth,
  type RWTable,
} from '@ciliate/tables';
import { acceleratedDevices, accelerations } from './acceleration.ts';
import type { AgentDatapath, DatapathNode, OpenDatapath } from './agent-datapath.ts';
import { systemClock } from './clock.ts';
import type { EndpointDevices } from './endpoint/endpoint-devices.ts';
import { waitUntilWired } from './endpoint/wired.ts';
import type { WorkHealth } from './keyed-queue.ts';
import { describe, type Log } from './log.ts';
import type { AgentOptions } from './options/agent-options.ts';
import { mayUseDsr } from './options/forwarding.ts';
import { nodeLabelFilter } from './policy/scene-settings.ts';
import type { DatapathView } from './status/context.ts';

const vxlanOverhead = 50;

/** @throws KernelError, DatapathError; what ran before goes on then */
export const openDatapath: OpenDatapath = async (options, node, { db, tables, log }) => {
  const direct = directDevice(options, node);
  const deviceMtu = options.mtu === 0 ? direct.mtu : options.mtu;
  const routeMtu = options['routing-mode'] === 'tunnel' ? deviceMtu - vxlanOverhead : deviceMtu;
  const datapath = await Datapath.start(
    {
      bpfRoot: options['bpf-root'],
      ...(options['cgroup-root'] === '' ? {} : { cgroupRoot: options['cgroup-root'] }),
      objectDir: objectDir(options),
      stateDir: options['state-dir'],
      routingMode: options['routing-mode'],
      serviceOnly: options['service-only'],
      tcAttach: options['tc-attach'],
      tunnelPort: options['tunnel-port'],
      ipv4: options['enable-ipv4'],
      ipv6: options['enable-ipv6'],
      masquerade: options['enable-bpf-masquerade'],
      nodeAddresses: node.nodeAddresses,
      routers: node.routers,
      directDevice: direct.name,
      deviceMtu,
      routeMtu,
      nodePortMin: options['node-port-range'].min,
      nodePortMax: options['node-port-range'].max,
      maxEntries: maxEntries(options),
      hostFirewall: options['enable-host-firewall'],
      policyVerdicts: options['policy-verdict-events'],
      policyMapMax: options['bpf-policy-map-max'],
      maglevSize: options['bpf-lb-maglev-table-size'],
      maglevSeed: options['bpf-lb-maglev-hash-seed'],
      dsr: mayUseDsr(options),
      dsrDispatch: options['bpf-lb-dsr-dispatch'],
      unservedDropped: options['bpf-lb-enable-wildcard-entries'],
      lbAcceleration: options['bpf-lb-acceleration'],
      acceleratedDevices: acceleratedDevices(options),
      noBackendDrop: options['bpf-lb-no-backend'] === 'drop',
      externalClusterIP: options['bpf-lb-external-clusterip'],
    },
    error => log.warn('the datapath has a problem', { error: describe(error) }),
  );
  log.info('datapath loaded', { adopted: datapath.adopted, device: direct.name, mtu: deviceMtu });
  const config = nodeConfig(options, direct.name, routeMtu);
  return new LoadedDatapath(datapath, { options, config, db, tables, log });
};

interface Modules {
  readonly options: AgentOptions;
  readonly config: NodeConfig;
  readonly db: Database;
  readonly tables: Tables;
  readonly log: Log;
}

/** What the agent needs of a reconciler of any row. */
interface AnyReconciler {
  start(): void;
  stop(): Promise<void>;
  settled(): Promise<void>;
  health(): ReconcilerHealth;
}

class LoadedDatapath implements AgentDatapath {
  readonly view: DatapathView;
  readonly endpointDevices: EndpointDevices;
  readonly #datapath: Datapath;
  readonly #modules: Modules;
  readonly #devices: DeviceReflector;
  readonly #controllers: readonly AnyController[];
  readonly #reconcilers: readonly AnyReconciler[];
  readonly #staleSockets: StaleSockets;

  constructor(datapath: Datapath, modules: Modules) {
    const { db, tables, options, config, log } = modules;
    this.#datapath = datapath;
    this.#modules = modules;
    this.#devices = new DeviceReflector(
      { patterns: options.devices, xdp: options['bpf-lb-acceleration'] !== 'disabled' },
      { socket: datapath.netlink, database: db, devices: tables.devices },
    );
    const lb = restoreLbIds(datapath.maps.lb_services.entries(), datapath.maps.lb_backends.entries());
    const onError = (error: unknown, controller: string): void =>
      log.error('controller failed', { controller, error: describe(error) });
    const policy = restorePolicies(datapath.maps.endpoints.entries());
    const blocks = restoreBlocks(
      datapath.maps.ipcache.entries(),
      datapath.maps.policy_classes.entries(),
      datapath.maps.node_classes.entries(),
    );
    const controllerModules = { database: db, clock: systemClock, onError };
    this.#controllers = registerControllers(tables, config, controllerModules, { lb, policy, blocks });
    this.#staleSockets = staleSocketsOf(datapath, modules);
    this.#reconcilers = reconcilers(datapath, modules, this.#staleSockets);
    this.endpointDevices = endpointDevices(datapath, tables);
    this.view = viewOf(datapath, tables, config);
  }

  start(): void {
    this.#devices.start();
    for (const controller of this.#controllers) controller.start();
    for (const reconciler of this.#reconcilers) reconciler.start();
    this.#datapath.startCollectors();
  }

  async stop(): Promise<void> {
    for (const controller of this.#controllers) controller.stop();
    await Promise.all(this.#reconcilers.map(reconciler => reconciler.stop()));
    this.#staleSockets.stop();
    this.#devices.stop();
    this.#datapath.stop();
  }

  async settled(): Promise<void> {
    for (const part of [...this.#controllers, ...this.#reconcilers]) await part.settled();
  }

  mtu(): number {
    return this.#modules.config.routeMtu;
  }

  health(): readonly WorkHealth[] {
    return [
      ...this.#controllers.map(controller => controller.health()),
      ...this.#reconcilers.map(item => workHealth(item.health())),
    ];
  }
}

function staleSocketsOf({ maps }: Datapath, { tables, config, log }: Modules): StaleSockets {
  return new StaleSockets({
    revnat: maps.lb_sock_revnat,
    namespaces: () => (config.serviceOnly ? processNamespaces() : tables.endpoints.all().map(row => row.netns)),
    onClosed: count => log.info('UDP sockets closed: their backend is gone', { count }),
    onError: error => log.warn('UDP sockets of a backend that is gone stay open', { error: describe(error) }),
  });
}

function reconcilers(
  datapath: Datapath,
  { tables, config, db, log }: Modules,
  stale: StaleSockets,
): readonly AnyReconciler[] {
  const { maps, attacher, netlink } = datapath;
  const make = <Row extends Reconcilable, Index extends string>(
    name: string,
    table: RWTable<Row, Index>,
    operations: Operations<Row>,
  ): AnyReconciler =>
    new Reconciler(
      { name },
      {
        table,
        database: db,
        operations,
        clock: systemClock,
        random: Math.random,
        onError: (error, key) =>
          log.warn('reconcile failed, will try again', { reconciler: name, key, error: describe(error) }),
      },
    );
  return [
    make('routes', tables.routeRows, routeOperations(netlink)),
    make('bpf-nodes', tables.nodeMapRows, nodeMapOperations(maps.nodes)),
    make('bpf-ipcache', tables.ipcacheRows, ipcacheOperations(maps.ipcache)),
    make('bpf-policy-classes', tables.policyClassRows, policyClassOperations(maps.policy_classes)),
    make('bpf-node-classes', tables.nodeClassRows, nodeClassOperations(maps.node_classes)),
    make('bpf-policy', tables.policyGroups, policyGroupOperations(maps.policy)),
    make('bpf-endpoints', tables.endpointMapRows, endpointMapOperations(maps.endpoints)),
    make('endpoint-programs', tables.endpointDeviceRows, endpointDeviceOperations(attacher)),
    make(
      'bpf-lb',
      tables.lbRows,
      lbOperations(maps, row => lbWrites(row, config), {
        added: backend => stale.added(backend),
        removed: backend => stale.removed(backend),
      }),
    ),
    make('bpf-lb-skip', tables.lbSkipRows, lbSkipOperations(maps.lb_skip)),
    make('native-devices', tables.netdevRows, netdevProgramOperations(datapath, netdevOperations(maps.netdevs))),
  ];
}

function endpointDevices({ netlink, options }: Datapath, tables: Tables): EndpointDevices {
  return {
    create: spec => createEndpointDevice(netlink, { ...spec, deviceMtu: options.deviceMtu }),
    remove: row => removeEndpointDevice(netlink, row.device),
    survivors: rows => {
      const present = new Map(listLinks(netlink).map(link => [link.name, link.ifindex]));
      return rows.filter(row => present.get(row.device) === row.ifindex);
    },
    check: row => endpointDeviceAlive(netlink, row),
    cookieOf: netns =>
      namespaceInode(netns) === undefined ? '0' : String(inNetworkNamespace(netns, networkNamespaceCookie)),
    wired: (row, signal) => waitUntilWired(tables, row, signal),
  };
}

function viewOf(datapath: Datapath, tables: Tables, config: NodeConfig): DatapathView {
  const { maps } = datapath;
  return {
    attachMode: datapath.attacher.mode === 'tcx' ? 'TCX' : 'TC',
    devices: () =>
      tables.devices
        .all()
        .filter(row => row.native)
        .map(row => ({ name: row.name, addresses: row.addresses.map(prefixAddress) })),
    acceleration: () => accelerations(datapath, tables),
    directDevice: () => config.directDevice,
    deviceMtu: () => tables.devices.get(config.directDevice)?.mtu ?? 0,
    routeMtu: () => config.routeMtu,
    socketLb: true,
    maps: () => datapath.mapUsage(),
    lbServices: () => maps.lb_services.entries(),
    lbBackends: () => maps.lb_backends.entries(),
    lbRevnat: () => maps.lb_revnat.entries(),
    lbSourceRanges: () => maps.lb_source_ranges.entries(),
    lbSkip: () => maps.lb_skip.entries(),
    lbDsr: () => maps.lb_dsr.entries(),
    lbAffinity: () => maps.lb_affinity.entries(),
    lbMaglev: () =>
      [...maps.lb_maglev.keys()].map(id => [id, maps.lb_maglev.read(id)?.[0]?.[1] ?? new Uint32Array()] as const),
    ct: () => maps.ct.entries(),
    nat: () => maps.nat.entries(),
    ipcache: () => maps.ipcache.entries(),
    endpoints: () => maps.endpoints.entries(),
    loadedPeer: address => loadedPeer(datapath, address),
    probe: flow => probePolicy(datapath, flow, tables.devices.get(config.directDevice)),
    loadedService: (flow, inside) => loadedService(datapath, flow, inside),
    isUnserved: address => isUnserved(datapath, address),
    runServiceFlow: flow => runServiceFlow(datapath, flow, arrivalAt(tables, config.directDevice)),
    policyMap: group => maps.policy.read(group),
    scanPolicyMap: group => maps.policy.scan(group),
    policyMaps: () => [...maps.policy.keys()].map(group => [group, maps.policy.read(group) ?? []] as const),
    metrics: () => packetCounters(maps),
    subscribe: listener => datapath.events.subscribe(listener),
    lostEvents: () => datapath.events.lost,
  };
}

function arrivalAt(tables: Tables, device: string) {
  const row = tables.devices.get(device);
  return row === undefined ? undefined : { device, ifindex: row.ifindex, mac: row.mac };
}

const workHealth = (health: ReconcilerHealth): WorkHealth => ({
  name: `reconcile-${health.name}`,
  lastSuccess: health.lastSuccess,
  lastFailure: undefined,
  lastError: health.failing > 0 ? health.lastError : undefined,
  successes: health.lastSuccess === undefined ? 0 : 1,
  failures: health.failing,
  consecutiveFailures: health.consecutiveFailures,
});

/** The native device that has the node's address; else the first one. */
function directDevice(options: AgentOptions, node: DatapathNode): { readonly name: string; readonly mtu: number } {
  const socket = new NetlinkSocket();
  try {
    const native = readDevices(socket, { patterns: options.devices }).filter(row => row.native);
    const own = native.find(row =>
      row.addresses.some(prefix => node.nodeAddresses.some(address => prefixContains(prefix, address))),
    );
    const chosen = own ?? native[0];
    if (chosen === undefined) {
      throw new Error('no native device found: name the devices towards other nodes with --devices');
    }
    return { name: chosen.name, mtu: chosen.mtu };
  } finally {
    socket.close();
  }
}

function nodeConfig(options: AgentOptions, direct: string, routeMtu: number): NodeConfig {
  return {
    ...nodeConfigDefaults,
    nodeName: options['node-name'],
    clusterName: options['cluster-name'],
    ipv4: options['enable-ipv4'],
    ipv6: options['enable-ipv6'],
    routingMode: options['routing-mode'],
    serviceOnly: options['service-only'],
    autoDirectNodeRoutes: options['auto-direct-node-routes'],
    directDevice: direct,
    routeMtu,
    ...lbLimits(options),
    policyMapMax: options['bpf-policy-map-max'],
    lbAlgorithm: options['bpf-lb-algorithm'],
    lbMode: options['bpf-lb-mode'],
    lbAcceleration: options['bpf-lb-acceleration'],
    lbModeAnnotation: options['bpf-lb-mode-annotation'],
    externalClusterIP: options['bpf-lb-external-clusterip'],
    sourceRangesForAll: options['bpf-lb-source-range-all-types'],
    unservedDropped: options['bpf-lb-enable-wildcard-entries'],
    nodePortCIDRs: options['nodeport-addresses'],
    maglevSize: options['bpf-lb-maglev-table-size'],
    maglevSeed: options['bpf-lb-maglev-hash-seed'],
    policyEnforcement: options['enable-policy'],
    policyAudit: options['policy-audit-mode'],
    allowLocalHost: options['allow-localhost'] !== 'policy',
    hostFirewall: options['enable-host-firewall'],
    policyCIDRMatchesNodes: options['policy-cidr-match-mode'] === 'nodes',
    nodeLabels: nodeLabelFilter(options),
  };
}

/** Where the build put them: beside the bundle, or in the checkout when run from source. */
function objectDir(options: AgentOptions): string {
  if (options['object-dir'] !== '') return options['object-dir'];
  const places = [join(import.meta.dirname, 'bpf'), join(import.meta.dirname, '../../../build/bpf')];
  return places.find(place => existsSync(place)) ?? 'build/bpf';
}

/** Ids of services have 16 bits. */
function lbLimits(options: AgentOptions): LbLimits {
  const max = options['bpf-lb-map-max'];
  return { lbServicesMax: max, lbBackendsMax: max, lbRevnatMax: Math.min(max, 65_535), lbSourceRangesMax: max };
}

function maxEntries(options: AgentOptions): Readonly<Record<string, number>> {
  return {
    ...lbMapSizes(lbLimits(options)),
    ct: options['bpf-ct-global-max'],
    nat: options['bpf-nat-global-max'],
  };
}
