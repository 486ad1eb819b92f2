/** policy get, policy selectors, bpf policy list: what is in force, with the columns that the field's users know. */
import {
  type PolicyMapDump,
  type PolicyMapEntryDump,
  type PolicyObject,
  type PolicySelector,
  type PolicyTree,
  restPaths,
} from '@ciliate/protocol';
import type { Context } from '../context.ts';
import { CliError } from '../errors.ts';

/** `name`: only policies called so, 'name', 'namespace/name' or 'kind/namespace/name'. */
export async function policyGet({ agent, output }: Context, name?: string): Promise<void> {
  const tree = await agent.get<PolicyTree>(restPaths.policy);
  const all: readonly PolicyObject[] = JSON.parse(tree.policy);
  const policies = name === undefined ? all : all.filter(policy => isCalled(policy, name));
  if (name !== undefined && policies.length === 0) {
    throw new CliError({ code: 'NOT_FOUND' }, `no policy '${name}' on this node: 'ciliate policy get' shows all`);
  }
  output.render({ policy: policies, revision: tree.revision }, () => {
    output.line(JSON.stringify(policies, null, 2));
    for (const policy of policies.filter(({ refused }) => refused.length > 0)) {
      output.line(output.paint.bad(`${policyName(policy)} is not enforced: ${policy.refused.join('; ')}`));
    }
    output.line(`Revision: ${tree.revision}`);
  });
}

const policyName = ({ kind, namespace, name }: PolicyObject): string =>
  [kind, namespace, name].filter(part => part !== '').join('/');

function isCalled(policy: PolicyObject, name: string): boolean {
  return [policy.name, `${policy.namespace}/${policy.name}`, policyName(policy)].includes(name);
}

export async function policySelectors({ agent, output }: Context): Promise<void> {
  const selectors = await agent.get<readonly PolicySelector[]>(restPaths.policySelectors);
  output.render(selectors, () =>
    output.table(
      ['SELECTOR', 'LABELS', 'USERS', 'IDENTITIES'],
      selectors.map(({ selector, labels, users, identities }) => [
        selector,
        policyNames(labels).join('\n'),
        String(users),
        identities.join('\n'),
      ]),
    ),
  );
}

/** 'default/web' of each policy; a label set begins with the kind. */
function policyNames(labels: PolicySelector['labels']): readonly string[] {
  const names: string[] = [];
  let namespace = '';
  for (const { key, value } of labels) {
    if (key.endsWith('.derived-from')) namespace = '';
    else if (key.endsWith('.namespace')) namespace = `${value}/`;
    else names.push(`${namespace}${value}`);
  }
  return names;
}

/** `endpoint`: an id, 'host', 'pod-name:ns/name' …; undefined: every policy map of the node. */
export async function bpfPolicyList({ agent, output }: Context, endpoint?: string): Promise<void> {
  const query = endpoint === undefined ? '' : `?endpoint=${encodeURIComponent(endpoint)}`;
  const maps = await agent.get<readonly PolicyMapDump[]>(`${restPaths.bpf('policy')}${query}`);
  output.render(maps, () => {
    if (maps.length === 0) {
      output.line(endpoint === undefined ? 'No policy map: no policy selects an endpoint.' : 'No policy judges it.');
    }
    for (const map of maps) {
      const ids = map.endpoints.map(id => (id === 0 ? 'host' : String(id))).join(', ');
      output.line(
        output.paint.bold(
          `Endpoint ID: ${ids === '' ? 'none' : ids}   Identity: ${map.identity}   Group: ${map.group}   Revision: ${map.revision}`,
        ),
      );
      output.table(
        ['POLICY', 'DIRECTION', 'LABELS (source:key[=value])', 'PORT/PROTO', 'BYTES', 'PACKETS', 'PREFIX', 'RULE'],
        map.entries.map(policyMapRow),
      );
      output.line();
    }
  });
}

export function policyMapRow(entry: PolicyMapEntryDump): readonly string[] {
  return [
    entry.policy,
    entry.direction,
    entry.identity === 0 ? 'ANY' : entry.labels.length === 0 ? `unknown ${entry.identity}` : entry.labels.join('\n'),
    entry.port === 'ANY' && entry.protocol === 'ANY' ? 'ANY' : `${entry.port}/${entry.protocol}`,
    String(entry.bytes),
    String(entry.packets),
    String(entry.prefix),
    `${entry.ruleId} ${entry.rule}`.trim(),
  ];
}
