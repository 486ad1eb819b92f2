/** One line of a policy test: 'payments/* can reach db/postgres on 5432; nothing else' (docs/policy-testing.md). */

export interface Expectation {
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly can: boolean;
  /** As written; empty: every port. */
  readonly ports: readonly string[];
  /** Nobody else reaches `to`, and these on no other port. */
  readonly nothingElse: boolean;
}

const form = /^(.+?)\s+(can|cannot|can't|can not)\s+reach\s+(.+?)(?:\s+on\s+(.+?))?\s*$/i;

/** Undefined: the line is none. */
export function parseExpectation(line: string): Expectation | undefined {
  const [statement = '', rest, ...more] = line.trim().split(/\s*;\s*/);
  if (more.length > 0 || (rest !== undefined && !/^(and )?nothing else( can)?\.?$/i.test(rest))) return undefined;
  const [, from, verb, to, ports] = form.exec(statement) ?? [];
  if (from === undefined || to === undefined || verb === undefined) return undefined;
  const can = verb.toLowerCase() === 'can';
  if (!can && rest !== undefined) return undefined;
  return { from: names(from), to: names(to), can, ports: names(ports ?? ''), nothingElse: rest !== undefined };
}

/** Commas and 'and' between names; a comma inside of parentheses or of labels belongs to the name. */
function names(text: string): readonly string[] {
  const parts = text.match(/(?:\([^)]*\)|[^,(])+/g) ?? [];
  return parts
    .flatMap(part => part.split(/\s+and\s+/))
    .map(part => part.trim())
    .filter(part => part !== '');
}

export const expectationForm =
  "write 'FROM can reach TO on PORT', 'FROM cannot reach TO', and after can perhaps '; nothing else'";
