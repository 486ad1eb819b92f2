/** cilium.io/v2 CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy into rules (docs.cilium.io: layers 3, 4 and 7 policies). */
import { type Parsed, type ParseProblem, parsing } from '../k8s/parsed.ts';
import { Reader } from '../k8s/reader.ts';
import { readAudit } from './audit.ts';
import { readCidr } from './cidr.ts';
import { checkFields, ownSelector, readSelector, selectsInit } from './read-selector.ts';
import type { CidrGroupRow, PolicyKind, PolicyRow, PolicyRule, TrafficRule } from './rows.ts';
import { readTraffic, type Scope } from './traffic.ts';

export function ciliumNetworkPolicyFromK8s(object: unknown): Parsed<PolicyRow> {
  return parsing(problems => readPolicy(new Reader(object), 'CiliumNetworkPolicy', problems));
}

export function ciliumClusterwideNetworkPolicyFromK8s(object: unknown): Parsed<PolicyRow> {
  return parsing(problems => readPolicy(new Reader(object), 'CiliumClusterwideNetworkPolicy', problems));
}

export function cidrGroupFromK8s(object: unknown): Parsed<CidrGroupRow> {
  return parsing(() => {
    const root = new Reader(object);
    return {
      name: root.at('metadata', 'name').text(),
      labels: root.at('metadata', 'labels').labels(),
      cidrs: root.at('spec', 'externalCIDRs').list().map(readCidr),
    };
  });
}

function readPolicy(root: Reader, kind: PolicyKind, problems: ParseProblem[]): PolicyRow {
  const namespace = kind === 'CiliumNetworkPolicy' ? root.at('metadata', 'namespace').text('default') : '';
  const specs = [...(root.at('spec').absent ? [] : [root.at('spec')]), ...root.at('specs').list()];
  if (specs.length === 0) throw root.at('spec').bad('is missing', 'set spec or specs');
  const refused = new Set<string>();
  const rules = specs.map((spec, index) => readRule(spec, { kind, namespace, problems, refused }, index));
  return {
    kind,
    namespace,
    name: root.at('metadata', 'name').text(),
    uid: root.at('metadata', 'uid').text(''),
    generation: root.at('metadata', 'generation').integer(0, Number.MAX_SAFE_INTEGER, 0),
    labels: root.at('metadata', 'labels').labels(),
    audit: readAudit(root, problems),
    rules,
    refused: [...refused],
  };
}

const specFields = [
  'endpointSelector',
  'nodeSelector',
  'ingress',
  'ingressDeny',
  'egress',
  'egressDeny',
  'enableDefaultDeny',
  'description',
  'labels',
  'log',
];

type PolicyScope = Omit<Scope, 'host' | 'log' | 'ofInit'> & { readonly kind: PolicyKind };

function readRule(spec: Reader, scope: PolicyScope, index: number): PolicyRule {
  checkFields(spec, specFields);
  const [pods, nodes] = [spec.at('endpointSelector'), spec.at('nodeSelector')];
  if (!pods.absent && !nodes.absent) {
    throw nodes.bad('stands beside endpointSelector', 'keep one of the two, or use two specs');
  }
  if (pods.absent && nodes.absent) throw pods.bad('is missing', 'select pods, with {} all of them');
  if (!nodes.absent && scope.kind === 'CiliumNetworkPolicy') {
    throw nodes.bad('is not allowed in a policy of a namespace', 'use a CiliumClusterwideNetworkPolicy');
  }
  const host = !nodes.absent;
  const isClusterwide = scope.kind === 'CiliumClusterwideNetworkPolicy';
  const inner: Scope = {
    ...scope,
    host,
    log: readLog(spec.at('log')),
    ofInit: isClusterwide && !host && selectsInit(pods),
  };
  const read = (field: string) =>
    spec
      .at(field)
      .list()
      .map(rule => readTraffic(rule, field, inner));
  const ingress = [...read('ingressDeny'), ...read('ingress')];
  const egress = [...read('egressDeny'), ...read('egress')];
  if (ingress.length + egress.length === 0) {
    throw spec.bad(
      'has no rule',
      'write one of ingress, ingressDeny, egress, egressDeny; `ingress: [{}]` lets nobody in',
    );
  }
  return {
    index,
    // A clusterwide policy without a word about namespaces is about every endpoint, the health one too.
    subject:
      host || isClusterwide ? readSelector(host ? nodes : pods) : ownSelector(pods, scope.namespace, scope.problems),
    host,
    isolates: isolation(spec, ingress, egress),
    ingress,
    egress,
    description: spec.at('description').text(''),
    labels: spec.at('labels').list().map(readLabel),
  };
}

/** An object without value asks for records too. */
function readLog(log: Reader): string | undefined {
  checkFields(log, ['value']);
  return log.absent ? undefined : log.at('value').text('');
}

/** Written as the field's tools show it. */
function readLabel(label: Reader): string {
  checkFields(label, ['key', 'value', 'source']);
  const [source, value] = [label.at('source').text(''), label.at('value').text('')];
  return `${source === '' ? '' : `${source}:`}${label.at('key').text()}${value === '' ? '' : `=${value}`}`;
}

/** A rule isolates a direction that it says something about, unless enableDefaultDeny says otherwise. */
function isolation(
  spec: Reader,
  ingress: readonly TrafficRule[],
  egress: readonly TrafficRule[],
): PolicyRule['isolates'] {
  const asked = spec.at('enableDefaultDeny');
  checkFields(asked, ['ingress', 'egress']);
  return {
    ingress: asked.at('ingress').boolean(ingress.length > 0),
    egress: asked.at('egress').boolean(egress.length > 0),
  };
}
