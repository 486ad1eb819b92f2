import type { LocalRedirectRow, RedirectPort } from '../rows.ts';
import type { LabelSelector, SelectorOperator } from '../selector.ts';
import { type Parsed, type ParseProblem, parsing } from './parsed.ts';
import { Reader } from './reader.ts';

/** A cilium.io/v2 CiliumLocalRedirectPolicy (docs.cilium.io: local redirect policy). */
export function localRedirectFromK8s(object: unknown): Parsed<LocalRedirectRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const spec = root.at('spec');
    const backend = spec.at('redirectBackend');
    const backendPorts = backend.at('toPorts').list().map(redirectPort);
    if (backendPorts.length === 0) throw backend.at('toPorts').bad('is empty', 'name the ports of the local pods');
    const namespace = root.at('metadata', 'namespace').text();
    const frontend = readFrontend(spec.at('redirectFrontend'), namespace, problems);
    checkPorts(spec, frontend.ports, backendPorts, problems);
    return {
      namespace,
      name: root.at('metadata', 'name').text(),
      uid: root.at('metadata', 'uid').text(''),
      created: Date.parse(root.at('metadata', 'creationTimestamp').text('')) || 0,
      frontend,
      pods: selector(backend.at('localEndpointSelector')),
      backendPorts,
      skipFromBackend: spec.at('skipRedirectFromBackend').boolean(false),
    };
  });
}

function readFrontend(frontend: Reader, own: string, problems: ParseProblem[]): LocalRedirectRow['frontend'] {
  const [byAddress, byService] = [frontend.at('addressMatcher'), frontend.at('serviceMatcher')];
  if (byAddress.absent === byService.absent) {
    throw frontend.bad('needs one of addressMatcher and serviceMatcher', 'set exactly one of them');
  }
  if (!byService.absent) {
    const namespace = byService.at('namespace').text();
    // Else whoever may write policies in one namespace would take the traffic of all.
    if (namespace !== own) {
      throw byService
        .at('namespace')
        .bad(`is not the policy's own (${own})`, 'write the policy in the namespace of the service');
    }
    return {
      kind: 'service',
      namespace,
      name: byService.at('serviceName').text(),
      ports: byService.at('toPorts').list().map(redirectPort),
    };
  }
  const address = byAddress.at('ip').address(problems);
  if (address === undefined) throw byAddress.at('ip').bad('is not an address', 'write an IP address');
  const ports = byAddress.at('toPorts').list().map(redirectPort);
  if (ports.length === 0) throw byAddress.at('toPorts').bad('is empty', 'name the ports to redirect');
  return { kind: 'address', address, ports };
}

/** Several ports are paired by name; a single one says its protocol for both sides. */
function checkPorts(
  spec: Reader,
  frontend: readonly RedirectPort[],
  backend: readonly RedirectPort[],
  problems: ParseProblem[],
): void {
  const at = spec.at('redirectBackend', 'toPorts');
  const isNamed = frontend.length > 1;
  if (isNamed) checkNames(spec.at('redirectFrontend'), frontend);
  if (isNamed || backend.length > 1) checkNames(at, backend);
  const [single] = frontend;
  if (frontend.length === 1 && backend[0]?.protocol !== single?.protocol) {
    throw at.bad(`begins with another protocol than the frontend's ${single?.protocol}`, 'give both the same protocol');
  }
  const missing = isNamed ? frontend.filter(port => !backend.some(other => other.name === port.name)) : [];
  for (const { name } of missing) {
    problems.push({
      field: at.path,
      message: `has no port '${name}', which the frontend names; that one is not redirected`,
      remedy: 'give ports that belong together the same name',
    });
  }
}

/** RFC 6335: letters, digits and single dashes inside, 15 at most, one letter at least. */
const serviceName = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/;

function checkNames(at: Reader, ports: readonly RedirectPort[]): void {
  const bad = ports.find(({ name }) => !serviceName.test(name));
  if (bad === undefined) return;
  const what = bad.name === '' ? `port ${bad.port} without a name` : `port name '${bad.name}', which is none`;
  throw at.bad(`has ${what}`, 'where there are several ports give each a name, the same on both sides');
}

function redirectPort(port: Reader): RedirectPort {
  const text = port.at('port').text();
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > 65_535) {
    throw port.at('port').bad(`'${text}' is not a port`, 'use a number from 1 to 65535, in quotes');
  }
  const protocol = port.at('protocol').choice(['TCP', 'UDP', 'SCTP'], 'TCP');
  return { name: port.at('name').text('').toLowerCase(), port: Number(text), protocol };
}

function selector(reader: Reader): LabelSelector {
  const operators: readonly SelectorOperator[] = ['In', 'NotIn', 'Exists', 'DoesNotExist'];
  return {
    matchLabels: reader.at('matchLabels').labels(),
    matchExpressions: reader
      .at('matchExpressions')
      .list()
      .map(expression => ({
        key: expression.at('key').text(),
        operator: expression.at('operator').choice(operators, 'In'),
        values: expression
          .at('values')
          .list()
          .map(value => value.text('')),
      })),
  };
}
