/** Maps beside lb_services, as rows (GET /v1/ciliate/bpf/lb?map=…). */
import { type LbBackend, LbBackendFlags } from '@ciliate/abi';
import { protocolName } from '@ciliate/hubble';
import { addressFromBytes, hostPort, isIPv4 } from '@ciliate/model';
import type { LbMapName, LbMapRow } from '@ciliate/protocol';
import type { DatapathView } from '../status/context.ts';
import { flagNames, scopeName } from './bpf-dumps.ts';

const end = (address: Uint8Array, port: number): string => hostPort(addressFromBytes(address), port);

/** `now`: seconds of the kernel's monotonic clock. */
export function dumpLbMap(name: LbMapName, datapath: DatapathView, now: number): readonly LbMapRow[] {
  const backends = new Map(datapath.lbBackends());
  const backendText = (id: number): string => {
    const backend = backends.get(id);
    return backend === undefined ? `no backend ${id}` : end(backend.address, backend.port);
  };
  switch (name) {
    case 'backends':
      return [...backends].map(([id, backend]) => backendRow(id, backend)).toSorted(byId);
    case 'revnat':
      return Array.from(datapath.lbRevnat(), ([id, value]) => ({
        id,
        frontend: end(value.address, value.port),
      })).toSorted(byId);
    case 'source-ranges':
      return Array.from(datapath.lbSourceRanges(), ([{ prefixlen, revNatId, address }]) => ({
        id: revNatId,
        range: rangeText(address, prefixlen - 32),
      })).toSorted(byId);
    case 'affinity':
      return Array.from(datapath.lbAffinity(), ([{ client, revNatId, byCookie, scope }, value]) => ({
        id: revNatId,
        client: byCookie === 0 ? addressFromBytes(client) : `namespace ${cookieText(client)}`,
        scope: scopeName(scope),
        backend: backendText(value.backendId),
        'seconds-ago': now - value.lastUsed,
      })).toSorted(byId);
    case 'skip':
      return Array.from(datapath.lbSkip(), ([{ netnsCookie, endpointId, address, port, proto }]) => ({
        pod: endpointId === 0 ? `namespace ${netnsCookie}` : `endpoint ${endpointId}`,
        frontend: `${end(address, port)}/${protocolName(proto)}`,
      })).toSorted((a, b) => (`${a.pod} ${a.frontend}` < `${b.pod} ${b.frontend}` ? -1 : 1));
    case 'dsr':
      return Array.from(datapath.lbDsr(), ([{ frontend, port, proto, backend }, { backendPort }]) => ({
        frontend: `${end(frontend, port)}/${protocolName(proto)}`,
        backend: end(backend, backendPort),
      })).toSorted((a, b) => (`${a.frontend} ${a.backend}` < `${b.frontend} ${b.backend}` ? -1 : 1));
    case 'maglev':
      return Array.from(datapath.lbMaglev(), ([id, table]) => ({
        id,
        entries: table.length,
        backends: shares(table, backendText),
      })).toSorted(byId);
  }
}

const byId = (a: { readonly id: number }, b: { readonly id: number }): number => a.id - b.id;

function backendRow(id: number, { address, port, proto, flags }: LbBackend): LbMapRow & { readonly id: number } {
  const backend = `${end(address, port)}/${protocolName(proto)}`;
  return { id, backend, flags: flagNames(flags, LbBackendFlags, 'LB_BACKEND_').join(', ') };
}

/** `bits` of the 16-byte form. */
function rangeText(bytes: Uint8Array, bits: number): string {
  const address = addressFromBytes(bytes);
  return `${address}/${isIPv4(address) && bits >= 96 ? bits - 96 : bits}`;
}

/** SO_NETNS_COOKIE, in the first eight bytes. */
function cookieText(client: Uint8Array): string {
  return String(Buffer.from(client).readBigUInt64LE(0));
}

/** How much of the table each backend has, the largest first. */
function shares(table: Uint32Array, text: (id: number) => string): string {
  const counts = new Map<number, number>();
  for (const id of table) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts]
    .toSorted(([, a], [, b]) => b - a)
    .map(([id, count]) => `${text(id)} ${((count / table.length) * 100).toFixed(1)} %`)
    .join(', ');
}
