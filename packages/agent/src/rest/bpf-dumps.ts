/** Map entries as JSON (GET /v1/ciliate/bpf/*): flags as names, addresses as text, ports in host order. */
import {
  CtDirection,
  type CtEntry,
  CtFlags,
  type CtKey,
  decodeCtServiceEntry,
  type EndpointEntry,
  EndpointFlags,
  type EndpointKey,
  encodeCtEntry,
  type IpcacheEntry,
  IpcacheFlags,
  type IpcacheKey,
  type LbBackend,
  LbBackendFlags,
  type LbKey,
  type LbService,
  LbServiceFlags,
  MetricDirection,
  type MetricsEntry,
  type MetricsKey,
  NatDirection,
  type NatEntry,
  type NatKey,
} from '@ciliate/abi';
import { dropReasonName, programName, protocolName } from '@ciliate/hubble';
import { addressFromBytes, hostPort } from '@ciliate/model';
import type {
  CtDumpEntry,
  EndpointDumpEntry,
  IpcacheDumpEntry,
  LbDumpEntry,
  MetricsDumpEntry,
  NatDumpEntry,
} from '@ciliate/protocol';

type Entries<K, V> = Iterable<readonly [K, V]>;

const end = (address: Uint8Array, port: number): string => hostPort(addressFromBytes(address), port);
const isZero = (bytes: Uint8Array): boolean => bytes.every(byte => byte === 0);
const mac = (bytes: Uint8Array): string => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(':');

/** Names of the set bits, without the prefix of the enum and in lower case with dashes. */
export function flagNames(value: number, names: Readonly<Record<string, number>>, prefix: string): readonly string[] {
  return Object.entries(names)
    .filter(([, bit]) => (value & bit) !== 0)
    .map(([name]) => name.slice(prefix.length).toLowerCase().replaceAll('_', '-'));
}

const scopeNames = ['external', 'internal', 'not-redirected'] as const;

/** Of struct lb_key. */
export function scopeName(scope: number): LbDumpEntry['scope'] {
  return scopeNames[scope] ?? 'external';
}

const serviceTypes: readonly (readonly [number, string])[] = [
  [LbServiceFlags.LB_SVC_NODE_PORT, 'NodePort'],
  [LbServiceFlags.LB_SVC_LOAD_BALANCER, 'LoadBalancer'],
  [LbServiceFlags.LB_SVC_EXTERNAL_IP, 'ExternalIPs'],
  [LbServiceFlags.LB_SVC_HOST_PORT, 'HostPort'],
  [LbServiceFlags.LB_SVC_LOCAL_REDIRECT, 'LocalRedirect'],
];

export function dumpLb(
  services: Entries<LbKey, LbService>,
  backends: Entries<number, LbBackend>,
): readonly LbDumpEntry[] {
  const byId = new Map(backends);
  const rows = [...services].map(([key, value]): LbDumpEntry => {
    const backend = key.backendSlot === 0 ? undefined : byId.get(value.backendId);
    return {
      frontend: `${end(key.address, key.dport)}/${key.proto === 0 ? 'ANY' : protocolName(key.proto)}`,
      id: value.revNatId,
      slot: key.backendSlot,
      type: serviceTypes.find(([bit]) => (value.flags & bit) !== 0)?.[1] ?? 'ClusterIP',
      flags: flagNames(value.flags, LbServiceFlags, 'LB_SVC_'),
      scope: scopeName(key.scope),
      count: value.count,
      qcount: value.qcount,
      backendId: key.backendSlot === 0 ? 0 : value.backendId,
      backend: backend === undefined ? '' : end(backend.address, backend.port),
      backendFlags: backend === undefined ? [] : flagNames(backend.flags, LbBackendFlags, 'LB_BACKEND_'),
    };
  });
  return rows.sort((a, b) => a.id - b.id || a.frontend.localeCompare(b.frontend) || a.slot - b.slot);
}

const ctDirections: Readonly<Record<number, CtDumpEntry['direction']>> = {
  [CtDirection.CT_EGRESS]: 'egress',
  [CtDirection.CT_INGRESS]: 'ingress',
  [CtDirection.CT_SERVICE]: 'service',
};

