/**
 * `desired-skiplbmap` and `skiplbmap`: pods that redirects do not apply to. The data writes a pod's cookie into the table; ours has it on the
 * endpoint, so that is what such a row makes.
 */
import { skippedFrontends } from '@ciliate/control';
import { addressFromBytes, type EndpointRow, parseAddress, portKey, type Tables } from '@ciliate/model';
import type { WriteTxn } from '@ciliate/tables';
import { parse } from 'yaml';
import type { ScriptMaps } from '../../script/map-text.ts';
import type { Cells } from '../../script/text-table.ts';
import { nodeName } from './tables.ts';

interface PodCookie {
  readonly podnamespacedname: string;
  readonly netnscookie: number | null;
}

export function insertSkipPod(text: string, tables: Tables, txn: WriteTxn): void {
  const { podnamespacedname: pod, netnscookie: cookie } = parse(text) as PodCookie;
  const known = tables.endpoints.by('pod', pod)[0];
  const row = known ?? endpointOf(pod, tables.endpoints.all().length + 1);
  tables.endpoints.insert(txn, { ...row, ...(cookie === null ? {} : { netnsCookie: String(cookie) }) });
}

export function deleteSkipPod(text: string, tables: Tables, txn: WriteTxn): void {
  const { podnamespacedname: pod } = parse(text) as PodCookie;
  for (const row of tables.endpoints.by('pod', pod)) tables.endpoints.delete(txn, String(row.id));
}

/** A row as YAML, in the words of the data. */
export function skipPodText(pod: string, tables: Tables): string {
  const cookie = tables.endpoints.by('pod', pod)[0]?.netnsCookie ?? 'null';
  return `podnamespacedname: ${pod}\nnetnscookie: ${cookie}\nstatus:\n  kind: ""\n`;
}

export function skipPodCells(tables: Tables): readonly Cells[] {
  const skipped = skippedFrontends(tables, nodeName);
  const pods = new Set([...skipped.keys(), ...tables.endpoints.all().map(row => `${row.podNamespace}/${row.podName}`)]);
  return [...pods].map(pod => {
    const cookie = tables.endpoints.by('pod', pod)[0]?.netnsCookie;
    const isDone = tables.lbSkipRows.by('pod', pod).every(({ status }) => status.kind === 'done');
    return {
      Pod: pod,
      SkipRedirects: (skipped.get(pod) ?? []).map(portKey).sort().join(', '),
      NetnsCookie: cookie ?? '<unset>',
      Status: cookie === undefined ? '' : isDone ? 'Done' : 'Error',
    };
  });
}

/** Sockets alone: the data does not know the entries for packets. */
export function dumpSkips({ lb_skip }: ScriptMaps): string {
  return [...lb_skip.keys()]
    .filter(({ endpointId }) => endpointId === 0)
    .map(({ netnsCookie, address, port }) => `COOKIE=${netnsCookie} IP=${addressFromBytes(address)} PORT=${port}\n`)
    .sort()
    .join('');
}

/** An endpoint without addresses of its own: backends stay where the data has them. */
function endpointOf(pod: string, id: number): EndpointRow {
  const [podNamespace = '', podName = ''] = pod.split('/');
  return {
    ...{ id, containerId: pod, containerDevice: 'eth0', netns: '', network: '', device: `lxc${id}`, ifindex: id },
    ...{ mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', addresses: [parseAddress(`192.0.2.${id}`)] },
    ...{ podNamespace, podName, podUid: pod, kind: 'pod', state: 'ready', identity: 1000, labels: {} },
  };
}
