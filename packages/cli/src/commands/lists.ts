/** service, endpoint, identity, ip and node lists, with the columns that the field's users know. */
import {
  type AddressPair,
  type BackendAddress,
  type ClusterStatus,
  type Endpoint,
  type Identity,
  type IpListEntry,
  type NodeElement,
  restPaths,
  type Service,
} from '@ciliate/protocol';
import type { Context } from '../context.ts';

/** '10.0.0.1:80', '[fd00::1]:80'. */
export function hostPort(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function backendLine(backend: BackendAddress, index: number): string {
  return `${index + 1} => ${hostPort(backend.ip, backend.port)}/${backend.protocol} (${backend.state})`;
}

/** The row of a service: ID, Frontend, Service Type, Backend. */
export function serviceRow(service: Service): readonly string[] {
  const { id, flags, ...spec } = service.status.realized;
  const frontend = spec['frontend-address'];
  return [
    String(id),
    `${hostPort(frontend.ip, frontend.port)}/${frontend.protocol}${frontend.scope === 'internal' ? '/i' : ''}`,
    flags.type,
    spec['backend-addresses'].map(backendLine).join('\n'),
  ];
}

export async function serviceList({ agent, output }: Context): Promise<void> {
  const services = await agent.get<readonly Service[]>(restPaths.services);
  const sorted = services.toSorted((a, b) => a.spec.id - b.spec.id);
  output.render(sorted, () => {
    output.table(['ID', 'Frontend', 'Service Type', 'Backend'], sorted.map(serviceRow));
    const failing = sorted.filter(service => service.status.state === 'error');
    for (const { spec, status } of failing) {
      output.line(
        output.paint.bad(`${spec.flags.namespace}/${spec.flags.name} (ID ${spec.id}): ${status.error ?? 'error'}`),
      );
    }
    // NodePorts meet on each address, and redirects on each port: one line for what is one conflict.
    for (const line of new Set(sorted.flatMap(({ status }) => status.conflicts ?? [])))
      output.line(output.paint.bad(line));
  });
}

function addressesOf(pairs: readonly AddressPair[]): { readonly ipv4: string; readonly ipv6: string } {
  const pick = (family: 'ipv4' | 'ipv6'): string => pairs.flatMap(pair => pair[family] ?? []).join('\n');
  return { ipv4: pick('ipv4'), ipv6: pick('ipv6') };
}

/** Policy enforcement of one direction, as `endpoint list` shows it. */
function enforced(enabled: string, direction: 'ingress' | 'egress'): string {
  if (enabled === direction || enabled === 'both') return 'Enabled';
  return enabled === `audit-${direction}` || enabled === 'audit-both' ? 'Disabled (Audit)' : 'Disabled';
}

export function endpointRow(endpoint: Endpoint): readonly string[] {
  const { status } = endpoint;
  const addresses = addressesOf(status.networking.addressing);
  const policy = status.policy.realized['policy-enabled'];
  return [
    String(endpoint.id),
    enforced(policy, 'ingress'),
    enforced(policy, 'egress'),
    String(status.identity.id),
    status.identity.labels.join('\n'),
    addresses.ipv6,
    addresses.ipv4,
    status.state,
  ];
}

export async function endpointList({ agent, output }: Context): Promise<void> {
  const endpoints = await agent.get<readonly Endpoint[]>(restPaths.endpoints);
  const sorted = endpoints.toSorted((a, b) => a.id - b.id);
  const head = ['ENDPOINT', 'POLICY (ingress)', 'POLICY (egress)', 'IDENTITY', 'LABELS', 'IPv6', 'IPv4', 'STATUS'];
  output.render(sorted, () => output.table(head, sorted.map(endpointRow)));
}

export async function endpointGet({ agent, output }: Context, id: string): Promise<void> {
  const endpoint = await agent.get<Endpoint>(restPaths.endpoint(id));
  output.line(JSON.stringify(endpoint, null, 2));
}

export async function identityList({ agent, output }: Context): Promise<void> {
  const identities = await agent.get<readonly Identity[]>(restPaths.identities);
  const sorted = identities.toSorted((a, b) => a.id - b.id);
  output.render(sorted, () =>
    output.table(
      ['ID', 'LABELS'],
      sorted.map(identity => [String(identity.id), identity.labels.join('\n')]),
    ),
  );
}

export async function identityGet({ agent, output }: Context, id: string): Promise<void> {
  output.line(JSON.stringify(await agent.get<Identity>(restPaths.identity(id)), null, 2));
}

export async function ipList({ agent, output }: Context): Promise<void> {
  const entries = await agent.get<readonly IpListEntry[]>(restPaths.ips);
  const sorted = entries.toSorted((a, b) => a.cidr.localeCompare(b.cidr));
  output.render(sorted, () =>
    output.table(
      ['IP', 'IDENTITY', 'SOURCE', 'HOST', 'POD'],
      sorted.map(({ cidr, identity, hostIP, metadata }) => [
        cidr,
        String(identity),
        metadata.source,
        hostIP ?? '',
        metadata.name === undefined ? '' : `${metadata.namespace ?? ''}/${metadata.name}`,
      ]),
    ),
  );
}

function nodeRow(node: NodeElement): readonly string[] {
  const { ipv4, ipv6 } = node['primary-address'];
  return [
    node.name,
    ipv4?.ip ?? '',
    ipv4?.['alloc-range'] ?? '',
    ipv6?.ip ?? '',
    ipv6?.['alloc-range'] ?? '',
    node.source ?? '',
  ];
}

export async function nodeList({ agent, output }: Context): Promise<void> {
  const cluster = await agent.get<ClusterStatus | readonly NodeElement[]>(restPaths.nodes);
  const nodes = 'nodes' in cluster ? cluster.nodes : cluster;
  const sorted = nodes.toSorted((a, b) => a.name.localeCompare(b.name));
  output.render(sorted, () =>
    output.table(
      ['Name', 'IPv4 Address', 'Endpoint CIDR', 'IPv6 Address', 'Endpoint CIDR', 'Source'],
      sorted.map(nodeRow),
    ),
  );
}
