/** The text of scripts: words, tables, and what of two tables is the same. */

/** Words of a line. Single quotes keep spaces together and variables as they are; double ones mean themselves. */
export function words(line: string, expand: (word: string) => string): readonly string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? expand(plain ?? ''));
}

export function unquote(text: string): string {
  return text.replaceAll('\\"', '"');
}

/** Columns begin where their names begin in the header. */
export function parseTable(text: string): {
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
export function normal(column: string, cell: string): string {
  if (!['Backends', 'Instances', 'Frontends', 'PortNames', 'Flags', 'SkipRedirects'].includes(column)) return cell;
  return cell
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '')
    .sort()
    .join(', ');
}

/** A list that the data cuts off ('+ 4 more ...') is held against as much as it shows. */
export function abbreviated(shown: readonly string[], asked: readonly string[]): readonly string[] {
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
