/** Rows as columns of text, for db/cmp: the expectation's header chooses and orders the columns. */

export type Cells = Readonly<Record<string, string>>;

/** Column names of a header line: they are apart by two or more spaces. */
export function columnNames(text: string): readonly string[] {
  const [first = ''] = text.split('\n');
  return first.trim() === '' ? [] : first.trim().split(/ {2,}/);
}

/** One line a row after the header, sorted unless told otherwise. Nothing but the header when there are no rows. */
export function formatTable(columns: readonly string[], rows: readonly Cells[], { sorted = true } = {}): string {
  const all = rows.map(row => columns.map(column => row[column] ?? ''));
  const body = sorted ? all.toSorted((a, b) => (a.join('\0') < b.join('\0') ? -1 : 1)) : all;
  const widths = columns.map((column, i) => Math.max(column.length, ...body.map(cells => cells[i]?.length ?? 0)));
  const line = (cells: readonly string[]) => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ');
  return [columns, ...body].map(cells => `${line(cells).trimEnd()}\n`).join('');
}
