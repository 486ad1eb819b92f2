/** Waits until the kernel has what an endpoint needs: the reconcilers' word in the desired tables. */
import { type EndpointRow, hostPrefix, type Tables } from '@ciliate/model';
import type { Status } from '@ciliate/tables';

type WiredTables = Pick<Tables, 'endpointDeviceRows' | 'endpointMapRows' | 'ipcacheRows' | 'lbSkipRows'>;

/** Rejects with what a reconciler says went wrong, or that it took too long. */
export function waitUntilWired(tables: WiredTables, row: EndpointRow, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const subscriptions: (() => void)[] = [];
    const end = (error: Error | undefined): void => {
      for (const unsubscribe of subscriptions) unsubscribe();
      signal.removeEventListener('abort', late);
      if (error === undefined) resolve();
      else reject(error);
    };
    const look = (): void => {
      const states = wiringOf(tables, row);
      const broken = states.find(([, status]) => status?.kind === 'error');
      if (broken?.[1]?.kind === 'error') end(new Error(`${broken[0]}: ${broken[1].error}`));
      else if (states.every(([, status]) => status?.kind === 'done')) end(undefined);
    };
    const late = (): void => {
      const missing = wiringOf(tables, row).filter(([, status]) => status?.kind !== 'done');
      end(new Error(`the kernel side is not ready in time: ${missing.map(([name]) => name).join(', ')}`));
    };
    signal.addEventListener('abort', late);
    for (const table of [tables.endpointDeviceRows, tables.endpointMapRows, tables.ipcacheRows, tables.lbSkipRows]) {
      subscriptions.push(table.subscribe(look));
    }
    look();
  });
}

function wiringOf(tables: WiredTables, row: EndpointRow): readonly (readonly [string, Status | undefined])[] {
  return [
    [`program on ${row.device}`, tables.endpointDeviceRows.get(row.device)?.status],
    ...row.addresses.flatMap(address => [
      [`endpoints map ${address}`, tables.endpointMapRows.get(address)?.status] as const,
      [`ipcache ${address}`, tables.ipcacheRows.get(hostPrefix(address))?.status] as const,
    ]),
    ...tables.lbSkipRows
      .by('pod', `${row.podNamespace}/${row.podName}`)
      .map(skip => [`redirect of ${skip.frontend}`, skip.status] as const),
  ];
}
