/** Asks the loaded maps and programs what becomes of a new flow to a service. */
import {
  CtDirection,
  type EndpointEntry,
  LbBackendFlags,
  type LbKey,
  type LbService,
  LbServiceFlags,
  NatDirection,
} from '@ciliate/abi';
import { testRun } from '@ciliate/kernel';
import { type Address, addressBytes } from '@ciliate/model';
import type { Datapath } from './datapath.ts';
import { countedDrop, skbContext } from './policy-probe.ts';
import { probeFrame } from './probe-frame.ts';
import { netdevPrograms, programOf } from './programs.ts';

export interface ServiceFlow {
  readonly source: Address;
  readonly destination: Address;
  /** IPPROTO_* */
  readonly protocol: number;
  readonly port: number;
}

/** Where packets from outside come in. */
export interface Arrival {
  readonly device: string;
  readonly ifindex: number;
  readonly mac: string;
}

export interface LoadedBackend {
  readonly id: number;
  readonly address: Uint8Array;
  readonly port: number;
  /** enum lb_backend_flags */
  readonly flags: number;
}

export interface LoadedService {
  readonly master: LbService;
  /** 1: the set of backends that clients inside the cluster have; 2: what pods have to which a local redirect does not apply. */
  readonly scope: number;
  readonly backends: readonly LoadedBackend[];
  /** Backend that the client is remembered with, 0: none; seconds since then. */
  readonly affinity: { readonly backendId: number; readonly age: number } | undefined;
  /** Undefined: the service does not ask where clients come from. */
  readonly sourceAllowed: boolean | undefined;
}

export type ServiceProgram = 'from_container' | 'xdp_netdev' | ReturnType<typeof netdevPrograms>['ingress'];

export interface ServiceRun {
  readonly program: ServiceProgram;
  readonly verdict: 'dropped' | 'sent' | 'passed on';
  /** enum drop_reason; 0: not dropped. */
  readonly reason: number;
  /** The packet as the program left it, from its Ethernet header; without the overlay's headers. */
  readonly packet: Uint8Array;
}

/** TC_ACT_SHOT and TC_ACT_REDIRECT; XDP_DROP, XDP_TX and XDP_REDIRECT. */
const tcVerdicts: Readonly<Record<number, ServiceRun['verdict']>> = { 2: 'dropped', 7: 'sent' };
const xdpVerdicts: Readonly<Record<number, ServiceRun['verdict']>> = { 1: 'dropped', 3: 'sent', 4: 'sent' };
const portTries = 1000;
const isLeaving =
  LbBackendFlags.LB_BACKEND_TERMINATING | LbBackendFlags.LB_BACKEND_QUARANTINED | LbBackendFlags.LB_BACKEND_MAINTENANCE;

/** As lb_lookup and its like do it. Undefined: no frontend, or one of a local redirect that does not apply to the client. `inside`: the client is a pod. */
export function loadedService(
  { maps }: Datapath,
  { source, destination, protocol, port }: ServiceFlow,
  inside: boolean,
): LoadedService | undefined {
  const key = (backendSlot: number, scope: number): LbKey => ({
    address: addressBytes(destination),
    dport: port,
    backendSlot,
    proto: protocol,
    scope,
  });
  const outer = maps.lb_services.lookup(key(0, 0));
  if (outer === undefined) return undefined;
  const scope = inside ? scopeInside(outer, key(0, 0), source, maps) : 0;
  const master = maps.lb_services.lookup(key(0, scope)) ?? (scope === notRedirected ? undefined : outer);
  if (master === undefined) return undefined;
  const backends = Array.from({ length: master.count + master.qcount }, (_, slot) => {
    const id = maps.lb_services.lookup(key(slot + 1, scope))?.backendId ?? 0;
    const backend = maps.lb_backends.lookup(id);
    return backend === undefined ? undefined : { id, ...backend };
  });
  const client = { client: addressBytes(source), revNatId: master.revNatId, byCookie: 0, scope };
  const known = maps.lb_affinity.lookup(client);
  const asked = (master.flags & LbServiceFlags.LB_SVC_SOURCE_RANGE) !== 0 && !inside;
  const listed = maps.lb_source_ranges.lookup({ prefixlen: 160, revNatId: master.revNatId, address: client.client });
  const denies = (master.flags & LbServiceFlags.LB_SVC_SOURCE_RANGE_DENY) !== 0;
  return {
    master,
    scope,
    backends: backends.filter(backend => backend !== undefined),
    affinity:
      (master.flags & LbServiceFlags.LB_SVC_AFFINITY) === 0
        ? undefined
        : { backendId: known?.backendId ?? 0, age: known === undefined ? 0 : kernelSeconds() - known.lastUsed },
    sourceAllowed: asked ? (listed !== undefined) !== denies : undefined,
  };
}

