/** L7 rules are validated now and enforced later: what is wrong is an error, what is right is a reason to refuse the policy. */
import type { Reader } from '../k8s/reader.ts';
import { checkFields } from './read-selector.ts';

export interface L7Place {
  readonly direction: 'ingress' | 'egress';
  readonly deny: boolean;
  readonly host: boolean;
  readonly refused: Set<string>;
}

const parts = ['listener', 'terminatingTLS', 'originatingTLS', 'serverNames'] as const;

/** True when the port rule has L7 parts. A list of rules without elements is none. */
export function checkL7(item: Reader, place: L7Place): boolean {
  const rules = item.at('rules');
  checkFields(rules, ['http', 'kafka', 'dns', 'l7', 'l7proto']);
  const kinds = ['http', 'kafka', 'dns', 'l7'].filter(kind => rules.at(kind).list().length > 0);
  const extras = parts.filter(name => !item.at(name).absent);
  const [kind] = kinds;
  if (kind === undefined && extras.length === 0) return false;
  if (place.deny) {
    throw item
      .at(kind === undefined ? (extras[0] ?? '') : 'rules')
      .bad('stands in a deny rule', 'deny rules end at L4: remove the L7 part');
  }
  checkServerNames(item, kind !== undefined);
  checkListener(item, kind !== undefined, place);
  for (const name of extras) place.refused.add(`${name} is not there yet`);
  if (kind === undefined) return true;
  const present = ['http', 'kafka', 'dns', 'l7proto'].filter(name => !rules.at(name).absent);
  const [first, second] = present;
  if (second !== undefined) throw rules.at(second).bad(`stands beside ${first}`, 'use one L7 protocol for a port');
  checkPlace(rules, kind, place);
  checkPorts(item, kind);
  checkRules(rules, kind);
  place.refused.add(`L7 rules (${kind}) are not there yet`);
  return true;
}

function checkServerNames(item: Reader, hasRules: boolean): void {
  const names = item.at('serverNames');
  for (const name of names.list()) name.text();
  if (hasRules && names.list().length > 0 && item.at('terminatingTLS').absent) {
    throw names.bad(
      'stands beside L7 rules, which do not see names inside TLS',
      'add terminatingTLS, or make two rules of it',
    );
  }
}

function checkListener(item: Reader, hasRules: boolean, { direction }: L7Place): void {
  const listener = item.at('listener');
  if (listener.absent) return;
  if (direction === 'ingress') throw listener.bad('is not supported on ingress', 'move it to an egress rule');
  if (hasRules) throw listener.bad('stands beside L7 rules', 'keep one of the two');
}

function checkPlace(rules: Reader, kind: string, { direction, host }: L7Place): void {
  if (host && (direction === 'ingress' || kind !== 'dns')) {
    throw rules.bad(`(${kind}) is not supported for the host on ${direction}`, 'remove the L7 rules, or select pods');
  }
  if (kind === 'dns' && direction === 'ingress') {
    throw rules.at('dns').bad('is not supported on ingress', 'move it to an egress rule');
  }
}

function checkPorts(item: Reader, kind: string): void {
  const ports = item.at('ports');
  if (kind === 'dns' && ports.list().length === 0)
    throw ports.bad('is empty, and DNS rules need ports', 'name port 53');
  for (const port of ports.list()) {
    if (/^0+$/.test(port.at('port').text(''))) throw port.at('port').bad('is 0, with L7 rules', 'name the port');
    const protocol = port.at('protocol').text('ANY').toUpperCase();
    if (kind !== 'dns' && protocol !== 'TCP') {
      throw port.at('protocol').bad(`is ${protocol}, and ${kind} rules need TCP`, 'set protocol TCP');
    }
  }
}

