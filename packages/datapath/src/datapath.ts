/**
 * The kernel side of a node. Nothing is detached when the agent stops: maps, programs and links outlive it, and the next start
 * adopts them.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigFlags, type DatapathConfig, encodeDatapathConfig, mapSpecs } from '@ciliate/abi';
import {
  findCgroupRoot,
  findLink,
  KernelMap,
  KernelMapOfMaps,
  KernelPerCpuMap,
  NetlinkSocket,
  networkNamespaceCookie,
  openPin,
  probeFeatures,
  requireFeatures,
} from '@ciliate/kernel';
import { type Address, addressBytes, isIPv4, parseAddress } from '@ciliate/model';
import { attachCgroup } from './attach.ts';
import { type BaseDevices, ensureBaseDevices, hostDevice, overlayDevice, removeBaseDevices } from './base-devices.ts';
import { EventStream } from './events.ts';
import { MapGc } from './gc.ts';
import { maglevCodec } from './lb-maps.ts';
import { acquireLock } from './lock.ts';
import { type PinPaths, pinPaths } from './paths.ts';
import { loadPrograms, objectsOf, type Programs } from './programs.ts';
import { chooseTcMode, TcAttacher, type TcDevice, type TcMode } from './tc-attacher.ts';
import { XdpAttacher } from './xdp-attacher.ts';

export interface DatapathOptions {
  readonly bpfRoot: string;
  /** The cgroup that holds this node's processes and pods; socket programs are attached to it. Default: the root of cgroup v2. */
  readonly cgroupRoot?: string;
  readonly objectDir: string;
  readonly stateDir: string;
  readonly routingMode: 'tunnel' | 'native';
  /** Pods belong to another CNI: no devices of ours, nothing of the node's settings is touched. */
  readonly serviceOnly: boolean;
  /** How programs get to devices; 'auto': tcx where the kernel has it. */
  readonly tcAttach: TcMode | 'auto';
  readonly tunnelPort: number;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly masquerade: boolean;
  /** This node's addresses, at most one a family. */
  readonly nodeAddresses: readonly Address[];
  readonly routers: readonly Address[];
  /** The device towards other nodes. */
  readonly directDevice: string;
  readonly deviceMtu: number;
  readonly routeMtu: number;
  readonly nodePortMin: number;
  readonly nodePortMax: number;
  readonly hostFirewall: boolean;
  /** An event for each new flow that policy has judged, not only for denied ones. */
  readonly policyVerdicts: boolean;
  /** Entries of the policy map of a group. */
  readonly policyMapMax: number;
  readonly maglevSize: number;
  readonly maglevSeed: number;
  /** Some services may be forwarded by DSR, and other nodes may send such flows. */
  readonly dsr: boolean;
  /** How the backend's node is told the frontend, where packets do not go by the overlay. */
  readonly dsrDispatch: 'opt' | 'ipip';
  readonly lbAcceleration: 'disabled' | 'native' | 'best-effort';
  /** Native devices that XDP must run on, or the datapath does not start. */
  readonly acceleratedDevices: readonly TcDevice[];
  /** A service without backends is silent, instead of refusing. */
  readonly unservedDropped: boolean;
  readonly noBackendDrop: boolean;
  readonly externalClusterIP: boolean;
  /** Entries by map name; what is not named has the size that C declares. */
  readonly maxEntries: Readonly<Record<string, number>>;
}

type Maps = ReturnType<typeof openMaps>;

function openMaps(pins: PinPaths, { policyMapMax, maglevSize }: Pick<DatapathOptions, 'policyMapMax' | 'maglevSize'>) {
  const open = (name: string): number => openPin(pins.map(name));
  return {
    lb_services: new KernelMap(open('lb_services'), mapSpecs.lb_services),
    lb_backends: new KernelMap(open('lb_backends'), mapSpecs.lb_backends),
    lb_revnat: new KernelMap(open('lb_revnat'), mapSpecs.lb_revnat),
    lb_sock_revnat: new KernelMap(open('lb_sock_revnat'), mapSpecs.lb_sock_revnat),
    ct: new KernelMap(open('ct'), mapSpecs.ct),
    nat: new KernelMap(open('nat'), mapSpecs.nat),
    frag: new KernelMap(open('frag'), mapSpecs.frag),
    ipcache: new KernelMap(open('ipcache'), mapSpecs.ipcache),
    endpoints: new KernelMap(open('endpoints'), mapSpecs.endpoints),
    netdevs: new KernelMap(open('netdevs'), mapSpecs.netdevs),
    nodes: new KernelMap(open('nodes'), mapSpecs.nodes),
    lb_affinity: new KernelMap(open('lb_affinity'), mapSpecs.lb_affinity),
    lb_affinity_match: new KernelMap(open('lb_affinity_match'), mapSpecs.lb_affinity_match),
    lb_source_ranges: new KernelMap(open('lb_source_ranges'), mapSpecs.lb_source_ranges),
    lb_skip: new KernelMap(open('lb_skip'), mapSpecs.lb_skip),
    lb_dsr: new KernelMap(open('lb_dsr'), mapSpecs.lb_dsr),
    lb_maglev: new KernelMapOfMaps(open('lb_maglev'), mapSpecs.lb_maglev, {
      ...mapSpecs.lb_maglev.inner,
      value: maglevCodec(maglevSize),
    }),
    policy_classes: new KernelMap(open('policy_classes'), mapSpecs.policy_classes),
    node_classes: new KernelMap(open('node_classes'), mapSpecs.node_classes),
    policy: new KernelMapOfMaps(open('policy'), mapSpecs.policy, {
      ...mapSpecs.policy.inner,
      maxEntries: policyMapMax,
    }),
    metrics: new KernelPerCpuMap(open('metrics'), mapSpecs.metrics),
    forwarded: new KernelPerCpuMap(open('forwarded'), mapSpecs.forwarded),
  };
}

