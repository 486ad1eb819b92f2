/** networking.k8s.io/v1 NetworkPolicy into rules (kubernetes.io/docs/reference: NetworkPolicySpec). */
import { type Parsed, parsing } from '../k8s/parsed.ts';
import { Reader } from '../k8s/reader.ts';
import { securityLabelKeys } from '../security-labels.ts';
import { readAudit } from './audit.ts';
import { readExcept } from './cidr.ts';
import { type LabelTerms, term } from './label-terms.ts';
import { readNetworkPolicyPort } from './ports.ts';
import { checkFields, readSelector } from './read-selector.ts';
import type { Peer, PolicyDirectionName, PolicyRow, TrafficRule } from './rows.ts';

const inNamespace = (namespace: string) => term(securityLabelKeys.namespace, 'In', [namespace]);

/** Only pods have a namespace. */
const anyNamespace = term(securityLabelKeys.namespace, 'Exists');

export function networkPolicyFromK8s(object: unknown): Parsed<PolicyRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const spec = root.at('spec');
    const namespace = root.at('metadata', 'namespace').text('default');
    checkFields(spec, ['podSelector', 'policyTypes', 'ingress', 'egress']);
    const types = spec
      .at('policyTypes')
      .list()
      .map(type => type.choice(['Ingress', 'Egress'], 'Ingress'));
    // Without policyTypes: always Ingress, and Egress when there are egress rules.
    const isolates =
      types.length === 0
        ? { ingress: true, egress: spec.at('egress').list().length > 0 }
        : { ingress: types.includes('Ingress'), egress: types.includes('Egress') };
    const rules = (direction: PolicyDirectionName) =>
      isolates[direction]
        ? spec
            .at(direction)
            .list()
            .map(rule => readRule(rule, direction, namespace))
        : [];
    return {
      kind: 'NetworkPolicy',
      namespace,
      name: root.at('metadata', 'name').text(),
      uid: root.at('metadata', 'uid').text(''),
      generation: root.at('metadata', 'generation').integer(0, Number.MAX_SAFE_INTEGER, 0),
      labels: root.at('metadata', 'labels').labels(),
      audit: readAudit(root, problems),
      rules: [
        {
          index: 0,
          subject: [inNamespace(namespace), ...readSelector(spec.at('podSelector'), 'k8s:')],
          host: false,
          isolates,
          ingress: rules('ingress'),
          egress: rules('egress'),
          description: '',
          labels: [],
        },
      ],
      refused: [],
    };
  });
}

/** No peers or no ports: no restriction by them. */
function readRule(rule: Reader, direction: PolicyDirectionName, namespace: string): TrafficRule {
  const field = direction === 'ingress' ? 'from' : 'to';
  checkFields(rule, [field, 'ports']);
  const peers = rule.at(field).list();
  const ports = rule.at('ports').list();
  return {
    path: rule.path,
    deny: false,
    log: undefined,
    peers: peers.length === 0 ? undefined : peers.flatMap(peer => readPeer(peer, namespace)),
    ports: ports.length === 0 ? undefined : ports.map(readNetworkPolicyPort),
  };
}

function readPeer(peer: Reader, namespace: string): readonly Peer[] {
  checkFields(peer, ['podSelector', 'namespaceSelector', 'ipBlock']);
  const block = peer.at('ipBlock');
  if (!block.absent) {
    if (!peer.at('podSelector').absent || !peer.at('namespaceSelector').absent) {
      throw block.bad('stands beside a selector', 'make two peers of it');
    }
    checkFields(block, ['cidr', 'except']);
    return readExcept(block).map(cidr => ({ kind: 'cidr', ...cidr, pods: true }));
  }
  if (peer.keys().length === 0) throw peer.bad('selects by nothing', 'set podSelector, namespaceSelector or ipBlock');
  return [{ kind: 'labels', terms: podTerms(peer, namespace) }];
}

/** Namespaces by the selector, else the policy's own; pods by theirs, else all. */
function podTerms(peer: Reader, namespace: string): LabelTerms {
  const pods = readSelector(peer.at('podSelector'), 'k8s:');
  const namespaces = peer.at('namespaceSelector');
  if (namespaces.absent) return [inNamespace(namespace), ...pods];
  return [anyNamespace, ...readSelector(namespaces, securityLabelKeys.namespaceLabels), ...pods];
}