function checkRules(rules: Reader, kind: string): void {
  if (kind === 'l7' && rules.at('l7proto').text('') === '') {
    throw rules.at('l7proto').bad('is missing', 'name the protocol of the l7 rules');
  }
  for (const rule of rules.at(kind).list()) {
    if (kind === 'http') checkHttp(rule);
    if (kind === 'dns') checkDnsName(rule);
    if (kind === 'kafka') checkKafka(rule);
  }
}

function checkHttp(rule: Reader): void {
  checkFields(rule, ['path', 'method', 'host', 'headers', 'headerMatches']);
  for (const name of ['path', 'method', 'host']) {
    const expression = rule.at(name).text('');
    if (!isRe2(expression)) throw rule.at(name).bad(`'${expression}' is not a regular expression`, 'correct it (RE2)');
  }
}

/** Requests of Kafka's protocol, in the order of their numbers (kafka.apache.org/protocol). */
const kafkaRequests = (
  'produce fetch offsets metadata leaderandisr stopreplica updatemetadata controlledshutdown offsetcommit offsetfetch ' +
  'findcoordinator joingroup heartbeat leavegroup syncgroup describegroups listgroups saslhandshake apiversions ' +
  'createtopics deletetopics deleterecords initproducerid offsetforleaderepoch addpartitionstotxn addoffsetstotxn ' +
  'endtxn writetxnmarkers txnoffsetcommit describeacls createacls deleteacls describeconfigs alterconfigs'
).split(' ');

function checkKafka(rule: Reader): void {
  checkFields(rule, ['role', 'apiKey', 'apiVersion', 'clientID', 'topic']);
  const text = (name: string): string => rule.at(name).text('');
  const [role, request, version, topic] = [text('role'), text('apiKey'), text('apiVersion'), text('topic')];
  if (role !== '' && request !== '') throw rule.at('apiKey').bad('stands beside role', 'keep one of the two');
  if (role !== '' && !/^(produce|consume)$/i.test(role)) {
    throw rule.at('role').bad(`'${role}' is no role`, 'use produce or consume');
  }
  if (request !== '' && !kafkaRequests.includes(request.toLowerCase())) {
    throw rule.at('apiKey').bad(`'${request}' is no request of Kafka`, 'use one such as produce or fetch');
  }
  if (!/^\d{0,5}$/.test(version)) throw rule.at('apiVersion').bad(`'${version}' is no version`, 'use a number');
  if (!/^[-a-zA-Z0-9._]{0,255}$/.test(topic)) {
    throw rule.at('topic').bad('is no name of a topic', 'use up to 255 letters, digits, dots, - and _');
  }
}

/** The syntax of RE2, near enough to tell a slip: it has no look-around and no back references, and flags that JavaScript lacks. */
function isRe2(text: string): boolean {
  if (/\(\?<?[=!]/.test(text) || /(?<!\\)(?:\\\\)*\\[1-9]/.test(text)) return false;
  const here = text
    .replaceAll(/\(\?[imsU-]+\)/g, '')
    .replaceAll(/\(\?[imsU-]+:/g, '(?:')
    .replaceAll('(?P<', '(?<');
  try {
    new RegExp(here);
    return true;
  } catch {
    return false;
  }
}

/** matchName or matchPattern, of DNS rules and toFQDNs. */
export function checkDnsName(rule: Reader): void {
  checkFields(rule, ['matchName', 'matchPattern']);
  const [name, pattern] = [rule.at('matchName').text(''), rule.at('matchPattern').text('')];
  if ((name === '') === (pattern === '')) throw rule.bad('needs one of matchName and matchPattern', 'set one');
  if (!/^[-a-zA-Z0-9_.]*$/.test(name)) {
    throw rule.at('matchName').bad(`'${name}' is no DNS name`, 'use letters, digits, - _ and dots');
  }
  if (!/^[-a-zA-Z0-9_.*]*$/.test(pattern)) {
    throw rule.at('matchPattern').bad(`'${pattern}' is no pattern of DNS names`, 'use letters, digits, - _ . and *');
  }
}