/** `now`: seconds of the kernel's monotonic clock. */
export function dumpCt(entries: Entries<CtKey, CtEntry>, now: number): readonly CtDumpEntry[] {
  return Array.from(entries, ([key, value]) => ({
    protocol: protocolName(key.proto),
    direction: ctDirections[key.direction] ?? 'egress',
    source: end(key.saddr, key.sport),
    destination: end(key.daddr, key.dport),
    expires: value.expires,
    remaining: value.expires - now,
    flags: flagNames(value.flags, CtFlags, 'CT_'),
    revNatId: value.revNatId,
    backendId: value.backendId,
    ...(key.direction === CtDirection.CT_SERVICE ? serviceFlow(value) : counted(value)),
  }));
}

const counted = (value: CtEntry) => ({
  packets: Number(value.packets),
  bytes: Number(value.bytes),
  backend: '',
  sourceIdentity: value.peerIdentity,
});

/** An entry of CT_SERVICE has the backend where others count. */
function serviceFlow(value: CtEntry) {
  const { backendAddress, backendPort } = decodeCtServiceEntry(encodeCtEntry(value));
  return { packets: 0, bytes: 0, backend: end(backendAddress, backendPort), sourceIdentity: 0 };
}

export function dumpNat(entries: Entries<NatKey, NatEntry>, now: number): readonly NatDumpEntry[] {
  return Array.from(entries, ([key, value]) => ({
    protocol: protocolName(key.proto),
    direction: key.direction === NatDirection.NAT_EGRESS ? 'egress' : 'ingress',
    source: end(key.saddr, key.sport),
    destination: end(key.daddr, key.dport),
    translated: end(value.toAddress, value.toPort),
    expires: value.expires,
    remaining: value.expires - now,
  }));
}

export function dumpIpcache(entries: Entries<IpcacheKey, IpcacheEntry>): readonly IpcacheDumpEntry[] {
  const rows = Array.from(
    entries,
    ([key, value]): IpcacheDumpEntry => ({
      prefix: ipcachePrefix(key),
      identity: value.identity,
      tunnelEndpoint: isZero(value.tunnelEndpoint) ? '' : addressFromBytes(value.tunnelEndpoint),
      flags: flagNames(value.flags, IpcacheFlags, 'IPCACHE_'),
    }),
  );
  return rows.sort((a, b) => a.prefix.localeCompare(b.prefix, 'en', { numeric: true }));
}

/** The kernel counts bits of the 16-byte form; ::/0 to ::ffff:0:0/95 stay IPv6. */
function ipcachePrefix(key: IpcacheKey): string {
  const mapped =
    key.address.subarray(0, 10).every(byte => byte === 0) && key.address[10] === 255 && key.address[11] === 255;
  const length = mapped && key.prefixlen >= 96 ? key.prefixlen - 96 : key.prefixlen;
  return `${addressFromBytes(key.address)}/${length}`;
}

export function dumpEndpoints(entries: Entries<EndpointKey, EndpointEntry>): readonly EndpointDumpEntry[] {
  const rows = Array.from(
    entries,
    ([key, value]): EndpointDumpEntry => ({
      address: addressFromBytes(key.address),
      id: value.id,
      ifindex: value.ifindex,
      identity: value.identity,
      mac: mac(value.mac),
      nodeMac: mac(value.nodeMac),
      policyGroup: value.policyGroup,
      policyRevision: value.policyRevision,
      flags: flagNames(value.flags, EndpointFlags, 'ENDPOINT_'),
    }),
  );
  return rows.sort((a, b) => a.address.localeCompare(b.address, 'en', { numeric: true }));
}

const metricDirections: Readonly<Record<number, MetricsDumpEntry['direction']>> = {
  [MetricDirection.METRIC_INGRESS]: 'ingress',
  [MetricDirection.METRIC_EGRESS]: 'egress',
  [MetricDirection.METRIC_SERVICE]: 'service',
};

/** Values of all CPUs added up. */
export function dumpMetrics(entries: Entries<MetricsKey, readonly MetricsEntry[]>): readonly MetricsDumpEntry[] {
  return Array.from(entries, ([key, values]) => ({
    reason: key.reason,
    reasonName: dropReasonName(key.reason),
    direction: metricDirections[key.direction] ?? 'unknown',
    program: programName(key.source),
    packets: values.reduce((sum, value) => sum + Number(value.packets), 0),
    bytes: values.reduce((sum, value) => sum + Number(value.bytes), 0),
  }));
}