const zero = new Uint8Array(16);

function pick(addresses: readonly Address[], ipv4: boolean): Uint8Array {
  const found = addresses.find(address => isIPv4(address) === ipv4);
  return found === undefined ? zero : addressBytes(found);
}

/** Flags of enum config_flags. */
function flagsOf(options: DatapathOptions): number {
  const families = (options.ipv4 ? 1 : 0) | (options.ipv6 ? 2 : 0);
  const { CONFIG_NODE_PORT, CONFIG_SOCKET_LB, CONFIG_HOST_FIREWALL } = ConfigFlags;
  const { CONFIG_POLICY_VERDICTS, CONFIG_DUAL_STACK_WORLD, CONFIG_DSR, CONFIG_UNSERVED_DROP } = ConfigFlags;
  const { CONFIG_NO_BACKEND_DROP, CONFIG_EXTERNAL_CLUSTER_IP, CONFIG_SERVICE_ONLY, CONFIG_DSR_IPIP } = ConfigFlags;
  return (
    families |
    (options.masquerade ? families << 2 : 0) |
    CONFIG_NODE_PORT |
    CONFIG_SOCKET_LB |
    (options.hostFirewall ? CONFIG_HOST_FIREWALL : 0) |
    (options.policyVerdicts ? CONFIG_POLICY_VERDICTS : 0) |
    (families === 3 ? CONFIG_DUAL_STACK_WORLD : 0) |
    (options.dsr ? CONFIG_DSR : 0) |
    (options.dsr && options.dsrDispatch === 'ipip' ? CONFIG_DSR_IPIP : 0) |
    (options.noBackendDrop ? CONFIG_NO_BACKEND_DROP : 0) |
    (options.serviceOnly ? CONFIG_SERVICE_ONLY : 0) |
    (options.externalClusterIP ? CONFIG_EXTERNAL_CLUSTER_IP : 0) |
    (options.unservedDropped ? CONFIG_UNSERVED_DROP : 0)
  );
}

export function configOf(options: DatapathOptions, base: BaseDevices, directIfindex: number): DatapathConfig {
  return {
    abiVersion: 1,
    flags: flagsOf(options),
    routingMode: options.routingMode === 'tunnel' ? 1 : 0,
    hostIfindex: base.host?.ifindex ?? 0,
    overlayIfindex: base.overlay?.ifindex ?? 0,
    directIfindex,
    nodeIpv4: pick(options.nodeAddresses, true),
    nodeIpv6: pick(options.nodeAddresses, false),
    routerIpv4: pick(options.routers, true),
    routerIpv6: pick(options.routers, false),
    hairpinIpv4: addressBytes(parseAddress('169.254.42.1')),
    hairpinIpv6: addressBytes(parseAddress('fe80::a9fe:2a01')),
    hostMac: base.host === undefined ? new Uint8Array(6) : Buffer.from(base.host.mac.replaceAll(':', ''), 'hex'),
    mtu: options.routeMtu,
    nodePortMin: options.nodePortMin,
    nodePortMax: options.nodePortMax,
    snatPortMin: 1024,
    snatPortMax: Math.max(1024, options.nodePortMin - 1),
    ctTcpEstablished: 21_600,
    ctTcpSyn: 60,
    ctTcpClosing: 10,
    ctUdp: 60,
    ctOther: 60,
    maglevSize: options.maglevSize,
    maglevSeed: options.maglevSeed,
    tunnelPort: options.tunnelPort,
    hostNetnsCookie: networkNamespaceCookie(),
  };
}

const mapTypes = new Map<string, string>(Object.values(mapSpecs).map(spec => [spec.name, spec.type]));

export interface MapUsage {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly entries: number;
}

export class Datapath {
  readonly options: DatapathOptions;
  readonly pins: PinPaths;
  readonly netlink: NetlinkSocket;
  readonly maps: Maps;
  readonly programs: Programs;
  readonly attacher: TcAttacher;
  readonly xdp: XdpAttacher;
  readonly events: EventStream;
  readonly collectors: readonly MapGc[];
  /** True: what a former agent left was taken over as it was. */
  readonly adopted: boolean;
  readonly #release: () => void;

