/** Label and field selectors as kubectl writes them. */
import { type KubeObject, textAt } from './object.ts';
import { badRequest } from './status.ts';

type Test = (object: KubeObject) => boolean;

function splitOutsideBrackets(text: string): readonly string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map(part => part.trim())
    .filter(part => part !== '');
}

function labelTest(term: string): Test {
  const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(term);
  if (set !== null) {
    const [, key = '', operator, list = ''] = set;
    const values = list.split(',').map(value => value.trim());
    return object => {
      const value = object.metadata.labels?.[key];
      return operator === 'in'
        ? value !== undefined && values.includes(value)
        : value === undefined || !values.includes(value);
    };
  }
  const equality = /^([^=!]+?)\s*(!=|==|=)\s*(.*)$/.exec(term);
  if (equality !== null) {
    const [, key = '', operator, value = ''] = equality;
    return object => (object.metadata.labels?.[key] === value) === (operator !== '!=');
  }
  if (/\s/.test(term))
    throw badRequest(`unable to parse requirement: "${term}": write key=value, key!=value, key in (a,b) or key`);
  return term.startsWith('!')
    ? object => object.metadata.labels?.[term.slice(1)] === undefined
    : object => object.metadata.labels?.[term] !== undefined;
}

function fieldTest(term: string): Test {
  const match = /^([^=!]+?)\s*(!=|==|=)\s*(.*)$/.exec(term);
  if (match === null) throw badRequest(`invalid field selector: "${term}"`);
  const [, path = '', operator, value = ''] = match;
  const keys = path.split('.');
  return object => (textAt(object, ...keys) === value) === (operator !== '!=');
}

export function selectorOf(labels: string | null, fields: string | null): Test {
  const tests = [
    ...splitOutsideBrackets(labels ?? '').map(labelTest),
    ...splitOutsideBrackets(fields ?? '').map(fieldTest),
  ];
  return object => tests.every(test => test(object));
}

/** A LabelSelector object; one without terms selects everything. */
export function matchesSelector(selector: unknown, labels: Readonly<Record<string, string>>): boolean {
  const { matchLabels, matchExpressions } = (selector ?? {}) as {
    readonly matchLabels?: Readonly<Record<string, string>>;
    readonly matchExpressions?: readonly {
      readonly key: string;
      readonly operator: string;
      readonly values?: readonly string[];
    }[];
  };
  const expressions = (matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key];
    if (operator === 'In') return value !== undefined && values.includes(value);
    if (operator === 'NotIn') return value === undefined || !values.includes(value);
    return operator === 'Exists' ? value !== undefined : value === undefined;
  });
  return expressions && Object.entries(matchLabels ?? {}).every(([key, value]) => labels[key] === value);
}
