/**
 * The policies as kube-router writes them into iptables: a firewall chain for each pod that goes through what all have in common first (known
 * flows are accepted there), a chain for the policy, and an ipset for the sources of each of its rules and one for the pods it selects.
 */
import { digest } from '../services/chain-names.ts';
import { type ControllerRules, comment, invalid, stateful } from './controller-rules.ts';
import { type BenchPod, type BenchRule, pods } from './spec.ts';

/** The packet is allowed by some policy. */
const allowed = '0x10000/0x10000';
/** The packet has passed a pod's firewall. */
const passed = '0x20000/0x20000';

const policyChain = `KUBE-NWPLCY-${digest('default bench')}`;
const selected = `KUBE-DST-${digest('default bench pods')}`;
const sourceSet = (n: number): string => `KUBE-SRC-${digest(`default bench ${n}`)}`;
const firewall = ({ name }: BenchPod): string => `KUBE-POD-FW-${digest(`default ${name}`)}`;

const topChains = { INPUT: 'KUBE-ROUTER-INPUT', FORWARD: 'KUBE-ROUTER-FORWARD', OUTPUT: 'KUBE-ROUTER-OUTPUT' } as const;

function sets(rules: readonly BenchRule[]): string {
  const lines = rules.flatMap(({ cidr }, n) => [
    `create ${sourceSet(n)} ${cidr === undefined ? 'hash:ip' : 'hash:net'} family inet hashsize 1024 maxelem 65536 timeout 0`,
    `add ${sourceSet(n)} ${cidr ?? pods.client.ip}`,
  ]);
  const create = `create ${selected} hash:ip family inet hashsize 1024 maxelem 65536 timeout 0`;
  return [...lines, create, `add ${selected} ${pods.server.ip}`, ''].join('\n');
}

const common = [
  `-A KUBE-NWPLCY-COMMON ${comment('rule to drop invalid state for pod')} ${invalid} -j DROP`,
  `-A KUBE-NWPLCY-COMMON ${comment('rule for stateful firewall for pod')} ${stateful} -j ACCEPT`,
  ...['echo-request', 'destination-unreachable', 'time-exceeded'].map(
    type => `-A KUBE-NWPLCY-COMMON ${comment(`allow icmp ${type}`)} -p icmp --icmp-type ${type} -j ACCEPT`,
  ),
  `-A KUBE-NWPLCY-DEFAULT ${comment('rule to mark traffic matching a network policy')} -j MARK --set-xmark ${allowed}`,
];

/** Packets of the pod reach its chain whichever way they come: routed, bridged, from or to the node. */
function intercept(pod: BenchPod): readonly string[] {
  const to = `${comment(`rule to jump traffic destined to POD name:${pod.name} namespace: default`)} -d ${pod.ip}`;
  const from = `${comment(`rule to jump traffic from POD name:${pod.name} namespace: default`)} -s ${pod.ip}`;
  const bridged = '-m physdev --physdev-is-bridged';
  const { INPUT, FORWARD, OUTPUT } = topChains;
  const jumps = [
    `${FORWARD} ${bridged} ${to}`,
    `${FORWARD} ${bridged} ${from}`,
    `${FORWARD} ${to}`,
    `${FORWARD} ${from}`,
    `${OUTPUT} ${to}`,
    `${OUTPUT} ${from}`,
    `${INPUT} ${from}`,
  ];
  return jumps.map(jump => `-A ${jump} -j ${firewall(pod)}`);
}

function podFirewall(pod: BenchPod, isSelected: boolean): readonly string[] {
  const chain = firewall(pod);
  const ingress = isSelected ? policyChain : 'KUBE-NWPLCY-DEFAULT';
  const unmarked = `-m mark ! --mark ${allowed}`;
  const lines = [
    `${comment('run through common policies')} -j KUBE-NWPLCY-COMMON`,
    `${comment("rule to permit traffic from the pod's node")} -m addrtype --src-type LOCAL -d ${pod.ip} -j ACCEPT`,
    `${comment('run through ingress policy')} -d ${pod.ip} -j ${ingress}`,
    `${comment('run through default egress policy')} -s ${pod.ip} -j KUBE-NWPLCY-DEFAULT`,
    `${comment('rule to log dropped traffic')} ${unmarked} -m limit --limit 10/minute --limit-burst 10 -j NFLOG --nflog-group 100`,
    `${comment('rule to REJECT traffic')} ${unmarked} -j REJECT`,
    '-j MARK --set-xmark 0x0/0x10000',
    `${comment('set mark to ACCEPT traffic that comply to network policies')} -j MARK --set-xmark ${passed}`,
  ];
  return lines.map(line => `-A ${chain} ${line}`);
}

/** Each rule marks, and the next one, with the same matches, returns. */
function ofPolicy({ port }: BenchRule, n: number): readonly string[] {
  const what = comment('rule to ACCEPT traffic from source to dest pods selected by policy name: bench');
  const match = `${what} -m set --match-set ${sourceSet(n)} src -m set --match-set ${selected} dst -p tcp --dport ${port}`;
  return [
    `-A ${policyChain} ${match} -j MARK --set-xmark ${allowed}`,
    `-A ${policyChain} ${match} -m mark --mark ${allowed} -j RETURN`,
  ];
}

export function kubeRouterRules(rules: readonly BenchRule[]): ControllerRules {
  const all = Object.values(pods);
  const chains = [...Object.values(topChains), 'KUBE-NWPLCY-COMMON', 'KUBE-NWPLCY-DEFAULT', policyChain];
  return {
    sets: sets(rules),
    tables: [
      '*filter',
      ...[...chains, ...all.map(firewall)].map(name => `:${name} - [0:0]`),
      ...Object.entries(topChains).map(([hook, chain]) => `-A ${hook} ${comment('kube-router netpol')} -j ${chain}`),
      ...common,
      ...all.flatMap(intercept),
      ...Object.values(topChains).map(
        chain =>
          `-A ${chain} ${comment('rule to explicitly ACCEPT traffic that comply to network policies')} -m mark --mark ${passed} -j ACCEPT`,
      ),
      ...podFirewall(pods.client, false),
      ...podFirewall(pods.server, rules.length > 0),
      ...rules.flatMap(ofPolicy),
      'COMMIT',
      '',
    ].join('\n'),
  };
}
