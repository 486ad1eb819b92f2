/** Asks the loaded programs and maps about a flow: what the kernel would do, not what we think that it does. */
import type { EndpointEntry, MetricsEntry, MetricsKey } from '@ciliate/abi';
import { ReservedIdentity, VerdictSource } from '@ciliate/abi';
import { type BpfMap, findLink, testRun } from '@ciliate/kernel';
import { type Address, addressBytes, minClusterIdentity, reservedIdentities } from '@ciliate/model';
import { hostDevice } from './base-devices.ts';
import type { Datapath } from './datapath.ts';
import { probeFrame } from './probe-frame.ts';
import { programOf } from './programs.ts';

export interface ProbeAnswer {
  readonly program: string;
  readonly passed: boolean;
  /** enum drop_reason; 0: it passed, or no reason was counted. */
  readonly reason: number;
}

/** Lookups as the programs do them. */
export function loadedPeer(
  { maps }: Datapath,
  address: Address,
): {
  readonly endpoint: EndpointEntry | undefined;
  readonly identity: number;
  readonly classIdentity: number;
  /** The policy maps know the identity (is_known of bpf/lib/policy.h). */
  readonly known: boolean;
} {
  const key = { prefixlen: 128, address: addressBytes(address) };
  const endpoint = maps.endpoints.lookup({ address: key.address });
  const ofAddress = maps.ipcache.lookup(key)?.identity ?? 0;
  const identity = endpoint?.identity ?? ofAddress;
  const ofNode = nodeIdentities.includes(identity) ? maps.node_classes.lookup({ address: key.address }) : undefined;
  return {
    endpoint,
    identity,
    classIdentity: (ofNode ?? maps.policy_classes.lookup(key))?.identity ?? 0,
    known: identity < minClusterIdentity ? identity !== reservedIdentities.unmanaged : identity === ofAddress,
  };
}

const nodeIdentities: readonly number[] = [
  ReservedIdentity.IDENTITY_HOST,
  ReservedIdentity.IDENTITY_REMOTE_NODE,
  ReservedIdentity.IDENTITY_KUBE_APISERVER,
];
const tcActShot = 2;
/** Offset of ifindex in struct __sk_buff. */
const skbIfindex = 40;
const skbSize = 192;

export interface PolicyFlow {
  readonly source: Address;
  readonly destination: Address;
  /** IPPROTO_* */
  readonly protocol: number;
  /** ICMP: the type. */
  readonly port: number;
}

/** A native device, where packets of others come in. */
export interface ProbeDevice {
  readonly ifindex: number;
  readonly mac: string;
}

/**
 * The first packet of a flow through the program that gets it on this node (BPF_PROG_TEST_RUN). It goes nowhere; what it leaves in
 * connection tracking is removed. What comes by the overlay is shown to from_netdev, which takes the sender's identity from its address: a
 * test run has no VNI. Undefined: neither end is on this node.
 */
export function probePolicy(
  datapath: Datapath,
  flow: PolicyFlow,
  device: ProbeDevice | undefined,
): ProbeAnswer | undefined {
  const entry = entryOf(datapath, flow, device);
  if (entry === undefined) return undefined;
  const { program, ifindex, ...macs } = entry;
  const { maps, programs } = datapath;
  const sourcePort = freePort(datapath, flow);
  const data = probeFrame({ ...flow, sourcePort, ...macs });
  const drop = countedDrop(maps.metrics, program);
  try {
    const { retval } = testRun(programOf(programs, program).fd, { data, context: skbContext(ifindex) });
    return retval === tcActShot ? { program, passed: false, reason: drop() } : { program, passed: true, reason: 0 };
  } finally {
    for (const key of ctKeys(flow, sourcePort)) maps.ct.remove(key);
  }
}

interface Entry {
  readonly program: keyof typeof sources;
  readonly ifindex: number;
  readonly sourceMac: string;
  readonly destinationMac: string;
}

