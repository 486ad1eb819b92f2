/** L7 rules are validated now and enforced later: what is wrong is an error, what is right is a reason to refuse the policy. */
import type { Reader } from '../k8s/reader.ts';
import { checkFields } from './read-selector.ts';

export interface L7Place {
  readonly direction: 'ingress' | 'egress';
  readonly deny: boolean;
  readonly host: boolean;
  readonly refused: Set<string>;
}

/** True when the port rule has L7 parts. */
export function checkL7(item: Reader, place: L7Place): boolean {
  const rules = item.at('rules');
  checkFields(rules, ['http', 'kafka', 'dns', 'l7', 'l7proto']);
  const kinds = ['http', 'kafka', 'dns', 'l7'].filter(kind => !rules.at(kind).absent);
  const [first, second] = kinds;
  if (first !== undefined && second !== undefined) {
    throw rules.at(second).bad(`stands beside ${first}`, 'use one L7 protocol for a port');
  }
  const extras = ['listener', 'terminatingTLS', 'originatingTLS', 'serverNames'].filter(name => !item.at(name).absent);
  if (first === undefined && extras.length === 0) return false;
  checkPlace(item, first, place);
  if (first !== undefined) checkRules(rules, first, place);
  for (const name of extras) place.refused.add(`${name} is not there yet`);
  if (first !== undefined) place.refused.add(`L7 rules (${first}) are not there yet`);
  return true;
}

function checkPlace(item: Reader, kind: string | undefined, { direction, deny, host }: L7Place): void {
  const rules = item.at('rules');
  if (deny) throw rules.bad('stands in a deny rule', 'deny rules end at L4: remove the L7 part');
  if (kind !== undefined && host && (direction === 'ingress' || kind !== 'dns')) {
    throw rules.bad(`(${kind}) is not supported for the host on ${direction}`, 'remove the L7 rules, or select pods');
  }
  if (kind === 'dns' && direction === 'ingress') {
    throw rules.at('dns').bad('is not supported on ingress', 'move it to an egress rule');
  }
  const protocols = item
    .at('ports')
    .list()
    .map(port => port.at('protocol').text('ANY').toUpperCase());
  if (kind !== undefined && kind !== 'dns' && protocols.some(protocol => protocol !== 'TCP' && protocol !== 'ANY')) {
    throw item.at('ports').bad(`are not TCP, which ${kind} rules need`, 'set protocol TCP');
  }
}

function checkRules(rules: Reader, kind: string, _place: L7Place): void {
  if (kind === 'l7') {
    if (rules.at('l7proto').absent) throw rules.at('l7proto').bad('is missing', 'name the protocol of the l7 rules');
    return;
  }
  for (const rule of rules.at(kind).list()) {
    if (kind === 'http') checkHttp(rule);
    if (kind === 'dns') checkDns(rule);
  }
}

function checkHttp(rule: Reader): void {
  checkFields(rule, ['path', 'method', 'host', 'headers', 'headerMatches']);
  for (const name of ['path', 'method', 'host']) {
    const expression = rule.at(name).text('');
    try {
      new RegExp(expression);
    } catch {
      throw rule.at(name).bad(`'${expression}' is not a regular expression`, 'correct it');
    }
  }
}

function checkDns(rule: Reader): void {
  checkFields(rule, ['matchName', 'matchPattern']);
  const [name, pattern] = [rule.at('matchName').text(''), rule.at('matchPattern').text('')];
  if (name === '' && pattern === '') throw rule.bad('needs one of matchName and matchPattern', 'set one');
}
