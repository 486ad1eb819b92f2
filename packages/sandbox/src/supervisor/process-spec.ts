/** The processes of a sandbox and how each is started. Pure but for the paths of our own programs. */
import { join } from 'node:path';
import { program, root } from '../host/programs.ts';
import { apiPort, dnsAddresses, type Layout, lanAddresses, nodeLayout, podCidrs, serviceCidrs } from '../layout.ts';
import type { SandboxState } from '../state.ts';

export interface ProcessSpec {
  readonly name: string;
  readonly argv: readonly string[];
  readonly cgroup: string;
  /** Name under /run/netns; undefined = the machine's own. */
  readonly netns?: string;
  /** The API server and what leads to it are started first, the others once it answers. */
  readonly early: boolean;
}

/** node's old space: small programs need no more, and a machine runs many of them. */
export function processSpecs(layout: Layout, state: SandboxState): readonly ProcessSpec[] {
  const control = join(state.cgroupRoot, layout.cgroupName, 'control');
  const socket = join(layout.directory, 'api.sock');
  const relays: readonly ProcessSpec[] = [
    {
      name: 'relay-machine',
      argv: [...program('relay'), '--listen', `unix:${socket}`, '--connect', `tcp:${state.api.host}:${state.api.port}`],
      cgroup: control,
      early: true,
    },
    {
      name: 'relay-lan',
      argv: [
        ...program('relay'),
        ...lanAddresses.flatMap(address => ['--listen', `tcp:${address}:${apiPort}`]),
        ...['--connect', `unix:${socket}`],
      ],
      cgroup: control,
      netns: layout.lan,
      early: true,
    },
  ];
  const server = state.external ? [] : [apiServer(layout, state, control)];
  const nodes = Array.from({ length: state.nodes }, (_, index) => nodeSpecs(layout, state, index + 1)).flat();
  return [...server, ...relays, ...nodes];
}

function apiServer(layout: Layout, state: SandboxState, cgroup: string): ProcessSpec {
  const at = (name: string): string => join(layout.directory, 'pki', name);
  return {
    name: 'apiserver',
    argv: [
      ...program('apiserver'),
      ...['--listen', `${state.api.host}:${state.api.port}`],
      ...['--tls-cert-file', at('server.crt'), '--tls-private-key-file', at('server.key')],
      ...['--client-ca-file', at('ca.crt'), '--token-file', at('token')],
      ...[
        '--service-cidrs',
        serviceCidrs.join(','),
        '--pod-cidrs',
        state.ipam === 'kubernetes' ? podCidrs.join(',') : '',
      ],
      ...['--kubelet-dir', layout.directory, '--data-dir', join(layout.directory, 'apiserver')],
    ],
    cgroup,
    early: true,
  };
}

const clusterPool: readonly string[] = [
  ...['--cluster-pool-ipv4-cidr', podCidrs[0], '--cluster-pool-ipv4-mask-size', '24'],
  ...['--cluster-pool-ipv6-cidr', podCidrs[1], '--cluster-pool-ipv6-mask-size', '64'],
];

function nodeSpecs(layout: Layout, state: SandboxState, index: number): readonly ProcessSpec[] {
  const node = nodeLayout(layout, state.cgroupRoot, index);
  const common = { cgroup: join(node.cgroup, 'system'), netns: node.netns, early: false };
  const at = (name: string): string => join(node.directory, name);
  const native = state.routing === 'native';
  const kubelet: ProcessSpec = {
    ...common,
    name: `kubelet-${index}`,
    argv: [
      ...program('kubelet'),
      ...['--node-name', node.name, '--kubeconfig', at('kubeconfig'), '--directory', node.directory],
      ...['--netns', node.netns, '--pod-netns-prefix', `${layout.prefix}pod-`, '--cgroup', node.cgroup],
      ...['--node-ip', node.addresses.join(','), '--cluster-dns', dnsAddresses[0]],
      ...['--api-service', state.external || state.agents ? '' : `${lanAddresses[0]}:${apiPort}`],
      ...(state.ipam === 'kubernetes' && !state.external ? ['--pod-cidrs', node.podCidrs.join(',')] : []),
    ],
  };
  const agent: ProcessSpec = {
    ...common,
    name: `agent-${index}`,
    argv: [
      ...program('agent'),
      ...['--node-name', node.name, '--k8s-kubeconfig-path', at('kubeconfig')],
      ...['--state-dir', at('state'), '--socket-path', at('ciliate.sock'), '--bpf-root', at('bpf')],
      ...['--cgroup-root', node.cgroup, '--object-dir', join(root, 'build/bpf'), '--devices', 'eth0'],
      ...['--routing-mode', native ? 'native' : 'tunnel', ...(native ? ['--auto-direct-node-routes'] : [])],
      ...['--ipam', state.ipam, '--service-cidr', serviceCidrs.join(','), '--cni-conf-dir', at('cni/net.d')],
      ...state.agentOptions.map(option => `--${option}`),
    ],
  };
  const operator: ProcessSpec = {
    ...common,
    name: 'operator',
    argv: [
      ...program('operator'),
      ...['--k8s-kubeconfig-path', at('kubeconfig'), '--service-cidr', serviceCidrs.join(',')],
      ...(state.ipam === 'cluster-pool' ? clusterPool : []),
    ],
  };
  const ours = state.agents ? (index === 1 ? [operator, agent] : [agent]) : [];
  return [...ours, kubelet];
}
