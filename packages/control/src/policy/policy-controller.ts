/** policies × identities × who runs here → policyGroups, endpointPolicies, policyRules. */
import {
  type AddressBlockRow,
  type AddressClassRow,
  type CidrGroupRow,
  type EndpointRow,
  type EndpointSliceRow,
  hostEndpoint,
  type IdentityRow,
  isDenyEntry,
  type Labels,
  labelsKey,
  type NamespaceRow,
  type NodeRow,
  onlyLetsIn,
  type PodRow,
  PolicyContent,
  type PolicyGroupRow,
  type PolicyRow,
  type RemoteEndpointRow,
  type ServiceTargetsRow,
  type Tables,
} from '@ciliate/model';
import {
  type ChangesOf,
  Controller,
  type ControllerModules,
  pending,
  refused,
  upsert,
  type WriteTxn,
} from '@ciliate/tables';
import { IdAllocator } from '../id-allocator.ts';
import { apiServerAddresses, isApiServerSlice } from '../network/api-servers.ts';
import { type AddressMapSizes, addressesUnfit } from './address-need.ts';
import { AuditedPolicies } from './audited-policies.ts';
import { namedPortEntries } from './named-addresses.ts';
import { type CompiledContent, PolicyCompiler, type PolicyCompilerOptions } from './policy-compiler.ts';
import { PolicyPeers } from './policy-peers.ts';
import { linger } from './restore-policy.ts';
import { peerKey } from './selector-cache.ts';
import { noTargets } from './service-peers.ts';
import { splittingLabel } from './splitting-label.ts';

export interface PolicyControllerOptions extends PolicyCompilerOptions {
  readonly nodeName: string;
  readonly hostFirewall: boolean;
  /** Entries that the map of a group may have. */
  readonly maxEntries: number;
  readonly addressMaps: AddressMapSizes;
}

/** What the kernel held before this agent started. */
export interface PolicyRestore {
  /** By the endpoint's address. */
  readonly endpoints: ReadonlyMap<string, RestoredPolicy>;
}

/** Of one endpoint; group 0: no policy was about it. */
export interface RestoredPolicy {
  readonly group: number;
  readonly revision: number;
  /** enum endpoint_flags; those of policy alone. */
  readonly flags: number;
  /** Of the endpoint's device: another endpoint may get the address. */
  readonly ifindex: number;
}

export const noPolicyRestored: PolicyRestore = { endpoints: new Map() };

type PolicyInputs = {
  readonly policies: PolicyRow;
  readonly ciliumPolicies: PolicyRow;
  readonly clusterwidePolicies: PolicyRow;
  readonly cidrGroups: CidrGroupRow;
  readonly addressBlocks: AddressBlockRow;
  readonly addressClasses: AddressClassRow;
  readonly identities: IdentityRow;
  readonly endpoints: EndpointRow;
  readonly remoteEndpoints: RemoteEndpointRow;
  readonly pods: PodRow;
  readonly nodes: NodeRow;
  readonly namespaces: NamespaceRow;
  readonly serviceTargets: ServiceTargetsRow;
  readonly endpointSlices: EndpointSliceRow;
};

type PolicyControllerTables = Pick<
  Tables,
  keyof PolicyInputs | 'policyGroups' | 'policyPeers' | 'policyRules' | 'endpointPolicies'
>;

export function policyController(
  tables: PolicyControllerTables,
  options: PolicyControllerOptions,
  restore: PolicyRestore,
  modules: ControllerModules,
): Controller<PolicyInputs> {
  const runner = new PolicyRunner(tables, options, restore, modules);
  const { policies, ciliumPolicies, clusterwidePolicies, cidrGroups, addressBlocks, addressClasses } = tables;
  const { identities, endpoints, remoteEndpoints, pods, nodes, namespaces, serviceTargets, endpointSlices } = tables;
  return new Controller<PolicyInputs>(
    {
      name: 'policy-groups',
      inputs: {
        ...{ policies, ciliumPolicies, clusterwidePolicies, cidrGroups, addressBlocks, addressClasses },
        ...{ identities, endpoints, remoteEndpoints, pods, nodes, namespaces, serviceTargets, endpointSlices },
      },
      outputs: [tables.policyGroups, tables.policyPeers, tables.policyRules, tables.endpointPolicies],
      // Half of the policies would open what the other half denies, and half of the identities deny what is allowed.
      whole: true,
      run: (changes, txn) => runner.run(changes, txn),
      again: () => runner.untilExpiry(),
    },
    modules,
  );
}

