/** Policies, selectors and policy maps as REST gives them. */
import { EndpointFlags, type PolicyEntry, PolicyFlags, type PolicyKey } from '@ciliate/abi';
import {
  blockIdentity,
  classIdentity,
  listSelectors,
  noTargets,
  type PeerIdentity,
  peerKey,
  type ServicePeer,
} from '@ciliate/control';
import { protocolName } from '@ciliate/hubble';
import {
  type AuditMode,
  type EndpointRow,
  hostEndpoint,
  labelList,
  type PolicyRow,
  policyKey,
  reservedIdentities,
  ruleReferenceText,
  type Tables,
} from '@ciliate/model';
import type {
  EndpointPolicy,
  PolicyEnabled,
  PolicyMapDump,
  PolicyMapEntryDump,
  PolicyObject,
  PolicySelector,
  PolicyTree,
} from '@ciliate/protocol';
import type { AgentContext } from '../status/context.ts';

export function allPolicies({ policies, ciliumPolicies, clusterwidePolicies }: Tables): readonly PolicyRow[] {
  return [...policies.all(), ...ciliumPolicies.all(), ...clusterwidePolicies.all()].toSorted((a, b) =>
    policyKey(a) < policyKey(b) ? -1 : 1,
  );
}

export function policyRevision({ policyGroups }: Tables): number {
  return policyGroups.all().reduce((highest, row) => Math.max(highest, row.revision), 0);
}

export function policyTree(tables: Tables): PolicyTree {
  const policy = JSON.stringify(allPolicies(tables).map(policyJson), null, 2);
  return { policy, revision: policyRevision(tables) };
}

function policyJson({
  kind,
  namespace,
  name,
  uid,
  generation,
  labels,
  audit,
  refused,
  rules,
}: PolicyRow): PolicyObject {
  return { kind, namespace, name, uid, generation, labels, audit: auditText(audit), refused, rules };
}

const auditText = (audit: AuditMode): string =>
  typeof audit === 'string' ? audit : new Date(audit.until).toISOString();

export function policySelectors({ tables, options }: AgentContext): readonly PolicySelector[] {
  const dualStack = options['enable-ipv4'] && options['enable-ipv6'];
  const identities: readonly PeerIdentity[] = [
    ...tables.identities.all().map(
      ({ id, labels }): PeerIdentity => ({
        id,
        labels,
        prefix: undefined,
        kind: 'labels',
        namedPorts: new Map(),
      }),
    ),
    ...tables.addressBlocks.all().map(block => blockIdentity(block, dualStack)),
    ...tables.addressClasses.all().map(classIdentity),
  ];
  const context = {
    cidrGroups: tables.cidrGroups.all(),
    cidrMatchesNodes: options['policy-cidr-match-mode'] === 'nodes',
    serviceTargets: (peer: ServicePeer) => tables.serviceTargets.get(peerKey(peer)) ?? noTargets,
  };
  return listSelectors(allPolicies(tables), identities, context).map(({ policies, ...use }) => ({
    ...use,
    labels: policies.flatMap(({ kind, namespace, name }) => [
      { source: 'k8s', key: 'io.cilium.k8s.policy.derived-from', value: kind },
      ...(namespace === '' ? [] : [{ source: 'k8s', key: 'io.cilium.k8s.policy.namespace', value: namespace }]),
      { source: 'k8s', key: 'io.cilium.k8s.policy.name', value: name },
    ]),
  }));
}

const { ENDPOINT_POLICY_INGRESS, ENDPOINT_POLICY_EGRESS } = EndpointFlags;
const { ENDPOINT_POLICY_AUDIT, ENDPOINT_POLICY_LOCKDOWN } = EndpointFlags;

/** Enforcement by the flags of an entry of the endpoints map; locked down counts as both. */
export function policyEnabled(flags: number): PolicyEnabled {
  if ((flags & ENDPOINT_POLICY_LOCKDOWN) !== 0) return 'both';
  const audit = (flags & ENDPOINT_POLICY_AUDIT) !== 0 ? 'audit-' : '';
  const ingress = (flags & ENDPOINT_POLICY_INGRESS) !== 0;
  const egress = (flags & ENDPOINT_POLICY_EGRESS) !== 0;
  if (ingress && egress) return `${audit}both`;
  if (ingress) return `${audit}ingress`;
  return egress ? `${audit}egress` : 'none';
}

export const isLockedDown = (flags: number): boolean => (flags & ENDPOINT_POLICY_LOCKDOWN) !== 0;

