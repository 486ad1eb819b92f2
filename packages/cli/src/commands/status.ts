/** `ciliate status`: short by default, every section with --verbose, one word with --brief. */
import {
  type ClusterHealth,
  type ControllerStatus,
  type PathStatus,
  restPaths,
  type StatusResponse,
} from '@ciliate/protocol';
import type { Context } from '../context.ts';
import { CliError } from '../errors.ts';
import { alignColumns, type Output } from '../output.ts';
import { ago, duration, latency } from '../time.ts';
import { hostPort } from './lists.ts';

export interface StatusOptions {
  readonly verbose?: boolean;
  readonly brief?: boolean;
}

type Row = readonly [string, string];

function enabled(on: boolean): string {
  return on ? 'Enabled' : 'Disabled';
}

function summaryRows(status: StatusResponse): readonly Row[] {
  const replacement = status['kube-proxy-replacement'];
  const devices = replacement.deviceList.map(device => `${device.name}   ${device.ip.join(' ')}`).join(', ');
  const { masquerading, routing } = status;
  const tunnel = routing['tunnel-protocol'] === undefined ? '' : ` [${routing['tunnel-protocol']}]`;
  const protocols = masquerading['enabled-protocols'];
  return [
    [
      'Kubernetes',
      `${status.kubernetes.state}${status.kubernetes.msg === undefined ? '' : `   ${status.kubernetes.msg}`}`,
    ],
    ['Kubernetes APIs', `[${status.kubernetes['k8s-api-versions'].map(api => `"${api}"`).join(', ')}]`],
    ['KubeProxyReplacement', `${replacement.mode}${devices === '' ? '' : `   [${devices}]`}`],
    ['Host firewall', status['host-firewall'].mode],
    ...(status.ciliate.serviceOnly ? [['Policies', 'not enforced: services alone'] as const] : []),
    ['CNI Chaining', status['cni-chaining'].mode],
    ['CNI Config file', status['cni-file'].msg ?? status['cni-file'].state],
    [
      'Ciliate',
      `${status.cilium.state}   ${status.ciliate.version}${status.cilium.msg === undefined ? '' : `   ${status.cilium.msg}`}`,
    ],
    ['NodeMonitor', `Listening for events on the ring buffer`],
    ['Cluster health', clusterHealthLine(status)],
    ['IPAM', status.ipam.status],
    ['Routing', `Network: ${routing['inter-host-routing-mode']}${tunnel}   Host: ${status['host-routing'].mode}`],
    ['Attach Mode', status.attachMode],
    ['Device Mode', status.datapathMode],
    [
      'Masquerading',
      masquerading.enabled
        ? `${masquerading.mode}   [${replacement.devices.join(', ')}]   [IPv4: ${enabled(protocols.ipv4)}, IPv6: ${enabled(protocols.ipv6)}]`
        : 'Disabled',
    ],
    ['Controller Status', controllersLine(status.controllers)],
    ['Hubble', status.hubble.state === 'Disabled' ? 'Disabled' : (status.hubble.msg ?? status.hubble.state)],
    ['Encryption', status.encryption.mode],
  ];
}

function clusterHealthLine(status: StatusResponse): string {
  const { state, msg } = status.cluster.ciliumHealth;
  return msg === undefined || msg === '' ? state : msg;
}

function controllersLine(controllers: readonly ControllerStatus[]): string {
  const healthy = controllers.filter(controller => controller.status['consecutive-failure-count'] === 0).length;
  return `${healthy}/${controllers.length} healthy`;
}

function printIpam(output: Output, status: StatusResponse): void {
  for (const pool of status.ipam.pools) {
    output.line(`  ${pool.family}: ${pool.allocated}/${pool.capacity} allocated from ${pool.prefix}`);
  }
  output.line('Allocated addresses:');
  const entries = Object.entries(status.ipam.allocations).toSorted(([a], [b]) =>
    a.localeCompare(b, 'en', { numeric: true }),
  );
  for (const [address, owner] of entries) output.line(`  ${address} (${owner})`);
}

function printControllers(output: Output, controllers: readonly ControllerStatus[]): void {
  const now = Date.now();
  const rows = controllers
    .toSorted((a, b) => a.name.localeCompare(b.name))
    .map(({ name, status }) => [
      `  ${name}`,
      ago(status['last-success-timestamp'], now),
      ago(status['last-failure-timestamp'], now),
      String(status['consecutive-failure-count']),
      status['consecutive-failure-count'] > 0 ? (status['last-failure-msg'] ?? 'failed') : 'no error',
    ]);
  output.line(alignColumns([['  Name', 'Last success', 'Last error', 'Count', 'Message'], ...rows]));
}

function printReplacement(output: Output, status: StatusResponse): void {
  const { features, ...replacement } = status['kube-proxy-replacement'];
  const port = features.nodePort;
  output.line('KubeProxyReplacement Details:');
  const rows: readonly Row[] = [
    ['Status:', replacement.mode],
    ['Socket LB:', enabled(features.socketLB.enabled)],
    ['Devices:', replacement.deviceList.map(device => `${device.name}   ${device.ip.join(' ')}`).join(', ')],
    ['Mode:', port.mode],
    ...(port.dsrMode === undefined ? [] : [['DSR Dispatch Mode:', port.dsrMode] as const]),
    ['Backend Selection:', port.algorithm],
    ['Session Affinity:', enabled(features.sessionAffinity.enabled)],
    ['Graceful Termination:', enabled(features.gracefulTermination.enabled)],
    ['NAT46/64 Support:', enabled(features.nat46X64.enabled)],
    ['XDP Acceleration:', accelerationText(port)],
  ];
  output.line(alignColumns(rows.map(([name, value]) => [`  ${name}`, value])));
  output.line('  Services:');
  const services: readonly Row[] = [
    ['- ClusterIP:', 'Enabled'],
    ['- NodePort:', port.enabled ? `Enabled (Range: ${port.portMin}-${port.portMax})` : 'Disabled'],
    ['- LoadBalancer:', enabled(port.enabled)],
    ['- externalIPs:', enabled(features.externalIPs.enabled)],
    ['- HostPort:', enabled(features.hostPort.enabled)],
  ];
  output.line(alignColumns(services.map(([name, value]) => [`  ${name}`, value])));
}

