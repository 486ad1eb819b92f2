/** `lb/maps-dump`: the maps in the words of the data, and what of two dumps has to be equal: not ids, slots or byte layouts. */
import { LbBackendFlags, LbServiceFlags } from '@ciliate/abi';
import { addressFromBytes, hostPort, isIPv4, isLoopback, protocolOf } from '@ciliate/model';
import type { ScriptMaps } from '../../script/map-text.ts';
import { withoutLoopback } from './tables.ts';

const addressOf = (bytes: Uint8Array) => withoutLoopback(addressFromBytes(bytes));
const at = (address: Uint8Array, port: number, proto: number): string =>
  `${hostPort(addressOf(address), port)}/${protocolOf(proto) ?? 'ANY'}`;

const flagNames: readonly (readonly [number, string])[] = [
  [LbServiceFlags.LB_SVC_CLUSTER_IP, 'ClusterIP'],
  [LbServiceFlags.LB_SVC_NODE_PORT, 'NodePort'],
  [LbServiceFlags.LB_SVC_EXTERNAL_IP, 'ExternalIPs'],
  [LbServiceFlags.LB_SVC_LOAD_BALANCER, 'LoadBalancer'],
  [LbServiceFlags.LB_SVC_HOST_PORT, 'HostPort'],
  [LbServiceFlags.LB_SVC_LOCAL_REDIRECT, 'LocalRedirect'],
  [LbServiceFlags.LB_SVC_EXT_LOCAL_SCOPE, 'Local'],
  [LbServiceFlags.LB_SVC_INT_LOCAL_SCOPE, 'InternalLocal'],
  [LbServiceFlags.LB_SVC_AFFINITY, 'sessionAffinity'],
  [LbServiceFlags.LB_SVC_SOURCE_RANGE, 'check source-range'],
  [LbServiceFlags.LB_SVC_SOURCE_RANGE_DENY, 'deny'],
  [LbServiceFlags.LB_SVC_DSR, 'dsr'],
  [LbServiceFlags.LB_SVC_DELEGATED, 'delegate-if-local'],
];

function flagText(flags: number): string {
  const names = flagNames.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
  const open = LbServiceFlags.LB_SVC_ROUTABLE | LbServiceFlags.LB_SVC_LOCAL_REDIRECT;
  return [...names, ...((flags & open) === 0 ? ['non-routable'] : [])].join('+');
}

function stateText(flags: number): string {
  if ((flags & LbBackendFlags.LB_BACKEND_QUARANTINED) !== 0) return 'quarantined';
  if ((flags & LbBackendFlags.LB_BACKEND_TERMINATING) !== 0) return 'terminating';
  return (flags & LbBackendFlags.LB_BACKEND_MAINTENANCE) !== 0 ? 'maintenance' : 'active';
}

/** Scope of struct lb_key. */
const notRedirected = 2;

export function dumpMaps(maps: ScriptMaps): string {
  // What a redirect's own pods get is not in the data's maps, nor are backends that nobody else has.
  const shown = [...maps.lb_services.entries()].filter(([key]) => key.scope < notRedirected);
  const others = [...maps.lb_services.entries()].filter(([key]) => key.scope === notRedirected);
  const used = new Set(shown.filter(([key]) => key.backendSlot > 0).map(([, { backendId }]) => backendId));
  const hidden = new Set(others.map(([, { backendId }]) => backendId).filter(id => !used.has(id)));
  const services = shown.map(([key, value]) => {
    const { revNatId: id, backendId, count, qcount, flags } = value;
    const where = `ADDR=${at(key.address, key.dport, key.proto)}${key.scope === 1 ? '/i' : ''} SLOT=${key.backendSlot}`;
    const middle =
      key.backendSlot > 0
        ? `BEID=${backendId}`
        : `LBALG=${(flags & LbServiceFlags.LB_SVC_MAGLEV) === 0 ? 'undef' : 'maglev'} AFFTimeout=${backendId}`;
    return `SVC: ID=${id} ${where} ${middle} COUNT=${count} QCOUNT=${qcount} FLAGS=${flagText(flags)}${isLoopback(addressFromBytes(key.address)) ? '+loopback' : ''}`;
  });
  const backends = [...maps.lb_backends.entries()]
    .filter(([id]) => !hidden.has(id))
    .map(
      ([id, { address, port, proto, flags }]) =>
        `BE: ID=${id} ADDR=${at(address, port, proto)} STATE=${stateText(flags)}`,
    );
  const revnats = [...maps.lb_revnat.entries()].map(
    ([id, { address, port }]) => `REV: ID=${id} ADDR=${hostPort(addressOf(address), port)}`,
  );
  const affinities = [...maps.lb_affinity_match.keys()].map(key => `AFF: ID=${key.revNatId} BEID=${key.backendId}`);
  const ranges = [...maps.lb_source_ranges.keys()].map(({ revNatId, prefixlen, address }) => {
    const text = addressFromBytes(address);
    return `SRCRANGE: ID=${revNatId} CIDR=${text}/${prefixlen - 32 - (isIPv4(text) ? 96 : 0)}`;
  });
  const maglev = [...maps.lb_maglev.keys()].map(id => {
    const counts = new Map<number, number>();
    for (const backend of maps.lb_maglev.read(id)?.[0]?.[1] ?? []) counts.set(backend, (counts.get(backend) ?? 0) + 1);
    return `MAGLEV: ID=${id} INNER=[${[...counts].map(([backend, n]) => `${backend}(${n})`).join(', ')}]`;
  });
  const lines = [...affinities, ...backends, ...maglev, ...revnats, ...ranges, ...services];
  return lines
    .sort()
    .map(line => `${line}\n`)
    .join('');
}

