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
    const frontend = readFrontend(spec.at('redirectFrontend'), problems);
    checkNames(backend.at('toPorts'), backendPorts, frontend.ports);
    return {
      namespace: root.at('metadata', 'namespace').text(),
      name: root.at('metadata', 'name').text(),
      frontend,
      pods: selector(backend.at('localEndpointSelector')),
      backendPorts,
      skipFromBackend: spec.at('skipRedirectFromBackend').boolean(false),
    };
  });
}

function readFrontend(frontend: Reader, problems: ParseProblem[]): LocalRedirectRow['frontend'] {
  const [byAddress, byService] = [frontend.at('addressMatcher'), frontend.at('serviceMatcher')];
  if (byAddress.absent === byService.absent) {
    throw frontend.bad('needs one of addressMatcher and serviceMatcher', 'set exactly one of them');
  }
  if (!byService.absent) {
    return {
      kind: 'service',
      namespace: byService.at('namespace').text(),
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

/** Several ports are paired by name. */
function checkNames(at: Reader, backend: readonly RedirectPort[], frontend: readonly RedirectPort[]): void {
  if (backend.length > 1 && backend.some(port => port.name === '')) {
    throw at.bad('has several ports without names', 'give each a name, the same as in the frontend');
  }
  if (frontend.length > 1 && frontend.some(port => !backend.some(other => other.name === port.name))) {
    throw at.bad('lacks a port that the frontend names', 'give ports that belong together the same name');
  }
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