/** As of LbKey. */
const notRedirected = 2;

/** As lb_inside and lb_past_redirect do it. */
function scopeInside(
  { flags }: LbService,
  { address, dport: port, proto }: LbKey,
  source: Address,
  { endpoints, lb_skip }: Datapath['maps'],
): number {
  if ((flags & LbServiceFlags.LB_SVC_TWO_SCOPES) !== 0) return 1;
  if ((flags & LbServiceFlags.LB_SVC_LOCAL_REDIRECT) === 0) return 0;
  const endpointId = endpoints.lookup({ address: addressBytes(source) })?.id ?? 0;
  return lb_skip.lookup({ netnsCookie: 0n, address, port, proto, endpointId }) === undefined ? 0 : notRedirected;
}

/** True: the address is a service's, and what none of its ports serves is dropped. */
export function isUnserved({ maps }: Datapath, address: Address): boolean {
  const key = { address: addressBytes(address), dport: 0, backendSlot: 0, proto: 0, scope: 0 };
  return ((maps.lb_services.lookup(key)?.flags ?? 0) & LbServiceFlags.LB_SVC_UNSERVED) !== 0;
}

export function takesNewFlows({ flags }: LoadedBackend): boolean {
  return (flags & isLeaving) === 0;
}

/**
 * The first packet of the flow through the programs that get it, one after the other: from_container for a pod of this node, else those of
 * `arrival`. It goes nowhere, and what it leaves in conntrack, NAT and affinity is undone. Undefined: it would come in by no device. Throws
 * RangeError when no source port is free.
 */
export function runServiceFlow(
  datapath: Datapath,
  flow: ServiceFlow,
  arrival: Arrival | undefined,
): readonly ServiceRun[] | undefined {
  const { maps } = datapath;
  const from = maps.endpoints.lookup({ address: addressBytes(flow.source) });
  const isPod = from !== undefined && from.ifindex !== 0;
  if (!isPod && arrival === undefined) return undefined;
  const { ifindex, ...macs } = isPod ? podSide(from) : outsideSide(arrival);
  const service = loadedService(datapath, flow, isPod);
  const sourcePort = unusedPort(datapath, flow, service);
  if (sourcePort === undefined)
    throw new RangeError(`the last ${portTries} ports of ${flow.source} are in use: try again`);
  const revNatId = service?.master.revNatId ?? 0;
  const client = { client: addressBytes(flow.source), revNatId, byCookie: 0, scope: service?.scope ?? 0 };
  const remembered = maps.lb_affinity.lookup(client);
  const accelerated = !isPod && arrival !== undefined && datapath.xdp.runsOn(arrival.device);
  const programs: readonly ServiceProgram[] = isPod
    ? ['from_container']
    : [...(accelerated ? ['xdp_netdev' as const] : []), netdevPrograms(datapath.programs).ingress];
  const runs: ServiceRun[] = [];
  try {
    for (const program of programs) {
      const last = runs.at(-1);
      if (last !== undefined && last.verdict !== 'passed on') break;
      runs.push(runProgram(datapath, program, last?.packet ?? probeFrame({ ...flow, sourcePort, ...macs }), ifindex));
    }
    return runs;
  } finally {
    forget(datapath, flow, sourcePort, runs.at(-1)?.packet ?? new Uint8Array());
    if (remembered !== undefined) maps.lb_affinity.put(client, remembered);
    else maps.lb_affinity.remove(client);
  }
}

function runProgram(
  { maps, programs }: Datapath,
  program: ServiceProgram,
  frame: Uint8Array,
  ifindex: number,
): ServiceRun {
  const isXdp = program === 'xdp_netdev';
  const drops = countedDrop(maps.metrics, program);
  const context = isXdp ? xdpContext(ifindex, frame.length) : skbContext(ifindex);
  const { retval, data } = testRun(programOf(programs, program).fd, { data: frame, context });
  const verdict = (isXdp ? xdpVerdicts : tcVerdicts)[retval] ?? 'passed on';
  // What the overlay put before it is not the packet's.
  const packet = isXdp && data.length > frame.length ? data.slice(data.length - frame.length) : data;
  return { program, verdict, reason: verdict === 'dropped' ? drops() : 0, packet };
}

