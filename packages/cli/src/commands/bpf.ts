/** `ciliate bpf … list`: what the kernel's maps hold, decoded; never what user space thinks they hold. */
import {
  type CtDumpEntry,
  type EndpointDumpEntry,
  type IpcacheDumpEntry,
  type LbDumpEntry,
  type LbMapName,
  type LbMapRow,
  type MetricsDumpEntry,
  type NatDumpEntry,
  restPaths,
} from '@ciliate/protocol';
import type { Context } from '../context.ts';

function remainingText(seconds: number): string {
  return seconds < 0 ? 'expired' : `${seconds}s`;
}

/** One of the maps beside the services. */
export async function bpfLbMapList({ agent, output }: Context, name: LbMapName): Promise<void> {
  const rows = await agent.get<readonly LbMapRow[]>(`${restPaths.bpf('lb')}?map=${name}`);
  const columns = Object.keys(rows[0] ?? { id: 0 });
  output.render(rows, () =>
    output.table(
      columns.map(column => column.toUpperCase().replaceAll('-', ' ')),
      rows.map(row => columns.map(column => String(row[column] ?? ''))),
    ),
  );
}

/** Behind an address whose backends are others for some clients: pods and nodes, or pods that its local redirect does not apply to. */
const scopeTexts: Readonly<Record<LbDumpEntry['scope'], string>> = {
  external: '',
  internal: '/i',
  'not-redirected': '/skip',
};

/** Flags that say the type once more. */
const types: readonly string[] = [
  'cluster-ip',
  'node-port',
  'external-ip',
  'load-balancer',
  'host-port',
  'local-redirect',
];

/** `mastersOnly`: frontends without their slots. */
export async function bpfLbList({ agent, output }: Context, mastersOnly = false): Promise<void> {
  const all = await agent.get<readonly LbDumpEntry[]>(restPaths.bpf('lb'));
  const entries = mastersOnly ? all.filter(({ slot }) => slot === 0) : all;
  const sorted = entries
    .map(entry => ({ ...entry, text: `${entry.frontend}${scopeTexts[entry.scope]}` }))
    .toSorted((a, b) => a.text.localeCompare(b.text) || a.slot - b.slot);
  output.render(
    sorted.map(({ text: _text, ...entry }) => entry),
    () =>
      output.table(
        ['SERVICE ADDRESS', 'BACKEND ADDRESS (REVNAT_ID) (SLOT)'],
        sorted.map(entry => [
          entry.text,
          entry.slot === 0
            ? `${entry.count} slots (${entry.id}) (0) [${[entry.type, ...entry.flags.filter(flag => !types.includes(flag))].join(', ')}]`
            : `${entry.backend === '' ? `no backend ${entry.backendId}` : entry.backend} (${entry.id}) (${entry.slot})${
                entry.backendFlags.length > 0 ? ` [${entry.backendFlags.join(', ')}]` : ''
              }`,
        ]),
      ),
  );
}

export async function bpfCtList({ agent, output }: Context): Promise<void> {
  const entries = await agent.get<readonly CtDumpEntry[]>(restPaths.bpf('ct'));
  output.render(entries, () => {
    for (const entry of entries) {
      output.line(
        `${entry.protocol} ${entry.direction.toUpperCase()} ${entry.source} -> ${entry.destination} ` +
          `expires=${remainingText(entry.remaining)} flags=[${entry.flags.join(' ')}] revnat=${entry.revNatId} ` +
          (entry.direction === 'service'
            ? `backend=${entry.backend} (${entry.backendId})`
            : `packets=${entry.packets} bytes=${entry.bytes} identity=${entry.sourceIdentity}`),
      );
    }
  });
}

export async function bpfNatList({ agent, output }: Context): Promise<void> {
  const entries = await agent.get<readonly NatDumpEntry[]>(restPaths.bpf('nat'));
  output.render(entries, () => {
    for (const entry of entries) {
      const side = entry.direction === 'egress' ? 'XLATE_SRC' : 'XLATE_DST';
      output.line(
        `${entry.protocol} ${entry.direction === 'egress' ? 'OUT' : 'IN'} ${entry.source} -> ${entry.destination} ` +
          `${side} ${entry.translated} expires=${remainingText(entry.remaining)}`,
      );
    }
  });
}

export async function bpfIpcacheList({ agent, output }: Context): Promise<void> {
  const entries = await agent.get<readonly IpcacheDumpEntry[]>(restPaths.bpf('ipcache'));
  const sorted = entries.toSorted((a, b) => a.prefix.localeCompare(b.prefix));
  output.render(sorted, () =>
    output.table(
      ['IP PREFIX/ADDRESS', 'IDENTITY', 'TUNNEL ENDPOINT', 'FLAGS'],
      sorted.map(entry => [entry.prefix, String(entry.identity), entry.tunnelEndpoint || '-', entry.flags.join(',')]),
    ),
  );
}

export async function bpfEndpointList({ agent, output }: Context): Promise<void> {
  const entries = await agent.get<readonly EndpointDumpEntry[]>(restPaths.bpf('endpoint'));
  const sorted = entries.toSorted((a, b) => a.address.localeCompare(b.address));
  output.render(sorted, () =>
    output.table(
      ['IP ADDRESS', 'ENDPOINT', 'IFINDEX', 'IDENTITY', 'POLICY', 'MAC', 'NODEMAC', 'FLAGS'],
      sorted.map(entry => [
        entry.address,
        String(entry.id),
        String(entry.ifindex),
        String(entry.identity),
        entry.policyGroup === 0 ? '-' : `${entry.policyGroup}@${entry.policyRevision}`,
        entry.mac,
        entry.nodeMac,
        entry.flags.join(','),
      ]),
    ),
  );
}

export async function bpfMetricsList({ agent, output }: Context): Promise<void> {
  const entries = await agent.get<readonly MetricsDumpEntry[]>(restPaths.bpf('metrics'));
  const sorted = entries.toSorted((a, b) => a.reason - b.reason || a.direction.localeCompare(b.direction));
  output.render(sorted, () =>
    output.table(
      ['REASON', 'DIRECTION', 'PACKETS', 'BYTES', 'PROGRAM'],
      sorted.map(entry => [
        entry.reasonName,
        entry.direction,
        String(entry.packets),
        String(entry.bytes),
        entry.program,
      ]),
    ),
  );
}
