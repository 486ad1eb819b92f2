/** LabelSelector objects of policies into terms. */
import type { ParseProblem } from '../k8s/parsed.ts';
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
    ...labels.map(([key, value]) => {
      const at = selector.at('matchLabels', key);
      return term(`${prefix}${checkKey(at, key)}`, 'In', [checkValue(at, value)]);
    }),
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
    .map(value => checkValue(value, value.text('')));
  const needsValues = operator === 'In' || operator === 'NotIn';
  if (needsValues && values.length === 0) {
    throw expression.at('values').bad(`is empty, and ${operator} needs values`, 'list at least one value');
  }
  if (!needsValues && values.length > 0) {
    throw expression.at('values').bad(`is not empty, and ${operator} takes none`, 'remove the values');
  }
  const key = expression.at('key');
  return term(`${prefix}${checkKey(key, key.text())}`, operator, values);
}

/** As Kubernetes has it: at most 63 letters, digits, - _ and dots, the first and the last a letter or digit; or nothing. */
const labelName = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const dnsName = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

function checkValue(at: Reader, value: string): string {
  if (value !== '' && !labelName.test(value)) throw at.bad(`'${value}' is no value of a label`, 'no label can have it');
  return value;
}

/** A prefix that is a DNS name, and a name; the source before it ('k8s:') is Cilium's. */
function checkKey(at: Reader, text: string): string {
  const { key } = splitKey(text);
  const slash = key.lastIndexOf('/');
  const [prefix, name] = [key.slice(0, Math.max(slash, 0)), key.slice(slash + 1)];
  const isPrefix = slash < 0 || (dnsName.test(prefix) && prefix.length <= 253);
  if (!isPrefix || !labelName.test(name)) throw at.bad(`'${text}' is no key of a label`, 'no label can have it');
  return text;
}

/** Throws BadField for a field that the schema does not have. */
export function checkFields(object: Reader, known: readonly string[]): void {
  const unknown = object.keys().find(key => !known.includes(key));
  if (unknown === undefined) return;
  throw object.at(unknown).bad('is not a field of this object', `use one of ${known.join(', ')}, or remove it`);
}

const namespaceKey = splitKey(securityLabelKeys.namespace).key;

/** Pods that have no labels yet are asked for by reserved:init. */
export function selectsInit(selector: Reader): boolean {
  return readSelector(selector).some(({ source, key }) => source === 'reserved' && key === 'init');
}

/** endpointSelector of a policy in a namespace: about pods of that one, whatever other it names. */
export function ownSelector(selector: Reader, namespace: string, problems: ParseProblem[]): LabelTerms {
  const labels = selector.at('matchLabels').labels();
  const asked = labels[securityLabelKeys.namespace];
  // Terms of matchLabels come first, in their order.
  const place = Object.keys(labels).indexOf(securityLabelKeys.namespace);
  const own = readSelector(selector).filter((_, i) => i !== place);
  if (asked !== undefined && asked !== namespace) {
    problems.push({
      field: selector.path,
      message: `names another namespace than the policy's (${namespace}); that is left out`,
      remedy: 'write the policy in the namespace of the pods, or use a CiliumClusterwideNetworkPolicy',
    });
  }
  return [...own, term(securityLabelKeys.namespace, 'In', [namespace])];
}

/** fromEndpoints, toEndpoints: of the policy's namespace, unless the selector names namespaces itself. */
export function scopedSelector(selector: Reader, namespace: string): LabelTerms {
  const terms = readSelector(selector);
  const isReserved = terms.some(({ source }) => source === 'reserved');
  const labelPrefix = splitKey(securityLabelKeys.namespaceLabels).key;
  const names = (prefix: string) => terms.some(one => one.source !== 'reserved' && one.key.startsWith(prefix));
  if (terms.some(one => one.key === namespaceKey) || isReserved) return terms;
  // In a clusterwide policy a selector is about pods of every namespace, and pods alone.
  if (namespace === '') return [...terms, term(securityLabelKeys.namespace, 'Exists')];
  return names(labelPrefix) ? terms : [...terms, term(securityLabelKeys.namespace, 'In', [namespace])];
}
