/** LabelSelector objects of policies into terms. */
import type { Reader } from '../k8s/reader.ts';
import { securityLabelKeys } from '../security-labels.ts';
import type { SelectorOperator } from '../selector.ts';
import { type LabelTerm, type LabelTerms, splitKey, term } from './label-terms.ts';

const operators: readonly SelectorOperator[] = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

/** `prefix` goes before each key: namespace labels are security labels of their own. */
export function readSelector(selector: Reader, prefix = ''): LabelTerms {
  const labels = Object.entries(selector.at('matchLabels').labels());
  checkFields(selector, ['matchLabels', 'matchExpressions']);
  return [
    ...labels.map(([key, value]) => term(`${prefix}${key}`, 'In', [value])),
    ...selector
      .at('matchExpressions')
      .list()
      .map(expression => readExpression(expression, prefix)),
  ];
}

function readExpression(expression: Reader, prefix: string): LabelTerm {
  const operator = expression.at('operator').choice(operators, 'In');
  const values = expression
    .at('values')
    .list()
    .map(value => value.text(''));
  const needsValues = operator === 'In' || operator === 'NotIn';
  if (needsValues && values.length === 0) {
    throw expression.at('values').bad(`is empty, and ${operator} needs values`, 'list at least one value');
  }
  if (!needsValues && values.length > 0) {
    throw expression.at('values').bad(`is not empty, and ${operator} takes none`, 'remove the values');
  }
  return term(`${prefix}${expression.at('key').text()}`, operator, values);
}

/** Throws BadField for a field that the schema does not have. */
export function checkFields(object: Reader, known: readonly string[]): void {
  const unknown = object.keys().find(key => !known.includes(key));
  if (unknown === undefined) return;
  throw object.at(unknown).bad('is not a field of this object', `use one of ${known.join(', ')}, or remove it`);
}

/** endpointSelector, fromEndpoints, toEndpoints: of the policy's namespace, unless the selector names namespaces itself. */
export function scopedSelector(selector: Reader, namespace: string): LabelTerms {
  const terms = readSelector(selector);
  const isReserved = terms.some(({ source }) => source === 'reserved');
  const { key } = splitKey(securityLabelKeys.namespace);
  const labelPrefix = splitKey(securityLabelKeys.namespaceLabels).key;
  const names = (prefix: string) => terms.some(one => one.source !== 'reserved' && one.key.startsWith(prefix));
  if (terms.some(one => one.key === key) || isReserved) return terms;
  // In a clusterwide policy a selector is about pods of every namespace, and pods alone.
  if (namespace === '') return [...terms, term(securityLabelKeys.namespace, 'Exists')];
  return names(labelPrefix) ? terms : [...terms, term(securityLabelKeys.namespace, 'In', [namespace])];
}
