/** Regular expressions, replacements and quoted texts as Go writes them. */

/** What Go knows and JavaScript writes otherwise: flags in front, names of groups, classes of characters, ends of the text. */
export function goRegExp(pattern: string, flags: string): RegExp {
  const [front = '', inFront = ''] = /^\(\?([a-zA-Z]+)\)/.exec(pattern) ?? [];
  const all = new Set([...flags, ...inFront.replaceAll(/[^ims]/g, '')]);
  const text = pattern
    .slice(front.length)
    .replaceAll(/\(\?P</g, '(?<')
    .replaceAll(/\[:(\w+):\]/g, (whole, name: string) => classes[name] ?? whole)
    .replaceAll(/\\Q(.*?)(?:\\E|$)/g, (_, quoted: string) => literal(quoted))
    .replaceAll(/(?<!\\)((?:\\\\)*)\\A/g, '$1(?<![^])')
    .replaceAll(/(?<!\\)((?:\\\\)*)\\z/g, '$1(?![^])');
  return new RegExp(text, [...all].join(''));
}

/** The text itself as a pattern. */
export function literal(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

const classes: Readonly<Record<string, string>> = {
  ...{ alnum: '0-9A-Za-z', alpha: 'A-Za-z', blank: '\\t ', digit: '0-9', lower: 'a-z', upper: 'A-Z' },
  ...{ space: '\\s', word: '\\w', xdigit: '0-9A-Fa-f', punct: '!-\\/:-@\\[-`{-~' },
};

/** `${1}`, `$1` and `$name` are groups. */
export function goReplacement(text: string): string {
  return text.replaceAll(/\$(?:\{(\w+)\}|(\w+)|\$)/g, (whole, a?: string, b?: string) => {
    const name = a ?? b;
    if (name === undefined) return whole;
    return /^\d+$/.test(name) ? `$${name}` : `$<${name}>`;
  });
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' };

/** The inside of a text in double quotes. */
export function goUnquote(text: string): string {
  return text.replaceAll(/\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/g, (_, x?: string, u?: string, one = '') => {
    const code = x ?? u;
    return code === undefined ? (escapes[one] ?? one) : String.fromCharCode(Number.parseInt(code, 16));
  });
}
