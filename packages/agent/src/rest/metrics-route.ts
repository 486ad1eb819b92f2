/** GET /metrics in the Prometheus text format; names are the field's. Values are read when asked for. */
import { restPaths } from '@ciliate/protocol';
import type { AgentContext } from '../status/context.ts';
import { dumpMetrics } from './bpf-dumps.ts';
import { allPolicies, policyEnabled, policyRevision } from './policy-json.ts';
import type { Route } from './router.ts';

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  readonly samples: readonly Sample[];
}

export function metricsRoute(context: AgentContext): Route {
  return {
    method: 'GET',
    path: restPaths.metrics,
    handle: () => ({ text: families(context).map(render).join(''), contentType: 'text/plain; version=0.0.4' }),
  };
}

function families(context: AgentContext): readonly Family[] {
  const { tables, datapath, ipam } = context;
  const packets = dumpMetrics(datapath.metrics());
  const drops = packets.filter(entry => entry.reason !== 0);
  const forwards = packets.filter(entry => entry.reason === 0);
  const pools = ipam.status().pools;
  const controllers = context.controllers();
  const direction = (text: string): string => text.toUpperCase();
  return [
    gauge('cilium_version', 'Version of the agent', [{ labels: { version: context.version }, value: 1 }]),
    gauge('cilium_endpoint', 'Endpoints of this node', [{ value: tables.endpoints.size }]),
    gauge(
      'cilium_endpoint_state',
      'Endpoints by state',
      countBy(tables.endpoints.all(), row => row.state, 'endpoint_state'),
    ),
    gauge('cilium_identity', 'Identities in use', [
      { labels: { type: 'cluster_local' }, value: tables.identities.all().filter(row => !row.reserved).length },
      { labels: { type: 'reserved' }, value: tables.identities.all().filter(row => row.reserved).length },
      { labels: { type: 'node_local' }, value: tables.addressBlocks.size },
    ]),
    gauge('ciliate_service_conflicts', 'Addresses that a service wants and another one has', [
      { value: tables.serviceConflicts.size },
    ]),
    gauge('ciliate_service_frontends_refused', 'Frontends that do not fit the maps', [
      { value: tables.lbRows.all().filter(({ status }) => status.kind === 'error' && status.attempts === 0).length },
    ]),
    ...policyFamilies(context),
    gauge(
      'cilium_ip_addresses',
      'Allocated addresses',
      pools.map(pool => ({ labels: { family: pool.family.toLowerCase() }, value: pool.allocated })),
    ),
    counter(
      'cilium_drop_count_total',
      'Dropped packets',
      drops.map(entry => ({
        labels: { reason: entry.reasonName, direction: direction(entry.direction), source: entry.program },
        value: entry.packets,
      })),
    ),
    counter(
      'cilium_drop_bytes_total',
      'Dropped bytes',
      drops.map(entry => ({
        labels: { reason: entry.reasonName, direction: direction(entry.direction), source: entry.program },
        value: entry.bytes,
      })),
    ),
    counter(
      'cilium_forward_count_total',
      'Forwarded packets',
      forwards.map(entry => ({
        labels: { direction: direction(entry.direction), source: entry.program },
        value: entry.packets,
      })),
    ),
    counter(
      'cilium_forward_bytes_total',
      'Forwarded bytes',
      forwards.map(entry => ({
        labels: { direction: direction(entry.direction), source: entry.program },
        value: entry.bytes,
      })),
    ),
    gauge(
      'cilium_bpf_map_pressure',
      'Fill of a map, 0 to 1',
      datapath
        .maps()
        .flatMap(map =>
          map.entries === undefined ? [] : [{ labels: { map_name: map.name }, value: map.entries / map.size }],
        ),
    ),
    counter('hubble_lost_events_total', 'Events that found no room in the ring buffer while somebody listened', [
      { labels: { source: 'perf_event_ring_buffer' }, value: datapath.lostEvents() },
    ]),
    gauge('cilium_controllers_failing', 'Controllers whose last run failed', [
      { value: controllers.filter(item => item.consecutiveFailures > 0).length },
    ]),
    counter(
      'cilium_controllers_runs_total',
      'Runs of controllers',
      controllers.flatMap(item => [
        { labels: { name: item.name, status: 'success' }, value: item.successes },
        { labels: { name: item.name, status: 'failure' }, value: item.failures },
      ]),
    ),
    gauge('cilium_unreachable_nodes', 'Nodes whose address does not answer', [
      { value: context.health().nodes.filter(node => node.host['primary-address'].http.status !== '').length },
    ]),
    gauge('cilium_process_resident_memory_bytes', 'Resident memory of the agent', [
      { value: process.memoryUsage.rss() },
    ]),
  ];
}

