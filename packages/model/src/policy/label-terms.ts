/** Selectors of policies over security labels, whose keys carry a source: 'k8s:app', 'reserved:host'. */
import type { Labels } from '../labels.ts';
import type { SelectorOperator } from '../selector.ts';

/** One requirement. */
export interface LabelTerm {
  /** 'k8s', 'reserved', 'cidr' …; '' = any source. */
  readonly source: string;
  /** Without source. */
  readonly key: string;
  readonly operator: SelectorOperator;
  readonly values: readonly string[];
}

/** All must hold; none: everything matches. */
export type LabelTerms = readonly LabelTerm[];

const sources = new Set(['k8s', 'reserved', 'any', 'cidr', 'cidrgroup', 'container', 'fqdn', 'unspec', 'node']);

/** A key of a selector as a policy writes it: 'app', 'k8s:app', 'any:app', 'reserved:host'. */
export function splitKey(text: string): { readonly source: string; readonly key: string } {
  const colon = text.indexOf(':');
  const source = colon < 0 ? '' : text.slice(0, colon);
  if (!sources.has(source)) return { source: '', key: text };
  return { source: source === 'any' ? '' : source, key: text.slice(colon + 1) };
}

export function term(text: string, operator: SelectorOperator, values: readonly string[] = []): LabelTerm {
  return { ...splitKey(text), operator, values };
}

export function matchesTerms(terms: LabelTerms, labels: Labels): boolean {
  return terms.every(one => matchesTerm(one, labels));
}

function matchesTerm(one: LabelTerm, labels: Labels): boolean {
  const value = labelValue(one, labels);
  switch (one.operator) {
    case 'In':
      return value !== undefined && one.values.includes(value);
    case 'NotIn':
      return value === undefined || !one.values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/** The value that a requirement is about; undefined: there is no such label. */
export function labelValue({ source, key }: LabelTerm, labels: Labels): string | undefined {
  if (source !== '') return labels[`${source}:${key}`];
  const direct = labels[`k8s:${key}`];
  if (direct !== undefined) return direct;
  const suffix = `:${key}`;
  for (const [name, value] of Object.entries(labels)) {
    if (name.endsWith(suffix) && name.indexOf(':') === name.length - suffix.length) return value;
  }
  return undefined;
}

/** Equal for equal terms, whatever their order. */
export function termsKey(terms: LabelTerms): string {
  return terms
    .map(({ source, key, operator, values }) => `${source}:${key} ${operator} ${[...values].sort().join('|')}`)
    .sort()
    .join(' & ');
}

/** For people: 'app=web, tier in (a,b)'. */
export function termsText(terms: LabelTerms): string {
  return terms.length === 0 ? 'everything' : terms.map(termText).join(', ');
}

function termText({ source, key, operator, values }: LabelTerm): string {
  const name = source === '' || source === 'k8s' ? key : `${source}:${key}`;
  switch (operator) {
    case 'In':
      return values.length === 1
        ? values[0] === ''
          ? name
          : `${name}=${values[0]}`
        : `${name} in (${values.join(',')})`;
    case 'NotIn':
      return `${name} notin (${values.join(',')})`;
    case 'Exists':
      return name;
    case 'DoesNotExist':
      return `!${name}`;
  }
}
