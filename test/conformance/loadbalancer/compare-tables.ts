/** db/cmp: our rows against a table of the data, whose header says which columns. Rows and lists are sets. */
import assert from 'node:assert/strict';
import type { Cells } from '../../script/text-table.ts';
import { goRegExp } from './go-text.ts';

/** `cellsOf` gives the rows for the columns asked for: a table may have another shape with others. `grep`: only rows of ours that it matches. */
export function compareTables(
  table: string,
  cellsOf: (columns: readonly string[]) => readonly Cells[],
  text: string,
  grep = '',
): void {
  const wanted = parseTable(text);
  const isMeant = (cells: readonly string[]) => goRegExp(grep, '').test(cells.join('  '));
  const shown = cellsOf(wanted.columns)
    .filter(row => isMeant(wanted.columns.map(column => cellOf(row, column))))
    .map(row => wanted.columns.map(column => normal(column, cellOf(row, column))));
  const asked = wanted.rows.map(row => row.map((cell, i) => normal(wanted.columns[i] ?? '', cell)));
  const lines = (list: readonly (readonly string[])[]) => list.map(row => row.join(' | ')).sort();
  assert.deepEqual(abbreviated(lines(shown), lines(asked)), lines(asked), table);
}

/** Columns have had other names. */
const aliases: Readonly<Record<string, string>> = { Redirect: 'RedirectTo' };

function cellOf(row: Cells, column: string): string {
  return row[column] ?? row[aliases[column] ?? ''] ?? '';
}

/** Columns begin where their names begin in the header. */
function parseTable(text: string): {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
} {
  const [header = '', ...lines] = text.split('\n').filter(line => line.trim() !== '' && !line.startsWith('#'));
  const names = [...header.matchAll(/\S+/g)];
  const starts = names.map(({ index }) => index);
  const cell = (line: string, i: number) => line.slice(starts[i], starts[i + 1] ?? line.length).trim();
  return {
    columns: names.map(([name]) => name),
    rows: lines.map(line => names.map((_, i) => cell(line, i))),
  };
}

/** Lists are sets. */
function normal(column: string, cell: string): string {
  if (!['Backends', 'Instances', 'Frontends', 'PortNames', 'Flags', 'SkipRedirects'].includes(column)) return cell;
  return (
    cell
      // Two names of one thing.
      .replaceAll('TrafficDistribution=PreferClose', 'TrafficDistribution=PreferSameZone')
      .split(',')
      .map(part => part.trim())
      .filter(part => part !== '')
      .sort()
      .join(', ')
  );
}

/** A list that the data cuts off ('+ 4 more ...') is held against as much as it shows. */
function abbreviated(shown: readonly string[], asked: readonly string[]): readonly string[] {
  if (!asked.some(line => /\+ \d+ more/.test(line))) return shown;
  return shown.map((line, i) => {
    const [, before = '', more = ''] = /^(.*?)( \+ (\d+) more \.\.\.)/.exec(asked[i] ?? '') ?? [];
    const [, , count = '0'] = /^(.*?) \+ (\d+) more/.exec(asked[i] ?? '') ?? [];
    if (more === '' || !line.startsWith(before)) return line;
    const rest = line
      .slice(before.length)
      .split(',')
      .filter(part => part.trim() !== '');
    return rest.length === Number(count) ? (asked[i] ?? '') : line;
  });
}