/** 'Native   eth0: native, eth1: none (why)'. */
function accelerationText(port: StatusResponse['kube-proxy-replacement']['features']['nodePort']): string {
  const devices = port.accelerated.map(({ device, mode, why }) => `${device}: ${mode}${why === '' ? '' : ` (${why})`}`);
  return [port.acceleration, devices.join(', ')].filter(part => part !== '').join('   ');
}

/** Fill of a map: '12 / 65536 (0.0 %)'. */
export function fillText(entries: number | undefined, size: number): string {
  if (entries === undefined) return `${size}`;
  return `${entries} / ${size} (${((100 * entries) / Math.max(1, size)).toFixed(1)} %)`;
}

function printMaps(output: Output, status: StatusResponse): void {
  const ratio = status['bpf-maps']['dynamic-size-ratio'];
  output.line(`BPF Maps:${ratio === undefined || ratio === 0 ? '' : `   dynamic sizing: on (ratio: ${ratio})`}`);
  const rows = status['bpf-maps'].maps.map(map => [`  ${map.name}`, map.type ?? '', fillText(map.entries, map.size)]);
  output.line(alignColumns([['  Name', 'Type', 'Entries / Size'], ...rows]));
}

function probeText(output: Output, path: PathStatus | undefined): string {
  if (path === undefined) return output.paint.dim('not published yet');
  const http =
    path.http.status === ''
      ? output.paint.good(`reachable, RTT=${latency(path.http.latency)}`)
      : output.paint.bad(`unreachable: ${path.http.status}`);
  const icmp =
    path.icmp === undefined
      ? ''
      : `   ICMP: ${path.icmp.status === '' ? `OK, RTT=${latency(path.icmp.latency)}` : path.icmp.status}`;
  return `${hostPort(path.ip, 4240)}   HTTP to agent: ${http}${icmp}`;
}

function printClusterHealth(output: Output, health: ClusterHealth): void {
  const isReachable = (path: PathStatus): boolean => path.http.status === '';
  const reachable = health.nodes.filter(
    node =>
      isReachable(node.host['primary-address']) &&
      (node['health-endpoint'] === undefined || isReachable(node['health-endpoint']['primary-address'])),
  );
  output.line(
    `Cluster health:   ${reachable.length}/${health.nodes.length} reachable   (${health.timestamp === '' ? 'not probed yet' : `probed ${ago(health.timestamp, Date.now())}`})`,
  );
  for (const node of health.nodes) {
    output.line(`  ${node.name}${node.name === health.local.name ? ' (localhost)' : ''}:`);
    output.line(`    Host connectivity to ${probeText(output, node.host['primary-address'])}`);
    for (const path of node.host['secondary-addresses'])
      output.line(`                         ${probeText(output, path)}`);
    const endpoint = node['health-endpoint'];
    output.line(`    Endpoint connectivity to ${probeText(output, endpoint?.['primary-address'])}`);
    for (const path of endpoint?.['secondary-addresses'] ?? [])
      output.line(`                         ${probeText(output, path)}`);
  }
}

function printSummary(output: Output, status: StatusResponse): void {
  const colored = summaryRows(status).map(([name, value]) => [`${name}:`, colorState(output, value)]);
  output.line(alignColumns(colored));
  for (const reason of status.ciliate.degraded) output.line(output.paint.bad(`  ${reason}`));
}

function colorState(output: Output, value: string): string {
  if (/^(Ok|OK|True)\b/.test(value)) return value.replace(/^\w+/, word => output.paint.good(word));
  return /^(Failure|Warning)\b/.test(value) ? output.paint.bad(value) : value;
}

export async function status({ agent, output }: Context, options: StatusOptions): Promise<void> {
  const report = await agent.get<StatusResponse>(restPaths.healthz);
  if (options.brief === true) {
    if (report.cilium.state !== 'Ok') {
      throw new CliError(
        { code: 'NOT_READY' },
        `${report.cilium.state}: ${report.cilium.msg ?? report.ciliate.degraded.join('; ')}`,
      );
    }
    output.line('OK');
    return;
  }
  const health = options.verbose === true ? await agent.get<ClusterHealth>(restPaths.clusterHealth) : undefined;
  output.render(health === undefined ? report : { ...report, health }, () => {
    printSummary(output, report);
    if (health === undefined) return;
    output.line('IPAM details:');
    printIpam(output, report);
    output.line('Controllers:');
    printControllers(output, report.controllers);
    printReplacement(output, report);
    printMaps(output, report);
    printClusterHealth(output, health);
    const { pid, startedAt, rssBytes, endpoints } = report.ciliate;
    output.line(
      `Agent:   pid ${pid}, up ${duration(Date.now() - Date.parse(startedAt))}, ${(rssBytes / 1e6).toFixed(0)} MB, ` +
        `${endpoints.ready}/${endpoints.total} endpoints ready, kernel ${report.ciliate.kernel}`,
    );
  });
}
