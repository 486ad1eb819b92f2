import { ModelError } from './errors.ts';
import type { Labels } from './labels.ts';
import { own } from './own.ts';

export type SelectorOperator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';

/** A meta/v1 LabelSelector. All of its parts must match; an empty one matches everything. */
export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly SelectorExpression[];
}

export interface SelectorExpression {
  readonly key: string;
  readonly operator: SelectorOperator;
  readonly values?: readonly string[];
}

export function matchesSelector(selector: LabelSelector, labels: Labels): boolean {
  const wanted = Object.entries(selector.matchLabels ?? {});
  return (
    wanted.every(([key, value]) => own(labels, key) === value) &&
    (selector.matchExpressions ?? []).every(expression => matchesExpression(expression, labels))
  );
}

function matchesExpression({ key, operator, values = [] }: SelectorExpression, labels: Labels): boolean {
  const value = own(labels, key);
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/**
 * A labelSelector parameter of the Kubernetes API: 'a=b,c!=d,e in (f,g),h notin (i),j,!k'. Throws ModelError BAD_SELECTOR.
 * (kubernetes.io/docs: labels-selectors)
 */
export function parseSelector(text: string): LabelSelector {
  return { matchExpressions: splitRequirements(text).map(part => parseRequirement(part, text)) };
}

/** Splits at commas that are not in parentheses. */
function splitRequirements(text: string): readonly string[] {
  if (text.trim() === '') return [];
  const parts: string[] = [];
  let [start, inside] = [0, false];
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === '(' || text[i] === ')') inside = text[i] === '(';
    if (text[i] !== ',' || inside) continue;
    parts.push(text.slice(start, i));
    start = i + 1;
  }
  return [...parts, text.slice(start)].map(part => part.trim());
}

const key = '[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?';
const value = '[A-Za-z0-9._-]*';
const equality = new RegExp(String.raw`^(${key})\s*(==|=|!=)\s*(${value})$`);
const membership = new RegExp(String.raw`^(${key})\s+(in|notin)\s*\(([^()]*)\)$`);
const existence = new RegExp(String.raw`^(!?)\s*(${key})$`);

function parseRequirement(part: string, text: string): SelectorExpression {
  const equal = equality.exec(part);
  if (equal !== null) {
    const [, name = '', operator, wanted = ''] = equal;
    return { key: name, operator: operator === '!=' ? 'NotIn' : 'In', values: [wanted] };
  }
  const member = membership.exec(part);
  if (member !== null) {
    const [, name = '', operator, list = ''] = member;
    const values = list.split(',').map(item => item.trim());
    return { key: name, operator: operator === 'in' ? 'In' : 'NotIn', values };
  }
  const exists = existence.exec(part);
  if (exists !== null) return { key: exists[2] ?? '', operator: exists[1] === '!' ? 'DoesNotExist' : 'Exists' };
  throw new ModelError('BAD_SELECTOR', text, `'${part}' is not a label requirement: write key=value or key in (a,b)`);
}
