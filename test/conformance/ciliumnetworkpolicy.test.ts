/** CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and NetworkPolicy cases with the verdicts of Cilium's own engine. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { EnforcementMode } from '@ciliate/control';
import { parsePrefix } from '@ciliate/model';
import { conformanceCase, conformanceData, missingData } from './data.ts';
import { PolicyWorld, parsePolicy, type Someone, withoutL7 } from './policy-world.ts';

type Tables = Readonly<Record<string, readonly string[]>>;
interface Case {
  readonly name: string;
  readonly policies: readonly unknown[];
  readonly enforcement: EnforcementMode;
  readonly egress?: Tables;
  readonly ingress?: Tables;
  readonly errors?: readonly string[];
}
interface Data {
  readonly endpoints: readonly { readonly name: string; readonly id: number; readonly labels: readonly string[] }[];
  readonly namedPorts: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly cases: readonly Case[];
}

const protocols: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 };
const file = 'ciliumnetworkpolicy-verdicts.json';
const data = conformanceData(file) as Data | undefined;

describe('CiliumNetworkPolicy verdicts', () => {
  if (data === undefined) {
    missingData(file);
    return;
  }
  const everyone = data.endpoints.map(endpoint => someone(endpoint, data));
  for (const one of data.cases) {
    conformanceCase('ciliumnetworkpolicy', one.name, () => {
      checkCase(one, everyone);
    });
  }
});

function checkCase(one: Case, everyone: readonly Someone[]): void {
  const parsed = one.policies.map(parsePolicy);
  const errors = parsed.flatMap(result => ('error' in result ? [result.error] : []));
  const rows = parsed.flatMap(result => ('row' in result ? [withoutL7(result.row)] : []));
  const refused = rows.flatMap(row => row.refused);
  if (one.errors !== undefined) {
    assert.ok(errors.length + refused.length > 0, `not rejected; the reference says: ${one.errors[0]}`);
    for (const { field, message, remedy } of errors) {
      assert.ok(field !== '' && message !== '' && remedy !== '', 'an error names field, problem and remedy');
    }
    return;
  }
  assert.deepEqual([errors, refused], [[], []]);
  const world = new PolicyWorld(rows, everyone, one.enforcement);
  for (const direction of ['egress', 'ingress'] as const) {
    for (const [port, wanted] of Object.entries(one[direction] ?? {})) {
      const [protocol = '', number = ''] = port.split('/');
      const table = everyone.map((from, row) =>
        everyone
          .map((to, column) => {
            if (row === column) return '-';
            const [of, peer] = direction === 'egress' ? [from, to] : [to, from];
            return world.allows(direction, of, peer, protocols[protocol] ?? 0, Number(number)) ? '.' : 'X';
          })
          .join(''),
      );
      assert.deepEqual(label(table, everyone), label(wanted, everyone), `${direction} ${port}`);
    }
  }
}

function label(rows: readonly string[], everyone: readonly Someone[]): readonly string[] {
  return rows.map((row, i) => `${row} ${everyone[i]?.name}`);
}

function someone(endpoint: Data['endpoints'][number], { namedPorts: ports }: Data): Someone {
  const cidr = /^cidr (.+)$/.exec(endpoint.name)?.[1];
  const own = Object.fromEntries(endpoint.labels.map(splitLabel));
  const labels = cidr === undefined ? own : { ...own, 'reserved:world': '' };
  const isPod = endpoint.labels.some(one => one.startsWith('k8s:io.kubernetes.pod.namespace='));
  const namedPorts = new Map(
    Object.entries(isPod ? ports : {}).flatMap(([protocol, names]) =>
      Object.entries(names).map(([name, port]) => [`${protocols[protocol]}/${name}`, [port]] as const),
    ),
  );
  return {
    name: endpoint.name,
    subject: { labels, host: 'reserved:host' in labels, namedPorts },
    identity: {
      id: endpoint.id,
      labels,
      prefix: cidr === undefined ? undefined : parsePrefix(cidr),
      kind: cidr === undefined ? 'labels' : 'cidr',
      namedPorts,
    },
  };
}

function splitLabel(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
