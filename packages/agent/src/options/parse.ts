import { nearest } from './nearest.ts';
import type { Option, OptionSet, OptionValues } from './option.ts';

/** A command line that cannot be used; the process exits with 2. */
export class OptionError extends Error {
  override readonly name = 'OptionError';
}

/**
 * '--name value', '--name=value' and, for booleans, '--name'. Environment is not read.
 * @throws OptionError that names the flag, and the nearest known one
 */
export function parseOptions<Set extends OptionSet>(set: Set, argv: readonly string[]): OptionValues<Set> {
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(set)) values[name] = option.default;
  for (let index = 0; index < argv.length; index++) {
    const { name, inline } = split(argv[index] ?? '');
    const option: Option<unknown> | undefined = Object.hasOwn(set, name) ? set[name] : undefined;
    if (option === undefined) throw unknown(name, Object.keys(set));
    let given = inline;
    if (given === undefined && option.boolean === true) given = '';
    if (given === undefined) {
      given = argv[++index];
      if (given === undefined) throw new OptionError(`--${name} needs a value: ${option.help}`);
    }
    values[name] = convert(name, option, given);
  }
  return values as OptionValues<Set>;
}

export function usage(program: string, set: OptionSet): string {
  const lines = Object.entries(set).map(([name, option]) => {
    const fallback = Array.isArray(option.default) ? option.default.join(',') : String(option.default);
    return `  --${name.padEnd(34)} ${option.help}${fallback === '' ? '' : ` [${fallback}]`}`;
  });
  return `Usage: ${program} [options]\n\n${lines.join('\n')}\n`;
}

function split(argument: string): { readonly name: string; readonly inline: string | undefined } {
  if (!argument.startsWith('--')) throw new OptionError(`unexpected argument '${argument}': options start with --`);
  const equals = argument.indexOf('=');
  return equals < 0
    ? { name: argument.slice(2), inline: undefined }
    : { name: argument.slice(2, equals), inline: argument.slice(equals + 1) };
}

function unknown(name: string, known: readonly string[]): OptionError {
  const guess = nearest(name, known);
  return new OptionError(`unknown option --${name}${guess === undefined ? '' : `: did you mean --${guess}?`}`);
}

function convert(name: string, option: Option<unknown>, given: string): unknown {
  try {
    return option.parse(given);
  } catch (cause) {
    const wanted = cause instanceof Error ? cause.message : String(cause);
    throw new OptionError(`--${name} '${given}' is not valid: must be ${wanted}`, { cause });
  }
}