/** Where the packet meets us first. */
function entryOf(datapath: Datapath, flow: PolicyFlow, device: ProbeDevice | undefined): Entry | undefined {
  const { maps, netlink } = datapath;
  const [from, to] = [flow.source, flow.destination].map(one => maps.endpoints.lookup({ address: addressBytes(one) }));
  if (from !== undefined && from.ifindex !== 0) {
    const macs = { sourceMac: macText(from.mac), destinationMac: macText(from.nodeMac) };
    return { program: 'from_container', ifindex: from.ifindex, ...macs };
  }
  const macs = { sourceMac: '020000000001', destinationMac: device?.mac ?? '' };
  if (from === undefined) {
    return to === undefined || device === undefined
      ? undefined
      : { program: 'from_netdev', ifindex: device.ifindex, ...macs };
  }
  const isPod = to === undefined ? goesByOverlay(datapath, flow.destination) : to.ifindex !== 0;
  if (isPod) return { program: 'from_host', ifindex: findLink(netlink, hostDevice)?.ifindex ?? 0, ...macs };
  return to === undefined && device !== undefined
    ? { program: 'to_netdev', ifindex: device.ifindex, ...macs }
    : undefined;
}

function goesByOverlay({ maps }: Datapath, address: Address): boolean {
  const entry = maps.ipcache.lookup({ prefixlen: 128, address: addressBytes(address) });
  return entry?.tunnelEndpoint.some(byte => byte !== 0) ?? false;
}

const macText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function ctKeys({ source, destination, protocol, port }: PolicyFlow, sourcePort: number) {
  const isIcmp = protocol === 1 || protocol === 58;
  const [saddr, daddr] = [addressBytes(source), addressBytes(destination)];
  // An ICMP query is tracked by its identifier.
  const dports = isIcmp ? [0, sourcePort] : [port];
  return [0, 1].flatMap(direction =>
    dports.map(dport => ({ saddr, daddr, sport: sourcePort, dport, proto: protocol, direction })),
  );
}

/** A port from which nothing goes on: an open flow would be asked about itself. */
function freePort({ maps }: Datapath, flow: PolicyFlow): number {
  for (let port = 65_535; port > 64_000; port -= 1) {
    if (ctKeys(flow, port).every(key => maps.ct.lookup(key) === undefined)) return port;
  }
  return 64_000;
}

/** struct __sk_buff of a packet that has come in by a device. */
export function skbContext(ifindex: number): Uint8Array {
  const context = new DataView(new ArrayBuffer(skbSize));
  context.setUint32(skbIfindex, ifindex, true);
  return new Uint8Array(context.buffer);
}

const sources = {
  from_container: VerdictSource.FROM_CONTAINER,
  from_netdev: VerdictSource.FROM_NETDEV,
  from_host: VerdictSource.FROM_HOST,
  to_netdev: VerdictSource.TO_NETDEV,
  from_foreign: VerdictSource.FROM_NETDEV,
  to_foreign: VerdictSource.TO_NETDEV,
  xdp_netdev: VerdictSource.XDP_NETDEV,
} as const;

/** Asked after a run: the reason for which the program has dropped since this call; 0: none. */
export function countedDrop(
  metrics: Pick<BpfMap<MetricsKey, readonly MetricsEntry[]>, 'entries'>,
  program: keyof typeof sources,
): () => number {
  const before = dropCounts(metrics, sources[program]);
  return () => {
    const after = dropCounts(metrics, sources[program]);
    return [...after].find(([reason, count]) => reason !== 0 && count > (before.get(reason) ?? 0n))?.[0] ?? 0;
  };
}

/** Reason → packets of all CPUs. */
function dropCounts(
  metrics: Pick<BpfMap<MetricsKey, readonly MetricsEntry[]>, 'entries'>,
  program: number,
): ReadonlyMap<number, bigint> {
  const counts = new Map<number, bigint>();
  for (const [{ reason, source }, values] of metrics.entries()) {
    if (source !== program) continue;
    counts.set(
      reason,
      values.reduce((sum, { packets }) => sum + packets, counts.get(reason) ?? 0n),
    );
  }
  return counts;
}
