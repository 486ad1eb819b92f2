/** db/list and db/prefix: rows of a table by one of its indexes, in the order of the index. */
import { addressBytes, parsePrefix, prefixContains, tryParseAddress } from '@ciliate/model';
import type { Cells } from '../../script/text-table.ts';

export type Match = 'equal' | 'prefix' | 'from';
/** Text of the row that an index is about, by the index's name; several when the row is about several. */
const indexes: Readonly<Record<string, (row: Cells) => readonly string[]>> = {
  name: row => [row.Name ?? ''],
  address: row => [row.Address ?? ''],
  service: row => (row.Instances ?? row.ServiceName ?? '').split(', ').map(one => one.replace(/ [([].*$/, '')),
};

export function queryRows(rows: readonly Cells[], index: string, match: Match, key: string): readonly Cells[] {
  const keysOf = indexes[index];
  if (keysOf === undefined) throw new Error(`no index ${index}`);
  const found = rows.flatMap(row =>
    keysOf(row)
      .map(text => ({ text, row }))
      .filter(({ text }) => matches(text, match, key)),
  );
  return found
    .toSorted(
      (a, b) => compare(sortKey(a.text), sortKey(b.text)) || compare(sortKey(a.row.Address), sortKey(b.row.Address)),
    )
    .map(({ row }) => row);
}

function matches(text: string, match: Match, key: string): boolean {
  if (match === 'equal') return text === key;
  if (match === 'from') return compare(sortKey(text), sortKey(key)) >= 0;
  if (!/^[^/]+\/\d+$/.test(key)) return text.startsWith(key);
  const address = addressOf(text);
  return address !== undefined && prefixContains(parsePrefix(key), address);
}

const addressOf = (text: string) => tryParseAddress(/^\[?([^\]]*?)\]?:\d+/.exec(text)?.[1] ?? '');

/** Addresses by their bytes, then the port; other texts as they are. */
function sortKey(text = ''): string {
  const address = addressOf(text);
  if (address === undefined) return text;
  const port = /:(\d+)\/(\w+)/.exec(text);
  const bytes = Buffer.from(addressBytes(address)).toString('hex');
  return `${bytes} ${port?.[1]?.padStart(5, '0') ?? ''} ${port?.[2] ?? ''}`;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