/** struct xdp_md of a packet that has come in by a device on which XDP runs. */
function xdpContext(ifindex: number, length: number): Uint8Array {
  const context = new DataView(new ArrayBuffer(24));
  context.setUint32(4, length, true);
  context.setUint32(12, ifindex, true);
  return new Uint8Array(context.buffer);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function podSide(from: EndpointEntry) {
  return { ifindex: from.ifindex, sourceMac: hex(from.mac), destinationMac: hex(from.nodeMac) };
}

function outsideSide(arrival: Arrival | undefined) {
  return { ifindex: arrival?.ifindex ?? 0, sourceMac: '020000000001', destinationMac: arrival?.mac ?? '' };
}

/**
 * One from which nothing goes on, to the frontend or to whatever backend may be chosen: what the run leaves is removed, and must be its own.
 * Undefined: each is in use.
 */
function unusedPort({ maps }: Datapath, flow: ServiceFlow, service: LoadedService | undefined): number | undefined {
  const peers = [{ address: addressBytes(flow.destination), port: flow.port }, ...(service?.backends ?? [])];
  const saddr = addressBytes(flow.source);
  const isFree = (sport: number): boolean =>
    peers.every(({ address: daddr, port: dport }) => {
      const key = { saddr, daddr, sport, dport, proto: flow.protocol };
      const directions = [CtDirection.CT_SERVICE, CtDirection.CT_EGRESS, CtDirection.CT_INGRESS];
      const isTracked = directions.some(direction => maps.ct.lookup({ ...key, direction }) !== undefined);
      return !isTracked && maps.nat.lookup({ ...key, direction: NatDirection.NAT_EGRESS }) === undefined;
    });
  for (let sport = 65_535; sport > 65_535 - portTries; sport -= 1) if (isFree(sport)) return sport;
  return undefined;
}

/** Entries of the flow as it was, and as the program has made it. */
function forget({ maps }: Datapath, flow: ServiceFlow, sourcePort: number, packet: Uint8Array): void {
  const client = { address: addressBytes(flow.source), port: sourcePort };
  const frontend = { address: addressBytes(flow.destination), port: flow.port };
  const { from, to } = endsOf(packet, flow.protocol) ?? { from: client, to: frontend };
  const proto = flow.protocol;
  const key = (a: End, b: End) => ({ saddr: a.address, daddr: b.address, sport: a.port, dport: b.port, proto });
  maps.ct.remove({ ...key(client, frontend), direction: CtDirection.CT_SERVICE });
  for (const direction of [CtDirection.CT_EGRESS, CtDirection.CT_INGRESS]) {
    for (const sender of [client, from]) maps.ct.remove({ ...key(sender, to), direction });
  }
  maps.nat.remove({ ...key(client, to), direction: NatDirection.NAT_EGRESS });
  maps.nat.remove({ ...key(to, from), direction: NatDirection.NAT_INGRESS });
}

interface End {
  readonly address: Uint8Array;
  readonly port: number;
}

/** Of a frame with ports directly behind its IP header, as probeFrame makes it. One of DSR leaves nothing but the service's entry. */
function endsOf(packet: Uint8Array, protocol: number): { readonly from: End; readonly to: End } | undefined {
  const bytes = Buffer.from(packet);
  if (bytes.length < 14 + 20 + 4) return undefined;
  const isV4 = bytes.readUInt16BE(12) === 0x0800;
  const [at, size, ports] = isV4 ? [26, 4, 34] : [22, 16, 54];
  const isPlain = isV4 ? bytes[14] === 0x45 && bytes[23] === protocol : bytes[20] === protocol;
  if (bytes.length < ports + 4 || !isPlain) return undefined;
  const address = (offset: number): Uint8Array => {
    const full = new Uint8Array(16);
    if (isV4) full.set([0xff, 0xff], 10);
    full.set(bytes.subarray(offset, offset + size), 16 - size);
    return full;
  };
  return {
    from: { address: address(at), port: bytes.readUInt16BE(ports) },
    to: { address: address(at + size), port: bytes.readUInt16BE(ports + 2) },
  };
}

const kernelSeconds = (): number => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));