export function isDump(text: string): boolean {
  return /^(AFF|BE|MAGLEV|REV|SRCRANGE|SVC): /m.test(text);
}

const field = (line: string, name: string): string => new RegExp(`\\b${name}=(\\S+)`).exec(line)?.[1] ?? '';
/** Both scopes of an address are one service to whom asks by its number. */
const unscoped = (address: string): string => address.replace(/\/i$/, '');
/** Says how the other program stores scopes, not what a client gets. */
const layoutFlags: readonly string[] = ['two-scopes'];

function flagsOf(line: string): readonly string[] {
  const flags = (/FLAGS=(.*)$/.exec(line)?.[1] ?? '').split('+');
  return flags.filter(flag => !layoutFlags.includes(flag)).sort();
}

/** Lines that say the same in both programs: names instead of ids, sets instead of orders. */
export function meaning(text: string): readonly string[] {
  const lines = text.split('\n').filter(line => line.trim() !== '');
  const ofKind = (kind: string) => lines.filter(line => line.startsWith(`${kind}: `));
  const backends = new Map(ofKind('BE').map(line => [field(line, 'ID'), field(line, 'ADDR')]));
  const states = new Map(ofKind('BE').map(line => [field(line, 'ID'), field(line, 'STATE')]));
  const services = new Map(ofKind('SVC').map(line => [field(line, 'ID'), unscoped(field(line, 'ADDR'))]));
  const service = (line: string) => services.get(field(line, 'ID')) ?? `no service ${field(line, 'ID')}`;
  const backend = (id: string) => backends.get(id) ?? `no backend ${id}`;
  const checked = new Set(
    ofKind('SVC')
      .filter(line => flagsOf(line).includes('check source-range'))
      .map(line => field(line, 'ID')),
  );
  const all = [
    ...ofKind('AFF').map(line => `affinity of ${service(line)} to ${backend(field(line, 'BEID'))}`),
    // The other program keeps who fails its health checks by service: behind those that answer, in its slots.
    ...ofKind('BE').map(
      line => `backend ${field(line, 'ADDR')} ${field(line, 'STATE').replace('quarantined', 'active')}`,
    ),
    ...ofKind('REV').map(line => `reverse ${field(line, 'ADDR')}`),
    // Ranges that no lookup asks for are of no meaning.
    ...ofKind('SRCRANGE')
      .filter(line => checked.has(field(line, 'ID')))
      .map(line => `range of ${service(line)} ${field(line, 'CIDR')}`),
    ...ofKind('MAGLEV').map(line => {
      const shares = [...line.matchAll(/(\d+)\((\d+)\)/g)];
      const names = shares.map(([, id = '']) => backend(id)).sort();
      const counts = shares.map(([, , n = '']) => Number(n)).sort((a, b) => b - a);
      return `maglev of ${service(line)}: ${names.join(' ')}, ${counts.join(' ')}`;
    }),
    ...serviceLines(ofKind('SVC'), backend, id => states.get(id) ?? ''),
  ];
  return [...new Set(all)].sort();
}

/** Who gets new flows, and who waits behind them. Backends that only end what they have are no slots with us: their state says it. */
function serviceLines(
  lines: readonly string[],
  backend: (id: string) => string,
  state: (id: string) => string,
): readonly string[] {
  return lines.flatMap(line => {
    if (field(line, 'SLOT') !== '0') return [];
    const address = field(line, 'ADDR');
    const slots = lines
      .filter(one => field(one, 'ADDR') === address && field(one, 'SLOT') !== '0')
      .toSorted((a, b) => Number(field(a, 'SLOT')) - Number(field(b, 'SLOT')))
      .map(one => field(one, 'BEID'));
    const count = Number(field(line, 'COUNT'));
    const behind = slots.slice(count).filter(id => state(id) !== 'terminating');
    const names = (ids: readonly string[]) => ids.map(backend).sort().join(' ') || 'nobody';
    return [
      `service ${address} affinity ${field(line, 'AFFTimeout')} ${flagsOf(line).join('+')}`,
      `service ${address} has ${names(slots.slice(0, count))}, behind them ${names(behind)}`,
    ];
  });
}
