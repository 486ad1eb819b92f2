/** endpoints, this node, its devices (with --service-only its pods too), and the policy that is in force for each → endpointMapRows. */
import { EndpointFlags } from '@ciliate/abi';
import {
  type DeviceRow,
  type EndpointMapRow,
  type EndpointPolicyRow,
  type EndpointRow,
  hostEndpoint,
  type NodeConfig,
  type NodeRow,
  type PodRow,
  type PolicyGroupRow,
  type Tables,
} from '@ciliate/model';
import { type ChangesOf, Controller, type ControllerModules, type WriteTxn } from '@ciliate/tables';
import { writeWinners } from '../claim-controller.ts';
import { type Claim, Claims } from '../claims.ts';
import { noPolicyRestored, type PolicyRestore, type RestoredPolicy } from '../policy/policy-controller.ts';
import { deviceEntries, endpointEntries, foreignEntries, nodeEntries } from './compile-endpoints.ts';

/** What an entry of the endpoints map says about policy. */
interface EntryPolicy {
  readonly group: number;
  readonly revision: number;
  /** enum endpoint_flags */
  readonly flags: number;
}

const { ENDPOINT_POLICY_INGRESS, ENDPOINT_POLICY_EGRESS, ENDPOINT_POLICY_CLASS } = EndpointFlags;
const { ENDPOINT_POLICY_AUDIT, ENDPOINT_POLICY_LOCKDOWN } = EndpointFlags;
const policyFlags =
  ENDPOINT_POLICY_INGRESS |
  ENDPOINT_POLICY_EGRESS |
  ENDPOINT_POLICY_CLASS |
  ENDPOINT_POLICY_AUDIT |
  ENDPOINT_POLICY_LOCKDOWN;
const open: EntryPolicy = { group: 0, revision: 0, flags: 0 };

type EndpointMapInputs = {
  readonly endpoints: EndpointRow;
  readonly nodes: NodeRow;
  readonly devices: DeviceRow;
  readonly pods: PodRow;
  readonly endpointPolicies: EndpointPolicyRow;
  readonly policyGroups: PolicyGroupRow;
};
type EndpointMapTables = Pick<Tables, keyof EndpointMapInputs | 'endpointMapRows'>;

export function endpointMapController(
  tables: EndpointMapTables,
  config: NodeConfig,
  modules: ControllerModules,
  restore: PolicyRestore = noPolicyRestored,
): Controller<EndpointMapInputs> {
  const { endpoints, nodes, devices, pods, endpointPolicies, policyGroups, endpointMapRows } = tables;
  const claims = new Claims<EndpointMapRow>();
  const policies = new PolicyInForce(tables, config, restore);
  const now = () => modules.clock.now();
  const endpoint = (key: string) => {
    const row = endpoints.get(key);
    if (row === undefined) policies.forget(key);
    claims.set(`endpoints:${key}`, row === undefined ? [] : policies.put(key, endpointEntries(row, config, now())));
  };
  const own = <Row>(
    source: string,
    key: string,
    row: Row | undefined,
    entries: (row: Row) => readonly Claim<EndpointMapRow>[],
  ) => claims.set(`${source}:${key}`, row === undefined ? [] : policies.put(hostEndpoint, entries(row)));
  const run = (changes: ChangesOf<EndpointMapInputs>, txn: WriteTxn) => {
    const changed = new Set([...changes.endpoints.map(({ key }) => key), ...policies.read(changes)]);
    for (const { key } of changes.nodes) own('nodes', key, nodes.get(key), row => nodeEntries(row, config, now()));
    for (const { key } of changes.devices) {
      own('devices', key, devices.get(key), row => deviceEntries(row, config, now()));
    }
    if (changed.delete(hostEndpoint)) {
      for (const row of nodes.all()) own('nodes', row.name, row, it => nodeEntries(it, config, now()));
      for (const row of devices.all()) own('devices', row.name, row, it => deviceEntries(it, config, now()));
    }
    for (const key of changed) endpoint(key);
    for (const { key, row, deleted } of config.serviceOnly ? changes.pods : []) {
      claims.set(`pods:${key}`, deleted ? [] : foreignEntries(row, config, now()));
    }
    writeWinners(claims, endpointMapRows, txn);
  };
  return new Controller<EndpointMapInputs>(
    {
      name: 'endpoint-map-rows',
      inputs: { endpoints, nodes, devices, pods, endpointPolicies, policyGroups },
      outputs: [endpointMapRows],
      run,
    },
    modules,
  );
}

