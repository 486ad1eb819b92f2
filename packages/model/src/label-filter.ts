/**
 * Which labels of a pod tell it from others, in the notation of Cilium's option `labels`: prefixes, each a regular expression over the key from
 * its beginning, with `!` for those that are to be left out, and `source:` before it for labels of that source alone.
 */

export interface LabelPattern {
  /** '' = any. */
  readonly source: string;
  readonly pattern: RegExp;
  readonly ignore: boolean;
}

/** Keys that differ between replicas of one workload, or say nothing about who it is, and exceptions from that. */
const defaults: readonly string[] = [
  '!io\\.kubernetes\\.',
  '!(?!io\\.cilium\\.k8s\\.)([^/]*\\.)?kubernetes\\.io/',
  '!(?!io\\.cilium\\.k8s\\.)([^/]*\\.)?k8s\\.io/',
  '!pod-template-(hash|generation)$',
  '!controller-revision-hash$',
  '!controller-uid$',
  '!annotation',
  '!etcd_node$',
  'io\\.kubernetes\\.pod\\.namespace',
  'io\\.cilium\\.k8s\\.',
  'app\\.kubernetes\\.io/',
];

/** Throws RangeError whose message names the expression that is none. */
export function parseLabelPattern(text: string): LabelPattern {
  const found = /^(!?)(?:([a-z0-9-]+):)?(!?)(.+)$/s.exec(text);
  if (found === null || /^!?[a-z0-9-]+:!?$/.test(text))
    throw new RangeError(`'${text}' names no label: write k8s:app or !k8s:team`);
  const [, before = '', source = '', after = '', key = ''] = found;
  try {
    return { source, pattern: new RegExp(`^(?:${key})`), ignore: before !== '' || after !== '' };
  } catch (cause) {
    throw new RangeError(`'${text}' is no regular expression: write \\. for a dot`, { cause });
  }
}

export class LabelFilter {
  readonly #patterns: readonly LabelPattern[];
  /** Whether a label counts that no pattern is about. */
  readonly #otherwise: boolean;

  /** `own`: besides the defaults. Once one of them names what to keep, nothing else but the defaults' own is kept. */
  constructor(own: readonly LabelPattern[] = [], byDefault: readonly string[] = defaults) {
    this.#patterns = [...byDefault.map(parseLabelPattern), ...own];
    this.#otherwise = own.every(({ ignore }) => ignore);
  }

  /** `key` without its source. The pattern that matches most of the key decides, of two alike the later one. */
  keeps(source: string, key: string): boolean {
    let longest = -1;
    let keeps = this.#otherwise;
    for (const { source: of, pattern, ignore } of this.#patterns) {
      if (of !== '' && of !== source) continue;
      const length = pattern.exec(key)?.[0].length ?? -1;
      if (length < 0 || length < longest) continue;
      longest = length;
      keeps = !ignore;
    }
    return keeps;
  }
}

export const defaultLabelFilter = new LabelFilter();

/** Labels of nodes, which have no defaults. */
export const allLabels = new LabelFilter([], []);
