/** Environment of a container. Pure. */
import type { ContainerSpec, Pod } from './pod.ts';

export interface EnvironmentInput {
  readonly pod: Pod;
  readonly container: ContainerSpec;
  readonly hostname: string;
  readonly podAddresses: readonly string[];
  readonly nodeName: string;
  readonly nodeAddresses: readonly string[];
  readonly apiService: { readonly host: string; readonly port: string };
}

export function environmentOf(input: EnvironmentInput): Record<string, string> {
  const { host, port } = input.apiService;
  const env: Record<string, string> = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    HOSTNAME: input.hostname,
    KUBERNETES_SERVICE_HOST: host,
    KUBERNETES_SERVICE_PORT: port,
    KUBERNETES_SERVICE_PORT_HTTPS: port,
    KUBERNETES_PORT: `tcp://${host}:${port}`,
  };
  for (const { name, value, valueFrom } of input.container.env ?? []) {
    const path = valueFrom?.fieldRef?.fieldPath;
    env[name] = path === undefined ? expand(value ?? '', env) : fieldValue(path, input);
  }
  return env;
}

/** $(NAME) is replaced when NAME is known; $$ is one $. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (env[name] ?? whole),
  );
}

function fieldValue(path: string, input: EnvironmentInput): string {
  const { metadata, spec } = input.pod;
  const keyed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  if (keyed !== null) return metadata[keyed[1] === 'labels' ? 'labels' : 'annotations']?.[keyed[2] ?? ''] ?? '';
  const values: Readonly<Record<string, string | undefined>> = {
    'metadata.name': metadata.name,
    'metadata.namespace': metadata.namespace,
    'metadata.uid': metadata.uid,
    'spec.nodeName': input.nodeName,
    'spec.serviceAccountName': spec.serviceAccountName ?? 'default',
    'status.podIP': input.podAddresses[0],
    'status.podIPs': input.podAddresses.join(','),
    'status.hostIP': input.nodeAddresses[0],
    'status.hostIPs': input.nodeAddresses.join(','),
  };
  return values[path] ?? '';
}
