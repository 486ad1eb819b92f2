/** What every command prints with: tables and colours on a terminal, plain aligned columns into a pipe, JSON on demand. */
import Table from 'cli-table3';
import colors from 'picocolors';

export interface Output {
  readonly json: boolean;
  readonly terminal: boolean;
  line(text?: string): void;
  /** To standard error: what the user should know and no other program reads. */
  warn(text: string): void;
  /** Prints `data` as JSON with `-o json`; else calls `text`. */
  render(data: unknown, text: () => void): void;
  table(head: readonly string[], rows: readonly (readonly string[])[]): void;
  readonly paint: {
    good(text: string): string;
    bad(text: string): string;
    dim(text: string): string;
    bold(text: string): string;
  };
}

const plainChars = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid'].flatMap(side =>
    ['', '-mid', '-left', '-right'].map(part => [`${side}${part}`, '']),
  ),
);

/** Columns as wide as their widest line; a cell may have several lines. Three blanks between columns, none at the end. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
  const table = new Table({
    chars: { ...plainChars, middle: '' },
    style: { 'padding-left': 0, 'padding-right': 3, head: [], border: [] },
  });
  table.push(...rows.map(row => [...row]));
  return table
    .toString()
    .split('\n')
    .map(line => line.trimEnd())
    .join('\n');
}

export function createOutput(options: { readonly json: boolean; readonly stream: NodeJS.WriteStream }): Output {
  const terminal = options.stream.isTTY === true;
  const paint = colors.createColors(terminal && process.env.NO_COLOR === undefined);
  const line = (text = ''): void => {
    options.stream.write(`${text}\n`);
  };
  return {
    json: options.json,
    terminal,
    line,
    warn(text) {
      process.stderr.write(`${text}\n`);
    },
    render(data, text) {
      if (options.json) line(JSON.stringify(data, null, 2));
      else text();
    },
    table(head, rows) {
      line(alignColumns([head.map(name => paint.bold(name)), ...rows]));
    },
    paint: { good: paint.green, bad: paint.red, dim: paint.dim, bold: paint.bold },
  };
}
