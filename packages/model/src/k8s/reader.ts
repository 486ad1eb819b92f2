import { intern } from '@ciliate/tables';
import { type Address, type Prefix, tryParseAddress, tryParsePrefix } from '../address.ts';
import { compactLabels, compactList } from '../compact.ts';
import type { Labels } from '../labels.ts';
import { BadField, type ParseProblem } from './parsed.ts';

/** A value of an object from the API server with its path, so that a wrong one can be named. */
export class Reader {
  readonly #value: unknown;
  readonly #parent: Reader | undefined;
  /** Name in the parent, or position. */
  readonly #name: string | number;

  constructor(value: unknown, parent?: Reader, name: string | number = '') {
    this.#value = value;
    this.#parent = parent;
    this.#name = name;
  }

  /** Made when somebody asks: nearly every value is right. */
  get path(): string {
    const before = this.#parent?.path ?? '';
    if (typeof this.#name === 'number') return `${before}[${this.#name}]`;
    return before === '' ? this.#name : `${before}.${this.#name}`;
  }

  /** null counts as absent, as it does in Kubernetes. */
  get absent(): boolean {
    return this.#value === undefined || this.#value === null;
  }

  at(...names: readonly string[]): Reader {
    let reader: Reader = this;
    for (const name of names) reader = reader.#child(name);
    return reader;
  }

  /** Elements of a list; none when absent. */
  list(): readonly Reader[] {
    if (this.absent) return [];
    if (!Array.isArray(this.#value)) throw this.bad('is not a list', 'send a JSON array');
    return this.#value.map((item: unknown, i) => new Reader(item, this, i));
  }

  /** A text; `fallback` when absent, an error when there is none either. */
  text(fallback?: string): string {
    if (this.absent && fallback !== undefined) return fallback;
    if (typeof this.#value !== 'string' || (this.#value === '' && fallback === undefined)) {
      throw this.bad(this.absent ? 'is missing' : 'is not a text', 'set it to a non-empty string');
    }
    return this.#value;
  }

  boolean(fallback: boolean): boolean {
    if (this.absent) return fallback;
    if (typeof this.#value !== 'boolean') throw this.bad('is not true or false', 'use a JSON boolean');
    return this.#value;
  }

  integer(min: number, max: number, fallback?: number): number {
    if (this.absent && fallback !== undefined) return fallback;
    const value = this.#value;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw this.bad(`is not a whole number from ${min} to ${max}`, 'correct the number');
    }
    return value;
  }

  /** One of `allowed`, `fallback` when absent. */
  choice<Choice extends string>(allowed: readonly Choice[], fallback: Choice): Choice {
    const value = this.text(fallback);
    const found = allowed.find(choice => choice === value);
    if (found === undefined) throw this.bad(`'${value}' is not known`, `use one of ${allowed.join(', ')}`);
    return found;
  }

  labels(): Labels {
    if (this.absent) return compactLabels({});
    const entries = Object.entries(this.#record());
    for (const [key, value] of entries) {
      if (typeof value !== 'string') throw this.at(key).bad('is not a text', 'quote the value');
    }
    return compactLabels(Object.fromEntries(entries) as Labels);
  }

  keys(): readonly string[] {
    return this.absent ? [] : Object.keys(this.#record());
  }

  /** Undefined, and a problem noted, when the text is no address. */
  address(problems: ParseProblem[]): Address | undefined {
    return this.#readable(problems, tryParseAddress, 'an IP address');
  }

  prefix(problems: ParseProblem[]): Prefix | undefined {
    return this.#readable(problems, tryParsePrefix, 'an address prefix');
  }

  /** A list of addresses; those that are none are noted and left out. */
  addresses(problems: ParseProblem[]): readonly Address[] {
    return unique(this.list().map(item => item.address(problems)));
  }

  prefixes(problems: ParseProblem[]): readonly Prefix[] {
    return unique(this.list().map(item => item.prefix(problems)));
  }

  bad(message: string, remedy: string): BadField {
    return new BadField({ field: this.path === '' ? 'object' : this.path, message, remedy });
  }

  #readable<T extends string>(
    problems: ParseProblem[],
    parse: (text: string) => T | undefined,
    kind: string,
  ): T | undefined {
    const text = typeof this.#value === 'string' ? this.#value : '';
    const value = parse(text);
    if (value === undefined) {
      const message = `'${text}' is not ${kind}; it is left out`;
      problems.push({ field: this.path, message, remedy: 'correct it in the object' });
      return undefined;
    }
    return intern(value);
  }

  #child(name: string): Reader {
    return new Reader(this.absent ? undefined : this.#record()[name], this, name);
  }

  #record(): Readonly<Record<string, unknown>> {
    const value = this.#value;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.bad('is not an object', 'send a JSON object');
    }
    return value as Readonly<Record<string, unknown>>;
  }
}

function unique<T>(values: readonly (T | undefined)[]): readonly T[] {
  return compactList([...new Set(values.filter(value => value !== undefined))]);
}