/** What policies ask for, from the endpoint's group. */
export function wantedPolicy(
  row: EndpointRow,
  { endpointPolicies, policyGroups }: Tables,
  audit: boolean,
): EndpointPolicy {
  const endpoint = row.identity === reservedIdentities.host ? hostEndpoint : String(row.id);
  const group = policyGroups.get(String(endpointPolicies.get(endpoint)?.group ?? 0));
  const flags =
    (group?.ingress === true ? ENDPOINT_POLICY_INGRESS : 0) |
    (group?.egress === true ? ENDPOINT_POLICY_EGRESS : 0) |
    (audit ? ENDPOINT_POLICY_AUDIT : 0);
  return {
    'policy-enabled': policyEnabled(flags),
    'policy-revision': group?.revision ?? 0,
    'policy-group': group?.id ?? 0,
  };
}

/** What a rule id stands for, in words. */
export function ruleText({ policyRules }: Tables, id: number): string | undefined {
  const rule = policyRules.get(String(id));
  return rule === undefined ? undefined : ruleReferenceText(rule.reference);
}

/** What the policy of a rule has its records say. */
export function ruleLog({ policyRules }: Tables, id: number): string | undefined {
  const reference = policyRules.get(String(id))?.reference;
  return reference?.kind === 'rule' ? reference.log : undefined;
}

/** `endpoint`: only the map that judges this one. */
export function dumpPolicyMaps({ datapath, tables }: AgentContext, endpoint?: number): readonly PolicyMapDump[] {
  const users = new Map<number, { ids: Set<number>; identity: number; revision: number }>();
  for (const [, { policyGroup, policyRevision: revision, id, identity }] of datapath.endpoints()) {
    const user = users.get(policyGroup) ?? { ids: new Set<number>(), identity, revision };
    user.ids.add(id);
    users.set(policyGroup, user);
  }
  const dumps: PolicyMapDump[] = [];
  for (const [group, entries] of datapath.policyMaps()) {
    const user = users.get(group);
    const endpoints = [...(user?.ids ?? [])].toSorted((a, b) => a - b);
    if (endpoint !== undefined && !endpoints.includes(endpoint)) continue;
    const identity = user?.identity ?? tables.policyGroups.get(String(group))?.identity ?? 0;
    dumps.push({
      group,
      identity,
      labels: identityLabels(tables, identity),
      endpoints,
      revision: user?.revision ?? 0,
      entries: entries.map(entry => policyEntryJson(entry, tables)).toSorted(byDirection),
    });
  }
  return dumps.toSorted((a, b) => a.group - b.group);
}

const byDirection = (a: PolicyMapEntryDump, b: PolicyMapEntryDump): number =>
  b.direction.localeCompare(a.direction) || a.identity - b.identity || a.prefix - b.prefix;

function policyEntryJson([key, value]: readonly [PolicyKey, PolicyEntry], tables: Tables): PolicyMapEntryDump {
  const { flags } = value;
  const isDeny = (flags & PolicyFlags.POLICY_DENY) !== 0;
  const prefix = Math.max(0, key.prefixlen - 48);
  return {
    policy: isDeny ? ((flags & PolicyFlags.POLICY_AUDIT) !== 0 ? 'Audit' : 'Deny') : 'Allow',
    direction: key.direction === 0 ? 'Ingress' : 'Egress',
    identity: key.identity,
    labels: key.identity === 0 ? [] : identityLabels(tables, key.identity),
    protocol: key.prefixlen < 48 ? 'ANY' : protocolName(key.proto),
    port: portText(key.proto, key.dport, prefix),
    prefix,
    ruleId: value.ruleId,
    rule: ruleText(tables, value.ruleId) ?? '',
    default: (flags & PolicyFlags.POLICY_DEFAULT) !== 0,
    log: (flags & PolicyFlags.POLICY_LOG) !== 0,
    packets: Number(value.packets),
    bytes: Number(value.bytes),
  };
}

function portText(protocol: number, first: number, bits: number): string {
  if (bits === 0) return 'ANY';
  const last = first | (0xffff >> bits);
  const range = last === first ? String(first) : `${first}-${last}`;
  return protocol === 1 || protocol === 58 ? `type ${range}` : range;
}

function identityLabels({ identities, addressBlocks, addressClasses }: Tables, id: number): readonly string[] {
  const row = identities.get(String(id));
  if (row !== undefined) return labelList(row.labels);
  const block = addressBlocks.all().find(one => one.id === id);
  if (block !== undefined) return [`${block.kind}:${block.prefix}`];
  const exact = addressClasses.all().find(one => one.id === id);
  if (exact === undefined) return [];
  const ofBlock = exact.block === undefined ? [] : [`class:${exact.block}`];
  return [...labelList(exact.labels), ...ofBlock, ...exact.namedPorts.map(([name]) => `port:${name}`)];
}
