/** Options of ciliate-agent, in the field's spelling. */
import { choice, flag, integer, labelPatterns, list, type OptionValues, portRange, prefixes, text } from './option.ts';

const port: readonly [number, number] = [1, 65535];
const mapSize: readonly [number, number] = [2, 1 << 24];

export const agentOptions = {
  'node-name': { ...text('', 'Name of this node in Kubernetes'), default: '' },
  'k8s-kubeconfig-path': { ...text('', 'Kubeconfig file; without it the service account of the pod'), default: '' },
  'state-dir': text('/var/run/ciliate', 'Endpoints and node state that survive a restart'),
  'socket-path': { ...text('', 'REST socket, <state-dir>/ciliate.sock when not given'), default: '' },
  'bpf-root': text('/sys/fs/bpf', 'Mounted bpffs; pins live in <bpf-root>/ciliate'),
  'cgroup-root': { ...text('', 'cgroup2 whose sockets are balanced; found when not given'), default: '' },
  'object-dir': { ...text('', 'Compiled BPF objects; build/bpf beside the program when not given'), default: '' },
  'routing-mode': choice('tunnel', ['tunnel', 'native'], 'How packets reach pods of other nodes'),
  'service-only': flag(
    false,
    'Services alone, in place of kube-proxy: pods belong to another CNI, whose devices are named by --devices where they have no address',
  ),
  'tc-attach': choice(
    'auto',
    ['auto', 'tcx', 'clsact'],
    'How programs get to devices; auto: tcx where the kernel has it',
  ),
  'tunnel-protocol': choice('vxlan', ['vxlan'], 'Encapsulation in tunnel mode'),
  'tunnel-port': integer(8472, port, 'UDP port of the tunnel'),
  'auto-direct-node-routes': flag(false, 'Native routing: install routes to the pod CIDRs of nodes on the same link'),
  devices: list([], 'Native devices, comma separated; found by the default route and node address when not given'),
  ipam: choice('kubernetes', ['kubernetes', 'cluster-pool'], 'Where pod CIDRs come from'),
  'enable-ipv4': flag(true, 'IPv4 for pods'),
  'enable-ipv6': flag(true, 'IPv6 for pods'),
  'enable-bpf-masquerade': flag(true, 'Masquerade what pods send outside the cluster'),
  'service-cidr': list([], 'Service CIDRs, only to refuse pod CIDRs that overlap them'),
  mtu: integer(0, [0, 65535], 'MTU of the network; 0 = that of the native device'),
  'cluster-health-port': integer(4240, port, 'TCP port of the health responder'),
  'enable-health-checking': flag(true, 'Probe nodes and health endpoints'),
  'health-check-interval': integer(10, [1, 3600], 'Seconds between rounds of probes'),
  'cluster-name': text('default', 'Name of the cluster, shown before node names'),
  labels: labelPatterns(
    "Labels that make identities, besides the defaults: prefixes as regular expressions, '!' for those to leave out ('k8s:app !k8s:team')",
  ),
  'log-level': choice(
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace'],
    'Least severe level that is logged',
  ),
  'write-cni-conf-when-ready': { ...text('', 'Write the CNI configuration here once the agent is ready'), default: '' },
  'cni-conf-dir': { ...text('', 'Directory for 05-ciliate.conflist, same effect as the option above'), default: '' },
  'kube-proxy-healthz-port': integer(
    10256,
    [0, 65535],
    "Where load balancers ask for kube-proxy's health; 0 = nowhere",
  ),
  'node-port-range': portRange(
    { min: 30_000, max: 32_767 },
    4096,
    "NodePorts, as the API server's --service-node-port-range; ports below are the agent's for translations",
  ),
  'nodeport-addresses': prefixes(
    "Of the node's addresses only those in these CIDRs answer NodePorts; all when not given",
  ),
  'lb-state-file': { ...text('', 'File of services and endpoints beside those of the API server'), default: '' },
  'lb-state-file-interval': integer(1000, [10, 3_600_000], 'Milliseconds between looks at that file'),
  'bpf-lb-algorithm': choice('random', ['random', 'maglev'], 'How backends are chosen for clients outside the node'),
  'bpf-lb-maglev-table-size': integer(
    16381,
    [251, 131071],
    'Entries of a Maglev table: 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521 or 131071',
  ),
  'bpf-lb-maglev-hash-seed': integer(1, [0, 0x7fffffff], 'Seed of Maglev tables and hashes; the same on every node'),
  'bpf-lb-mode': choice(
    'snat',
    ['snat', 'dsr', 'hybrid'],
    "How a backend on another node is reached: with this node's address, or the client's; hybrid: dsr for TCP alone",
  ),
  'bpf-lb-dsr-dispatch': choice(
    'opt',
    ['opt', 'ipip'],
    "How DSR tells the backend's node what was dialled: IPv4 option and IPv6 extension header, or encapsulation",
  ),
  'bpf-lb-mode-annotation': flag(false, 'service.cilium.io/forwarding-mode chooses snat or dsr for a service'),
  'bpf-lb-acceleration': choice(
    'disabled',
    ['disabled', 'native', 'best-effort'],
    'XDP for packets from outside to services; native: on each native device, or the agent does not start; best-effort: where drivers can',
  ),
  'bpf-lb-no-backend': choice('reject', ['reject', 'drop'], 'What a service without backends does'),
  'bpf-lb-external-clusterip': flag(false, 'ClusterIPs answer clients outside the cluster'),
  'bpf-lb-source-range-all-types': flag(false, 'loadBalancerSourceRanges count for NodePorts and ClusterIPs too'),
  'bpf-lb-enable-wildcard-entries': flag(
    true,
    'Packets to ports that an address of services does not serve are dropped',
  ),
  'bpf-lb-map-max': integer(65536, mapSize, 'Entries of each load balancing map'),
  'bpf-ct-global-max': integer(131072, mapSize, 'Entries of the conntrack map'),
  'bpf-nat-global-max': integer(131072, mapSize, 'Entries of the NAT map'),
  'bpf-policy-map-max': integer(16384, mapSize, 'Entries of a policy map'),
  'enable-policy': choice(
    'default',
    ['default', 'always', 'never'],
    'Whom policies isolate: whom one selects, all, none',
  ),
  'policy-cidr-match-mode': choice(
    '',
    ['', 'nodes'],
    "Whom address blocks of Cilium's policies hold besides outsiders",
  ),
  'node-labels': labelPatterns('Labels of nodes that policies may select by, all when not given; notation of --labels'),
  'policy-audit-mode': flag(false, 'Report what policy would deny, and let it through'),
  'policy-verdict-events': flag(true, 'An event for each new flow that policy has judged, not only for denied ones'),
  'enable-host-firewall': flag(false, 'Enforce policies with a nodeSelector on the node itself'),
  'allow-localhost': choice(
    'auto',
    ['auto', 'always', 'policy'],
    'The node reaches its own pods whatever policies say',
  ),
  'monitor-trace': flag(false, 'An event for each forwarded packet, not only for drops'),
} as const;

export type AgentOptions = OptionValues<typeof agentOptions>;
