/** One flag: default, parser and help stand together, beside the module that reads it (STYLE rule 10). */
export interface Option<T> {
  readonly default: T;
  /** @throws Error whose message says what would be valid */
  readonly parse: (text: string) => T;
  readonly help: string;
  /** Flags of booleans may stand without a value. */
  readonly boolean?: true;
}

export type OptionSet = Readonly<Record<string, Option<unknown>>>;
export type OptionValues<Set extends OptionSet> = {
  readonly [K in keyof Set]: Set[K] extends Option<infer T> ? T : never;
};

export const text = (fallback: string, help: string): Option<string> => ({
  default: fallback,
  parse: value => {
    if (value === '') throw new Error('a text that is not empty');
    return value;
  },
  help,
});

export const flag = (fallback: boolean, help: string): Option<boolean> => ({
  default: fallback,
  boolean: true,
  parse: value => {
    if (value === 'true' || value === '') return true;
    if (value === 'false') return false;
    throw new Error('true or false');
  },
  help,
});

export const integer = (fallback: number, range: readonly [number, number], help: string): Option<number> => ({
  default: fallback,
  parse: value => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < range[0] || number > range[1]) {
      throw new Error(`a whole number from ${range[0]} to ${range[1]}`);
    }
    return number;
  },
  help,
});

export const choice = <const T extends string>(fallback: T, values: readonly T[], help: string): Option<T> => ({
  default: fallback,
  parse: value => {
    const found = values.find(known => known === value);
    if (found === undefined) throw new Error(values.map(known => `'${known}'`).join(' or '));
    return found;
  },
  help: `${help} (${values.join('|')})`,
});

/** Comma separated; may be given more than once. */
export const list = (fallback: readonly string[], help: string): Option<readonly string[]> => ({
  default: fallback,
  parse: value =>
    value
      .split(',')
      .map(part => part.trim())
      .filter(part => part !== ''),
  help,
});
