/** Options of a command of the scripts: '-o FILE', '--columns=A,B', '-i NAME'; the rest are arguments. */

export interface Arguments {
  readonly rest: readonly string[];
  readonly columns: readonly string[] | undefined;
  readonly output: string | undefined;
  readonly index: string | undefined;
  readonly format: string | undefined;
  /** Rows that it does not match are not looked at. */
  readonly grep: string | undefined;
}

const long: Readonly<Record<string, string>> = { c: 'columns', o: 'out', i: 'index', f: 'format', d: 'delimiter' };

export function parseArguments(args: readonly string[]): Arguments {
  const rest: string[] = [];
  const options = new Map<string, string>();
  for (let i = 0; i < args.length; i += 1) {
    const [, name = '', value] = /^--?([a-zA-Z-]+)(?:=(.*))?$/.exec(args[i] ?? '') ?? [];
    if (name === '') rest.push(args[i] ?? '');
    else if (value !== undefined) options.set(long[name] ?? name, value);
    else {
      i += 1;
      options.set(long[name] ?? name, args[i] ?? '');
    }
  }
  return {
    rest,
    columns: options.get('columns')?.split(','),
    output: options.get('out'),
    index: options.get('index'),
    format: options.get('format'),
    grep: options.get('grep'),
  };
}