interface GroupState {
  readonly id: number;
  readonly identity: number;
  readonly host: boolean;
  readonly members: Set<string>;
  emptySince: number;
}

class PolicyRunner {
  readonly #tables: PolicyControllerTables;
  readonly #options: PolicyControllerOptions;
  readonly #modules: ControllerModules;
  readonly #compiler: PolicyCompiler;
  readonly #groups = new Map<string, GroupState>();
  readonly #groupOf = new Map<string, string>();
  readonly #ids = new IdAllocator({ min: 1, max: 0x7fff_ffff });
  readonly #restoredIds: ReadonlyMap<string, number>;
  readonly #audits: AuditedPolicies;
  readonly #peers: PolicyPeers;
  /** Keys of endpoints with named ports → the identity for which these are told. */
  readonly #portHolders = { local: new Map<string, number>(), remote: new Map<string, number>() };
  /** Numbers that came, went or became somebody else's since the last run. */
  readonly #moved = new Set<number>();
  /** Names of groups in which another policy is in force than is asked for. */
  readonly #unfit = new Set<string>();
  #revision: number;

  constructor(
    tables: PolicyControllerTables,
    options: PolicyControllerOptions,
    restore: PolicyRestore,
    modules: ControllerModules,
  ) {
    this.#tables = tables;
    this.#options = options;
    this.#modules = modules;
    this.#compiler = new PolicyCompiler(options);
    this.#audits = new AuditedPolicies(tables, modules.clock);
    this.#peers = new PolicyPeers(tables.policyPeers);
    this.#restoredIds = new Map([...restore.endpoints].map(([address, { group }]) => [address, group]));
    this.#revision = Math.max(0, ...[...restore.endpoints.values()].map(({ revision }) => revision));
    const highest = Math.max(0, ...this.#restoredIds.values());
    // Numbers of groups that the kernel holds are given to their own endpoints again, and to nobody else.
    this.#ids.restore(highest > 0 ? [['restored', highest]] : []);
  }

  run(changes: ChangesOf<PolicyInputs>, txn: WriteTxn): void {
    for (const [key, policy] of this.#audits.read(changes)) this.#compiler.setPolicy(key, policy);
    if (changes.cidrGroups.length > 0) this.#compiler.setCidrGroups(this.#tables.cidrGroups.all());
    if (changes.serviceTargets.length > 0) {
      this.#compiler.setServiceTargets(peer => this.#tables.serviceTargets.get(peerKey(peer)) ?? noTargets);
    }
    this.#readIdentities(changes);
    this.#readNamedPorts(changes);
    this.#readMembers(changes, txn);
    const now = this.#modules.clock.now();
    const dirty = new Set(this.#compiler.takeDirty());
    if (this.#moved.size > 0) for (const name of this.#unfit) dirty.add(name);
    for (const name of dirty) this.#compile(name, now, txn);
    this.#moved.clear();
    this.#peers.write(this.#revision, txn);
    this.#dropEmpty(now, txn);
    this.#writeRules(txn);
  }

  /** ms until the next audit ends, or a group without endpoints may go. */
  untilExpiry(): number | undefined {
    const empty = [...this.#groups.values()].filter(({ members }) => members.size === 0);
    const ends = [...this.#audits.ends(), ...empty.map(({ emptySince }) => emptySince + linger)];
    const [next] = ends.toSorted((a, b) => a - b);
    return next === undefined ? undefined : Math.max(0, next - this.#modules.clock.now());
  }

  #readIdentities(changes: ChangesOf<PolicyInputs>): void {
    for (const { row } of [...changes.addressBlocks, ...changes.addressClasses, ...changes.identities]) {
      // 0 stands for everybody in a policy map.
      if (row.id !== 0) this.#moved.add(row.id);
    }
    for (const { row, deleted } of changes.addressBlocks) {
      if (deleted) this.#compiler.removeIdentity(row.id);
      else if (row.leaving !== true) this.#compiler.setBlock(row);
      this.#peers.note(row.id, !deleted);
    }
    for (const { row, deleted } of changes.addressClasses) {
      if (deleted) this.#compiler.removeIdentity(row.id);
      // What a number stands for never changes; only which addresses have it.
      else if (!this.#peers.has(row.id)) this.#compiler.setClass(row);
      this.#peers.note(row.id, !deleted);
    }
    for (const { row, deleted } of changes.identities) {
      // 0 is nobody's number, and everybody's in a policy map; the host's has its node's labels.
      if (row.id === 0 || row.id === 1) continue;
      if (deleted) this.#compiler.removeIdentity(row.id);
      else this.#compiler.setIdentity(row);
      if (row.reserved) continue;
      // A number may be other labels' from one look to the next: then it is another.
      this.#peers.note(row.id, false);
      if (!deleted) this.#peers.note(row.id, true);
    }
    const apiServersChanged = changes.endpointSlices.some(({ row }) => isApiServerSlice(row));
    if (changes.nodes.length === 0 && !apiServersChanged) return;
    this.#compiler.setIdentity({ id: 1, labels: { ...this.#hostLabels(), ...this.#apiServerHere() } });
  }

  /** As a peer; whom policies select does not depend on it. */
  #apiServerHere(): Labels {
    const here = this.#tables.nodes.get(this.#options.nodeName)?.addresses ?? [];
    const servers = new Set<string>(apiServerAddresses(this.#tables.endpointSlices));
    return here.some(({ address }) => servers.has(address)) ? { 'reserved:kube-apiserver': '' } : {};
  }

  #hostLabels(): Labels {
    const labels = this.#tables.nodes.get(this.#options.nodeName)?.labels ?? {};
    const own = Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value] as const);
    return { 'reserved:host': '', ...Object.fromEntries(own) };
  }

  /** Port names of pods, by identity: that which a pod has, and that which it had. */
  #readNamedPorts(changes: ChangesOf<PolicyInputs>): void {
    const touched = new Set<number>();
    for (const { key } of changes.pods) {
      for (const endpoint of this.#tables.endpoints.by('pod', key)) touched.add(endpoint.identity);
    }
    for (const [changed, holders] of [
      [changes.endpoints, this.#portHolders.local],
      [changes.remoteEndpoints, this.#portHolders.remote],
    ] as const) {
      for (const { key, row } of changed) {
        touched.add(row.identity).add(holders.get(key) ?? row.identity);
        holders.delete(key);
      }
    }
    for (const id of touched) this.#setNamedPorts(id);
  }

  #setNamedPorts(id: number): void {
    const { local, remote } = this.#portHolders;
    const ports: ReadonlyMap<string, readonly number[]>[] = [];
    const add = (holders: Map<string, number>, key: string, own: ReadonlyMap<string, readonly number[]>) => {
      if (own.size === 0) return;
      holders.set(key, id);
      ports.push(own);
    };
    for (const row of this.#tables.endpoints.by('identity', String(id))) add(local, String(row.id), this.#portsOf(row));
    for (const row of this.#tables.remoteEndpoints.by('identity', String(id))) {
      add(remote, `${row.namespace}/${row.name}`, portMap(row.namedPorts));
    }
    this.#compiler.setNamedPorts(id, union(ports));
  }

  #portsOf(endpoint: EndpointRow): ReadonlyMap<string, readonly number[]> {
    if (endpoint.podName === '') return new Map();
    return portMap(this.#tables.pods.get(`${endpoint.podNamespace}/${endpoint.podName}`)?.namedPorts ?? {});
  }

  #readMembers(changes: ChangesOf<PolicyInputs>, txn: WriteTxn): void {
    const moved = new Set<string>();
    for (const { key, row, deleted } of changes.endpoints) {
      if (deleted) this.#leave(key, txn);
      else moved.add(String(row.id));
    }
    for (const { key } of changes.pods) {
      for (const endpoint of this.#tables.endpoints.by('pod', key)) moved.add(String(endpoint.id));
    }
    for (const id of moved) {
      const row = this.#tables.endpoints.get(id);
      if (row !== undefined) this.#join(id, row, txn);
    }
    if (this.#options.hostFirewall && changes.nodes.length > 0) {
      const labels = this.#hostLabels();
      const name = `host ${JSON.stringify(labels)}`;
      this.#enter(hostEndpoint, name, { identity: 1, host: true, restored: undefined }, txn, () =>
        this.#compiler.addGroup(name, { labels, host: true, namedPorts: new Map() }),
      );
    }
  }

  #join(id: string, row: EndpointRow, txn: WriteTxn): void {
    const namedPorts = this.#portsOf(row);
    // A number may come back with other labels while the group that had it is still kept.
    const name = `${row.identity} ${labelsKey(row.labels)} ${JSON.stringify([...namedPorts].toSorted(([a], [b]) => (a < b ? -1 : 1)))}`;
    const restored = row.addresses.map(address => this.#restoredIds.get(address)).find(group => group !== undefined);
    this.#enter(id, name, { identity: row.identity, host: false, restored }, txn, () =>
      this.#compiler.addGroup(name, { labels: row.labels, host: false, namedPorts }),
    );
  }

  #enter(
    endpoint: string,
    name: string,
    about: { readonly identity: number; readonly host: boolean; readonly restored: number | undefined },
    txn: WriteTxn,
    addGroup: () => void,
  ): void {
    if (this.#groupOf.get(endpoint) === name) return;
    this.#leave(endpoint, txn);
    let group = this.#groups.get(name);
    if (group === undefined) {
      group = { id: this.#groupId(name, about.restored), ...about, members: new Set(), emptySince: 0 };
      this.#groups.set(name, group);
      addGroup();
    }
    group.members.add(endpoint);
    this.#groupOf.set(endpoint, name);
    this.#tables.endpointPolicies.insert(txn, { endpoint, group: group.id });
  }

  #groupId(name: string, restored: number | undefined): number {
    const taken = [...this.#groups.values()].some(({ id }) => id === restored);
    if (restored !== undefined && restored > 0 && !taken) return restored;
    return this.#ids.acquire(name) ?? 0;
  }

  #leave(endpoint: string, txn: WriteTxn): void {
    const name = this.#groupOf.get(endpoint);
    if (name === undefined) return;
    const group = this.#groups.get(name);
    group?.members.delete(endpoint);
    if (group !== undefined && group.members.size === 0) group.emptySince = this.#modules.clock.now();
    this.#groupOf.delete(endpoint);
    this.#tables.endpointPolicies.delete(txn, endpoint);
  }

  #compile(name: string, now: number, txn: WriteTxn): void {
    const group = this.#groups.get(name);
    if (group === undefined) return;
    const compiled = this.#compiler.compile(name, now);
    const { policyGroups } = this.#tables;
    const before = policyGroups.peek(txn, String(group.id));
    this.#unfit.delete(name);
    const why = this.#whyUnfit(group, compiled);
    if (why === undefined) {
      const isSame = before !== undefined && before.status.kind !== 'error' && before.unfit === undefined;
      if (!isSame || !sameMap(before, compiled)) policyGroups.insert(txn, this.#row(group, compiled, before, now));
      return;
    }
    this.#unfit.add(name);
    if (before === undefined || before.status.kind === 'error') {
      const content = PolicyContent.empty;
      if (before?.status.kind === 'error' && before.status.error === why) return;
      const nothing = before ?? this.#row(group, { ...compiled, content }, undefined, now);
      policyGroups.insert(txn, { ...nothing, status: refused(now, why) });
      return;
    }
    const content = this.#withMoved(before.content, compiled.content);
    if (content.equals(before.content)) {
      if (before.unfit !== why) policyGroups.insert(txn, { ...before, unfit: why });
      return;
    }
    const kept = { ...before, content, usesClasses: before.usesClasses || compiled.usesClasses };
    policyGroups.insert(txn, { ...this.#row(group, kept, before, now), unfit: why });
  }

  /** Before anything is applied. */
  #whyUnfit({ identity }: GroupState, compiled: CompiledContent): string | undefined {
    const { maxEntries, addressMaps } = this.#options;
    const { size } = compiled.content;
    if (size <= maxEntries) return addressesUnfit(this.#tables, compiled, addressMaps);
    return (
      `the policy of identity ${identity} needs ${size} entries and its map has ${maxEntries}` +
      `: raise --bpf-policy-map-max, or keep ${splittingLabel(this.#tables.identities.all())} out of identities with --labels`
    );
  }

  /** What is in force stays so for who was there. Who comes is denied what the policy denies that is asked for; numbers of those who went mean nothing. */
  #withMoved(inForce: PolicyContent, asked: PolicyContent): PolicyContent {
    const { maxEntries } = this.#options;
    const parts = [...this.#moved].map(id => [id, asked.part(id)] as const);
    const all = inForce.with(parts);
    if (all.size <= maxEntries) return all;
    const denies = parts.map(([id, part]) => [id, part.filter(([, value]) => isDenyEntry(value))] as const);
    const closed = inForce.with(denies);
    return closed.size <= maxEntries ? closed : inForce.with(parts.map(([id]) => [id, []] as const));
  }

  #row(
    { id, identity, host }: GroupState,
    { content, ingress, egress, usesClasses, rules }: CompiledContent,
    before: PolicyGroupRow | undefined,
    now: number,
  ): PolicyGroupRow {
    const compiled = { content, ingress, egress, usesClasses, rules };
    // Flows that were allowed are judged again under another revision. Where nothing that passed is kept from passing none has to be.
    const isOld = before !== undefined && before.status.kind !== 'error' && sameJudging(before, compiled);
    const stays = isOld && onlyLetsIn(before.content, compiled.content);
    if (!stays) this.#revision += 1;
    const revision = stays ? before.revision : this.#revision;
    return { id, identity, host, ...compiled, revision, status: pending(now) };
  }

  #dropEmpty(now: number, txn: WriteTxn): void {
    for (const [name, group] of this.#groups) {
      if (group.members.size > 0 || now - group.emptySince < linger) continue;
      this.#groups.delete(name);
      this.#unfit.delete(name);
      this.#compiler.removeGroup(name);
      this.#ids.release(name);
      this.#tables.policyGroups.delete(txn, String(group.id));
    }
  }

  #writeRules(txn: WriteTxn): void {
    const { policyRules } = this.#tables;
    for (const [id, reference] of this.#compiler.takeRuleChanges()) {
      if (reference === undefined) policyRules.delete(txn, String(id));
      else upsert(policyRules, txn, { id, reference });
    }
  }
}

const portMap = (ports: PodRow['namedPorts']): ReadonlyMap<string, readonly number[]> =>
  new Map(namedPortEntries(ports));

function union(maps: readonly ReadonlyMap<string, readonly number[]>[]): ReadonlyMap<string, readonly number[]> {
  const all = new Map<string, readonly number[]>();
  for (const map of maps) {
    for (const [key, numbers] of map) all.set(key, [...new Set([...(all.get(key) ?? []), ...numbers])]);
  }
  return all;
}

function sameMap(row: PolicyGroupRow, compiled: CompiledContent): boolean {
  return sameJudging(row, compiled) && row.content.equals(compiled.content);
}

function sameJudging(row: PolicyGroupRow, { ingress, egress, usesClasses }: CompiledContent): boolean {
  return row.ingress === ingress && row.egress === egress && row.usesClasses === usesClasses;
}