/**
 * The policy that an endpoint's entry names: that of its group once the kernel holds it. Until then the one before; for an endpoint that
 * never had one, nothing passes.
 */
class PolicyInForce {
  readonly #tables: EndpointMapTables;
  readonly #config: NodeConfig;
  readonly #restored: ReadonlyMap<string, RestoredPolicy>;
  readonly #hadPolicies: boolean;
  /** By group: what the kernel holds. */
  readonly #applied = new Map<number, EntryPolicy>();
  readonly #last = new Map<string, EntryPolicy>();

  constructor(tables: EndpointMapTables, config: NodeConfig, restore: PolicyRestore) {
    this.#tables = tables;
    this.#config = config;
    this.#restored = restore.endpoints;
    this.#hadPolicies = [...restore.endpoints.values()].some(({ flags }) => (flags & policyFlags) !== 0);
  }

  /** Endpoints whose policy may be another one now. */
  read(changes: ChangesOf<EndpointMapInputs>): ReadonlySet<string> {
    const groups = new Set<number>();
    for (const { row, deleted } of changes.policyGroups) {
      if (deleted) this.#applied.delete(row.id);
      else if (row.status.kind === 'done') this.#applied.set(row.id, this.#ofGroup(row));
      groups.add(row.id);
    }
    const touched = new Set(changes.endpointPolicies.map(({ key }) => key));
    for (const { endpoint, group } of this.#tables.endpointPolicies.all()) if (groups.has(group)) touched.add(endpoint);
    return touched;
  }

  forget(endpoint: string): void {
    this.#last.delete(endpoint);
  }

  put(endpoint: string, entries: readonly Claim<EndpointMapRow>[]): readonly Claim<EndpointMapRow>[] {
    return entries.map(claim => {
      const { group, revision, flags } = this.#of(endpoint, claim.row);
      const { value } = claim.row;
      const policy = { policyGroup: group, policyRevision: revision, flags: value.flags | flags };
      return { ...claim, row: { ...claim.row, value: { ...value, ...policy } } };
    });
  }

  #of(endpoint: string, { address, value }: Pick<EndpointMapRow, 'address' | 'value'>): EntryPolicy {
    const { endpointPolicies, policyGroups } = this.#tables;
    const group = endpointPolicies.get(endpoint)?.group;
    const applied = group === undefined ? undefined : this.#applied.get(group);
    if (applied !== undefined) {
      this.#last.set(endpoint, applied);
      return applied;
    }
    const restored = this.#restored.get(address);
    const before = this.#last.get(endpoint) ?? (restored?.ifindex === value.ifindex ? restored : undefined);
    if (before !== undefined) return before;
    if (endpoint === hostEndpoint) return open;
    // Policies are not known yet: a node that had some lets nobody new through, one that had none goes on so.
    if (group === undefined) return this.#hadPolicies ? { ...open, flags: ENDPOINT_POLICY_LOCKDOWN } : open;
    const wanted = policyGroups.get(String(group));
    const isFree = wanted !== undefined && !wanted.ingress && !wanted.egress && wanted.status.kind !== 'error';
    return isFree ? open : { group, revision: 0, flags: ENDPOINT_POLICY_LOCKDOWN };
  }

  #ofGroup({ id, revision, host, ingress, egress, usesClasses }: PolicyGroupRow): EntryPolicy {
    // The host's flows are tracked without a policy too: the revision says that they were allowed, so that the first policy judges anew.
    if (!ingress && !egress) return host ? { group: id, revision, flags: 0 } : open;
    const flags =
      (ingress ? ENDPOINT_POLICY_INGRESS : 0) |
      (egress ? ENDPOINT_POLICY_EGRESS : 0) |
      (usesClasses ? ENDPOINT_POLICY_CLASS : 0) |
      (this.#config.policyAudit ? ENDPOINT_POLICY_AUDIT : 0);
    return { group: id, revision, flags };
  }
}