function policyFamilies({ tables, verifier, policyChanges }: AgentContext): readonly Family[] {
  const verified = verifier.health();
  const enforced = tables.endpoints
    .all()
    .map(row => policyEnabled(tables.endpointMapRows.get(row.addresses[0] ?? '')?.value.flags ?? 0));
  const statuses = ['none', 'ingress', 'egress', 'both', 'audit-ingress', 'audit-egress', 'audit-both'];
  const policies = allPolicies(tables);
  const groups = tables.policyGroups.all();
  return [
    gauge('cilium_policy', 'Policies of this node', [{ value: policies.length }]),
    gauge('cilium_policy_max_revision', 'Highest revision of a policy map', [{ value: policyRevision(tables) }]),
    gauge(
      'cilium_policy_endpoint_enforcement_status',
      'Endpoints by the directions that are enforced',
      statuses.map(status => ({
        labels: { enforcement: status },
        value: enforced.filter(one => one === status).length,
      })),
    ),
    counter(
      'cilium_policy_change_total',
      'Policies that came, changed or went; fail: those that cannot be enforced',
      Object.entries(policyChanges()).map(([outcome, value]) => ({ labels: { outcome }, value })),
    ),
    gauge('ciliate_policy_refused', 'Policies that need what is not there, and are not enforced', [
      { value: policies.filter(policy => policy.refused.length > 0).length },
    ]),
    gauge(
      'ciliate_policy_groups',
      'Policy maps, by what became of the last change',
      countBy(groups, row => (row.unfit === undefined ? row.status.kind : 'error'), 'status'),
    ),
    gauge('ciliate_policy_verify_differences', 'Entries of policy maps that differ from what they shall be', [
      { value: verified.differences.length },
    ]),
    counter('ciliate_policy_verify_checks_total', 'Policy maps compared with the compiler', [
      { value: verified.checked },
    ]),
    gauge('ciliate_policy_map_entries_max', 'Entries of the largest policy map', [
      { value: groups.reduce((most, row) => Math.max(most, row.content.size), 0) },
    ]),
  ];
}

function countBy<T>(items: readonly T[], of: (item: T) => string, label: string): readonly Sample[] {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(of(item), (counts.get(of(item)) ?? 0) + 1);
  return [...counts].map(([key, value]) => ({ labels: { [label]: key }, value }));
}

const gauge = (name: string, help: string, samples: readonly Sample[]): Family => ({
  name,
  help,
  type: 'gauge',
  samples,
});
const counter = (name: string, help: string, samples: readonly Sample[]): Family => ({
  name,
  help,
  type: 'counter',
  samples,
});

function render(family: Family): string {
  if (family.samples.length === 0) return '';
  const lines = family.samples.map(({ labels = {}, value }) => {
    const pairs = Object.entries(labels).map(
      ([key, text]) => `${key}="${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    );
    return `${family.name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}\n`;
  });
  return `# HELP ${family.name} ${family.help}\n# TYPE ${family.name} ${family.type}\n${lines.join('')}`;
}