  private constructor(
    parts: Pick<
      Datapath,
      'options' | 'pins' | 'netlink' | 'maps' | 'programs' | 'attacher' | 'xdp' | 'events' | 'collectors' | 'adopted'
    > & { readonly release: () => void },
  ) {
    this.options = parts.options;
    this.pins = parts.pins;
    this.netlink = parts.netlink;
    this.maps = parts.maps;
    this.programs = parts.programs;
    this.attacher = parts.attacher;
    this.xdp = parts.xdp;
    this.events = parts.events;
    this.collectors = parts.collectors;
    this.adopted = parts.adopted;
    this.#release = parts.release;
  }

  /**
   * Checks the kernel, takes the node's lock, makes or adopts devices, loads or adopts programs, attaches what does not belong to an
   * endpoint. Throws KernelError or DatapathError; then nothing that ran before has changed.
   */
  static async start(options: DatapathOptions, onError: (error: unknown) => void): Promise<Datapath> {
    const cgroupRoot = options.cgroupRoot ?? findCgroupRoot();
    requireFeatures(probeFeatures({ bpfRoot: options.bpfRoot, cgroupRoot }));
    const mode = chooseTcMode(options.tcAttach);
    mkdirSync(options.stateDir, { recursive: true });
    const release = acquireLock(join(options.stateDir, 'agent.lock'));
    try {
      const netlink = new NetlinkSocket();
      const pins = pinPaths(options.bpfRoot);
      const base = options.serviceOnly ? removeBaseDevices(netlink) : baseDevices(netlink, options);
      const direct = findLink(netlink, options.directDevice)?.ifindex ?? 0;
      const config = encodeDatapathConfig(configOf(options, base, direct));
      const { programs, adopted, keptSizes } = await loadPrograms({
        objects: objectsOf({ ...options, acceleration: options.lbAcceleration !== 'disabled' }),
        objectDir: options.objectDir,
        pins,
        config,
        maxEntries: options.maxEntries,
        innerValueSize: { lb_maglev: options.maglevSize * 4 },
        stateFile: join(options.stateDir, 'datapath.json'),
      });
      for (const kept of keptSizes) onError(kept);
      const attacher = new TcAttacher({ mode }, { pins, programs, netlink, onError });
      const xdp = new XdpAttacher({ bestEffort: options.lbAcceleration === 'best-effort' }, { pins, programs });
      for (const device of options.acceleratedDevices) xdp.attach(device);
      attachBase(attacher, base);
      attachSockets(pins, programs, cgroupRoot ?? '');
      const maps = openMaps(pins, options);
      const losses = new KernelPerCpuMap(openPin(pins.map('events_lost')), mapSpecs.events_lost);
      const events = new EventStream({
        ringFd: openPin(pins.map('events')),
        kernelLost: () => (losses.lookup(0) ?? []).reduce((sum, { count }) => sum + Number(count), 0),
        onError,
      });
      return new Datapath({
        options,
        pins,
        netlink,
        maps,
        programs,
        attacher,
        xdp,
        events,
        adopted,
        release,
        collectors: collectorsOf(programs, onError),
      });
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Arrays are always full, and left out. */
  mapUsage(): readonly MapUsage[] {
    const hashes = Object.values(this.maps).filter(map => mapTypes.get(map.name) !== 'percpu_array');
    return hashes.map(map => ({
      name: map.name,
      type: mapTypes.get(map.name) ?? '',
      size: map.maxEntries,
      entries: 'count' in map ? map.count() : [...map.entries()].length,
    }));
  }

  startCollectors(): void {
    for (const collector of this.collectors) collector.start();
  }

  /** Lets go of descriptors and the lock; the datapath goes on. */
  stop(): void {
    for (const collector of this.collectors) collector.stop();
    this.attacher.stop();
    this.events.stop();
    this.netlink.close();
    this.#release();
  }
}

function baseDevices(netlink: NetlinkSocket, options: DatapathOptions): BaseDevices {
  return ensureBaseDevices(netlink, {
    routers: options.routers,
    tunnelPort: options.tunnelPort,
    overlay: options.routingMode === 'tunnel',
    mtu: options.deviceMtu,
  });
}

function attachBase(attacher: TcAttacher, base: BaseDevices): void {
  if (base.host !== undefined) {
    attacher.attach({ device: base.host.name, ifindex: base.host.ifindex }, { egress: 'from_host' });
  }
  if (base.overlay !== undefined) {
    attacher.attach({ device: base.overlay.name, ifindex: base.overlay.ifindex }, { ingress: 'from_overlay' });
  }
  const names = [base.host, base.overlay].flatMap(link => (link === undefined ? [] : [link.name]));
  attacher.prune(
    names.map(device => ({ device })),
    name => [hostDevice, overlayDevice].includes(name),
  );
}

function attachSockets(pins: PinPaths, programs: Programs, cgroup: string): void {
  const fd = openSync(cgroup, 'r');
  try {
    attachCgroup(pins, programs, fd);
  } finally {
    closeSync(fd);
  }
}

function collectorsOf(programs: Programs, onError: (error: unknown) => void): readonly MapGc[] {
  const options = { minInterval: 1000, maxInterval: 60_000 };
  return ['ct_gc', 'nat_gc'].flatMap(name => {
    const program = programs.get(name);
    return program === undefined ? [] : [new MapGc(name, options, { program, onError })];
  });
}
