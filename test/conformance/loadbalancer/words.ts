/** A line of a script as a command: `[condition] ! * name args # comment`, with the quoting of Go's script language. */

export interface Command {
  /** '!' = must fail; '?' = may fail. */
  readonly outcome: '' | '!' | '?';
  readonly words: readonly string[];
}

/** Undefined: nothing to do, or a condition that does not hold. We are never 'privileged': that asks for the other program's maps. */
export function parseLine(line: string, expand: (word: string) => string): Command | undefined {
  let rest = line.trim();
  for (;;) {
    const [whole = '', not = ''] = /^\[(!?)[^\]]*\]\s*/.exec(rest) ?? [];
    if (whole === '') break;
    if (not === '') return undefined;
    rest = rest.slice(whole.length);
  }
  const [whole = '', marks = ''] = /^([!?*]*)\s*/.exec(rest) ?? [];
  const words = splitWords(rest.slice(whole.length), expand);
  if (words.length === 0) return undefined;
  if (marks.includes('!')) return { outcome: '!', words };
  return { outcome: marks.includes('?') ? '?' : '', words };
}

/** Single quotes keep spaces together and variables as they are, two of them inside quotes are one; double quotes mean themselves. */
function splitWords(text: string, expand: (word: string) => string): readonly string[] {
  const words: string[] = [];
  let at = 0;
  while (at < text.length) {
    if (/\s/.test(text.charAt(at))) {
      at += 1;
      continue;
    }
    if (text.charAt(at) === '#') break;
    let word = '';
    while (at < text.length && !/\s/.test(text.charAt(at))) {
      const [part = ''] =
        text.charAt(at) === "'" ? (quoted.exec(text.slice(at)) ?? []) : (plain.exec(text.slice(at)) ?? []);
      if (part === '') throw new Error(`unterminated quote in: ${text}`);
      word += part.startsWith("'") ? part.slice(1, -1).replaceAll("''", "'") : expand(part);
      at += part.length;
    }
    words.push(word);
  }
  return words;
}

const quoted = /^'(?:[^']|'')*'/;
const plain = /^[^\s']+/;
