/** The oracle that the compiler is held against, held itself against the data made by others. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type Flow,
  oracleVerdict,
  type Party,
  type RawPolicy,
} from '../../packages/control/src/policy/oracle.test-lib.ts';
import { conformanceData, missingData } from './data.ts';

type Rows = readonly string[];
interface NetworkPolicyData {
  readonly cases: readonly {
    readonly id: number;
    readonly steps: readonly {
      readonly namespaces: Readonly<Record<string, Readonly<Record<string, string>>>>;
      readonly pods: readonly { ns: string; name: string; labels: Readonly<Record<string, string>>; ip: string }[];
      readonly policies: readonly RawPolicy[];
      readonly expected: Readonly<Record<string, Readonly<Record<'ingress' | 'egress' | 'combined', Rows>>>>;
    }[];
  }[];
}
interface CiliumData {
  readonly endpoints: readonly { readonly name: string; readonly labels: Rows; readonly cidr?: string }[];
  readonly namedPorts: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly cases: readonly {
    readonly name: string;
    readonly policies: readonly RawPolicy[];
    readonly enforcement: 'default' | 'always' | 'never';
    readonly egress?: Readonly<Record<string, Rows>>;
    readonly ingress?: Readonly<Record<string, Rows>>;
    readonly errors?: Rows;
  }[];
}

const files = ['networkpolicy-reachability.json', 'ciliumnetworkpolicy-verdicts.json'] as const;
const knp = conformanceData(files[0]) as NetworkPolicyData | undefined;
const cnp = conformanceData(files[1]) as CiliumData | undefined;

function flowOf(text: string): Flow {
  const [protocol, port] = text.split('/');
  return { protocol: protocol as Flow['protocol'], port: Number(port) };
}

/** Rows of '.', 'X', and what `wanted` has on the diagonal, which is undefined. */
function table(parties: readonly Party[], wanted: Rows, allows: (from: Party, to: Party) => boolean): Rows {
  return parties.map((from, row) =>
    parties
      .map((to, column) => {
        if (row === column) return wanted[row]?.[column] ?? '';
        return allows(from, to) ? '.' : 'X';
      })
      .join(''),
  );
}

describe('oracle', () => {
  if (knp === undefined) missingData(files[0]);
  else {
    test('agrees with every NetworkPolicy table', () => {
      for (const { id, steps } of knp.cases) for (const step of steps) checkStep(step, `case ${id}`);
    });
  }
  if (cnp === undefined) missingData(files[1]);
  else {
    test('agrees with every CiliumNetworkPolicy table', () => {
      for (const one of cnp.cases) if (one.errors === undefined) checkCase(one, cnp);
    });
  }
});

function checkStep(step: NetworkPolicyData['cases'][number]['steps'][number], name: string): void {
  const ports = ['TCP', 'UDP', 'SCTP'].flatMap(protocol =>
    [80, 81].map(port => ({ name: `serve-${port}-${protocol.toLowerCase()}`, protocol, port })),
  );
  const parties = step.pods.map(({ ns, labels, ip }): Party => {
    const own = Object.entries(labels).map(([key, value]) => `k8s:${key}=${value}`);
    const inherited = Object.entries(step.namespaces[ns] ?? {}).map(
      ([key, value]) => `k8s:io.cilium.k8s.namespace.labels.${key}=${value}`,
    );
    return { labels: [...own, ...inherited, `k8s:io.kubernetes.pod.namespace=${ns}`], cidr: ip, ports };
  });
  const policies = step.policies.map(policy => ({ ...policy, kind: 'NetworkPolicy' }));
  const allows = (direction: 'ingress' | 'egress', subject: Party, peer: Party, flow: Flow) =>
    oracleVerdict(policies, direction, subject, peer, flow) === 'allowed';
  for (const [port, wanted] of Object.entries(step.expected)) {
    const flow = flowOf(port);
    const egress = (from: Party, to: Party) => allows('egress', from, to, flow);
    const ingress = (from: Party, to: Party) => allows('ingress', to, from, flow);
    const both = (from: Party, to: Party) => egress(from, to) && ingress(from, to);
    for (const [kind, asked] of [
      ['egress', egress],
      ['ingress', ingress],
      ['combined', both],
    ] as const) {
      assert.deepEqual(table(parties, wanted[kind], asked), wanted[kind], `${name} ${port} ${kind}`);
    }
  }
}

function checkCase(one: CiliumData['cases'][number], data: CiliumData): void {
  const ports = Object.entries(data.namedPorts).flatMap(([protocol, names]) =>
    Object.entries(names).map(([name, port]) => ({ name, protocol, port })),
  );
  const parties = data.endpoints.map(({ labels, cidr }): Party => {
    const isPod = labels.some(label => label.startsWith('k8s:io.kubernetes.pod.namespace='));
    const about = { labels, ...(isPod ? { ports } : {}) };
    return cidr === undefined ? about : { ...about, labels: [...labels, 'reserved:world'], cidr };
  });
  for (const direction of ['ingress', 'egress'] as const) {
    for (const [port, wanted] of Object.entries(one[direction] ?? {})) {
      const found = table(parties, wanted, (from, to) => {
        const [subject, peer] = direction === 'ingress' ? [to, from] : [from, to];
        const verdict = oracleVerdict(one.policies, direction, subject, peer, flowOf(port), { mode: one.enforcement });
        return verdict === 'allowed';
      });
      assert.deepEqual(found, wanted, `${one.name} ${direction} ${port}`);
    }
  }
}
