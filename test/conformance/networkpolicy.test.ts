/** NetworkPolicy cases of the cyclonus generator, through parser, compiler and map lookups. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { networkPolicyFromK8s, securityLabels } from '@ciliate/model';
import { conformanceCase, conformanceData, missingData } from './data.ts';
import { PolicyWorld, type Someone } from './policy-world.ts';

interface Step {
  /** Labels, by name. */
  readonly namespaces: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly pods: readonly {
    readonly ns: string;
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly ip: string;
  }[];
  readonly policies: readonly unknown[];
  readonly expected: Readonly<Record<string, Readonly<Record<'ingress' | 'egress' | 'combined', readonly string[]>>>>;
  readonly order: readonly string[];
}
interface Data {
  readonly cases: readonly { readonly id: number; readonly description: string; readonly steps: readonly Step[] }[];
}

const protocols: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const file = 'networkpolicy-reachability.json';
const data = conformanceData(file) as Data | undefined;

describe('NetworkPolicy reachability', () => {
  if (data === undefined) missingData(file);
  for (const { id, description, steps } of data?.cases ?? []) {
    conformanceCase('networkpolicy', `${id}: ${description}`, () => {
      steps.forEach((step, i) => {
        checkStep(step, `step ${i + 1}`);
      });
    });
  }
});

function checkStep(step: Step, name: string): void {
  const policies = step.policies.map(object => {
    const parsed = networkPolicyFromK8s(object);
    assert.ok('row' in parsed, JSON.stringify(parsed));
    return parsed.row;
  });
  const pods = inOrder(step).map((pod, i) => someone(step, pod, i));
  const world = new PolicyWorld(policies, pods);
  for (const [port, tables] of Object.entries(step.expected)) {
    const [protocol = '', number = ''] = port.split('/');
    for (const table of ['ingress', 'egress', 'combined'] as const) {
      const rows = pods.map((from, row) =>
        pods
          .map((to, column) => {
            if (row === column) return tables[table][row]?.[column] ?? '';
            const egress = world.allows('egress', from, to, protocols[protocol] ?? 0, Number(number));
            const ingress = world.allows('ingress', to, from, protocols[protocol] ?? 0, Number(number));
            return { ingress, egress, combined: ingress && egress }[table] ? '.' : 'X';
          })
          .join(''),
      );
      assert.deepEqual(rows, tables[table], `${name}, ${port}, ${table}`);
    }
  }
}

/** Rows and columns of the tables. */
function inOrder({ pods, order }: Step): Step['pods'] {
  if (order === undefined) return pods;
  return order.map(name => {
    const pod = pods.find(one => `${one.ns}/${one.name}` === name);
    assert.ok(pod !== undefined, `no pod ${name}`);
    return pod;
  });
}

/** The generator's pods serve each port that it probes by a name: serve-80-tcp. */
const namedPorts = new Map(
  Object.entries(protocols).flatMap(([name, protocol]) =>
    [80, 81].map(port => [`${protocol}/serve-${port}-${name.toLowerCase()}`, [port]] as const),
  ),
);

/** Each pod has an identity of its own here, so that none hides behind another. */
function someone(step: Step, pod: Step['pods'][number], index: number): Someone {
  const labels = securityLabels({
    namespace: pod.ns,
    podLabels: pod.labels,
    namespaceLabels: step.namespaces[pod.ns] ?? {},
    serviceAccount: 'default',
    cluster: 'default',
  });
  return {
    name: `${pod.ns}/${pod.name}`,
    subject: { labels, host: false, namedPorts },
    identity: { id: 1000 + index, labels, prefix: undefined, kind: 'labels', namedPorts },
    address: pod.ip,
  };
}
