import { type LabelPattern, type Prefix, parseLabelPattern, tryParsePrefix } from '@ciliate/model';

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

export interface PortRange {
  readonly min: number;
  readonly max: number;
}

/** '30000-32767', or '30000,32767' as the field writes it. `least`: the lowest port that may be in it. */
export const portRange = (fallback: PortRange, least: number, help: string): Option<PortRange> => ({
  default: fallback,
  parse: value => {
    const [min, max] = (/^(\d+)[-,](\d+)$/.exec(value) ?? []).slice(1).map(Number);
    if (min === undefined || max === undefined || min < least || max > 65_535 || min > max) {
      throw new Error(`two ports from ${least} to 65535, the lower one first: 30000-32767`);
    }
    return { min, max };
  },
  help,
});

/** Separated by spaces, in the notation of LabelFilter. */
export const labelPatterns = (help: string): Option<readonly LabelPattern[]> => ({
  default: [],
  parse: value =>
    value
      .split(/\s+/)
      .filter(part => part !== '')
      .map(parseLabelPattern),
  help,
});

/** Comma separated CIDRs; may be given more than once. */
export const prefixes = (help: string): Option<readonly Prefix[]> => ({
  default: [],
  parse: value =>
    value.split(',').map(part => {
      const prefix = tryParsePrefix(part.trim());
      if (prefix === undefined)
        throw new Error(`CIDRs, comma separated: 172.30.0.0/24,fd00::/64 ('${part.trim()}' is none)`);
      return prefix;
    }),
  help,
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
