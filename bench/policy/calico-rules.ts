/**
 * The policies as Calico's Felix writes them into iptables: a chain for each direction of each pod that accepts known flows first, a chain for
 * the policy, address blocks as matches of the rule itself, selectors as ipsets. Each rule carries the comment that Felix finds it again by.
 * Left out, to the peer's advantage: the tables mangle and nat, and the chains of host endpoints.
 */
import { digest } from '../services/chain-names.ts';
import { type ControllerRules, comment, invalid, stateful } from './controller-rules.ts';
import { type BenchPod, type BenchRule, pods } from './spec.ts';

/** Bits of the packet's mark. */
const accept = '0x10000/0x10000';
const clearAccept = '0x0/0x10000';
const pass = '0x0/0x20000';

const policyChain = 'cali-pi-_bench';
const clients = 'cali40s:client';
const profiles = (direction: 'pri' | 'pro') => [`cali-${direction}-kns.default`, `cali-${direction}-ksa.default`];

const rule = (chain: string, text: string): string =>
  `-A ${chain} ${comment(`cali:${digest(`${chain}${text}`)}`)} ${text}`;

const raw = (): readonly string[] => [
  '*raw',
  ':cali-PREROUTING - [0:0]',
  rule('PREROUTING', '-j cali-PREROUTING'),
  rule('cali-PREROUTING', '-j MARK --set-xmark 0x0/0xf0000'),
  rule('cali-PREROUTING', '-i v-+ -j MARK --set-xmark 0x40000/0x40000'),
  rule('cali-PREROUTING', '-m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP'),
  rule('cali-PREROUTING', `-m mark --mark ${accept} -j ACCEPT`),
  'COMMIT',
];

/** From the first rule of a pod's chain on: known flows, then nothing accepted yet. */
const start = (chain: string): readonly string[] => [
  rule(chain, `${stateful} -j ACCEPT`),
  rule(chain, `${invalid} -j DROP`),
  rule(chain, `-j MARK --set-xmark ${clearAccept}`),
];

const ifProfiles = (chain: string, direction: 'pri' | 'pro'): readonly string[] => [
  ...profiles(direction).flatMap(name => [
    rule(chain, `-j ${name}`),
    rule(chain, `${comment('Return if profile accepted')} -m mark --mark ${accept} -j RETURN`),
  ]),
  rule(chain, `${comment('Drop if no profiles matched')} -j DROP`),
];

function fromPod({ device }: BenchPod): readonly string[] {
  const chain = `cali-fw-${device}`;
  return [
    ...start(chain),
    rule(chain, '-p udp -m multiport --dports 4789 -j DROP'),
    rule(chain, '-p ipencap -j DROP'),
    ...ifProfiles(chain, 'pro'),
  ];
}

function toPod({ device }: BenchPod, isSelected: boolean): readonly string[] {
  const chain = `cali-tw-${device}`;
  const policies = [
    rule(chain, `${comment('Start of policies')} -j MARK --set-xmark ${pass}`),
    rule(chain, `-m mark --mark ${pass} -j ${policyChain}`),
    rule(chain, `${comment('Return if policy accepted')} -m mark --mark ${accept} -j RETURN`),
    rule(chain, `${comment('Drop if no policies passed packet')} -m mark --mark ${pass} -j DROP`),
  ];
  return [...start(chain), ...(isSelected ? policies : []), ...ifProfiles(chain, 'pri')];
}

/** Each rule of the policy marks, and the next one returns with what is marked. */
function ofPolicy({ cidr, port }: BenchRule): readonly string[] {
  const source = cidr === undefined ? `-m set --match-set ${clients} src` : `-s ${cidr}`;
  return [
    rule(policyChain, `-p tcp ${source} -m multiport --dports ${port} -j MARK --set-xmark ${accept}`),
    rule(policyChain, `-m mark --mark ${accept} -j RETURN`),
  ];
}

function dispatch(): readonly string[] {
  return Object.values(pods).flatMap(({ device }) => [
    rule('cali-from-wl-dispatch', `-i ${device} -g cali-fw-${device}`),
    rule('cali-to-wl-dispatch', `-o ${device} -g cali-tw-${device}`),
  ]);
}

function chains(): readonly string[] {
  const own = Object.values(pods).flatMap(({ device }) => [`cali-fw-${device}`, `cali-tw-${device}`]);
  const shared = [
    'cali-FORWARD',
    'cali-from-wl-dispatch',
    'cali-to-wl-dispatch',
    'cali-to-hep-forward',
    'cali-cidr-block',
  ];
  return [...shared, ...own, ...profiles('pri'), ...profiles('pro'), policyChain].map(name => `:${name} - [0:0]`);
}

const forward = (): readonly string[] => [
  rule('FORWARD', '-j cali-FORWARD'),
  rule('FORWARD', `${comment('Policy explicitly accepted packet.')} -m mark --mark ${accept} -j ACCEPT`),
  rule('FORWARD', `-j MARK --set-xmark ${accept}`),
  rule('cali-FORWARD', '-j MARK --set-xmark 0x0/0xe0000'),
  rule('cali-FORWARD', '-i v-+ -j cali-from-wl-dispatch'),
  rule('cali-FORWARD', '-o v-+ -j cali-to-wl-dispatch'),
  rule('cali-FORWARD', '-j cali-to-hep-forward'),
  rule('cali-FORWARD', '-j cali-cidr-block'),
];

/** A namespace's profile lets everything through that no policy selects. */
const openProfiles = (): readonly string[] =>
  [profiles('pri')[0] ?? '', profiles('pro')[0] ?? ''].flatMap(chain => [
    rule(chain, `-j MARK --set-xmark ${accept}`),
    rule(chain, `-m mark --mark ${accept} -j RETURN`),
  ]);

export function calicoRules(rules: readonly BenchRule[]): ControllerRules {
  const isSelected = rules.length > 0;
  return {
    sets: `create ${clients} hash:net family inet maxelem 1048576\nadd ${clients} ${pods.client.ip}\n`,
    tables: [
      ...raw(),
      '*filter',
      ...chains(),
      ...forward(),
      ...dispatch(),
      ...Object.values(pods).flatMap(fromPod),
      ...toPod(pods.client, false),
      ...toPod(pods.server, isSelected),
      ...openProfiles(),
      ...rules.flatMap(ofPolicy),
      'COMMIT',
      '',
    ].join('\n'),
  };
}
