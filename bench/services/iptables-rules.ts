/**
 * What kube-proxy 1.34 and later write in iptables mode, as input of iptables-restore. As they do, comments are left out of clusters with more
 * than 1,000 endpoints, and the NodePort rule stands last. Left out, to the peer's advantage: the counters of nfacct, which would double the
 * rules of NodePorts (one more each for 127.0.0.0/8).
 */
import { digest } from './chain-names.ts';
import { type BenchService, servicePort } from './spec.ts';

const svc = (service: BenchService): string => `KUBE-SVC-${digest(`${service.name}tcp`)}`;
const ext = (service: BenchService): string => `KUBE-EXT-${digest(`${service.name}tcp`)}`;
const sep = (service: BenchService, i: number): string => `KUBE-SEP-${digest(`${service.name}tcp${i}`)}`;

interface Words {
  readonly comment: (text: string) => string;
  readonly podCidr: string;
}

const portal = ({ name, clusterIp }: BenchService, { comment }: Words): string =>
  `-A KUBE-SERVICES ${comment(`default/${name}:main cluster IP`)}-m tcp -p tcp -d ${clusterIp}/32 --dport ${servicePort}`;

function chainsOf(service: BenchService): readonly string[] {
  const chains = [svc(service), ...(service.nodePort === undefined ? [] : [ext(service)])];
  return [...chains, ...service.endpoints.map((_, i) => sep(service, i))].map(name => `:${name} - [0:0]`);
}

/** Rules in chains of the service's own. */
function ownRules(service: BenchService, words: Words): string[] {
  const { name, clusterIp, endpoints, nodePort } = service;
  const { comment, podCidr } = words;
  const rules = [
    `-A ${svc(service)} ${comment(`default/${name}:main cluster IP`)}-m tcp -p tcp -d ${clusterIp}/32 --dport ${servicePort} ! -s ${podCidr} -j KUBE-MARK-MASQ`,
  ];
  if (nodePort !== undefined) {
    rules.push(
      `-A ${ext(service)} ${comment(`masquerade traffic for default/${name}:main external destinations`)}-j KUBE-MARK-MASQ`,
      `-A ${ext(service)} -j ${svc(service)}`,
    );
  }
  endpoints.forEach(({ ip, port }, i) => {
    const left = endpoints.length - i;
    const chance = left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `;
    rules.push(
      `-A ${svc(service)} ${comment(`default/${name}:main -> ${ip}:${port}`)}${chance}-j ${sep(service, i)}`,
      `-A ${sep(service, i)} ${comment(`default/${name}:main`)}-s ${ip}/32 -j KUBE-MARK-MASQ`,
      `-A ${sep(service, i)} ${comment(`default/${name}:main`)}-m tcp -p tcp -j DNAT --to-destination ${ip}:${port}`,
    );
  });
  return rules;
}

const filterJumps = `-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
`;

/** Written on every change too: no service here is without endpoints, so it is short. */
const filterTable = (jumps: string): string => `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
${jumps}-A KUBE-FIREWALL -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`;

/** `changed`: only this service's chains are written again, beside the portals of all, as kube-proxy does on a change. */
function natTable(services: readonly BenchService[], podCidr: string, changed?: BenchService): string {
  const large = services.reduce((sum, service) => sum + service.endpoints.length, 0) > 1000;
  const comment = (text: string): string => (large ? '' : `-m comment --comment "${text}" `);
  const words = { comment, podCidr };
  const written = changed === undefined ? services : [changed];
  return [
    '*nat',
    ...['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ'].map(name => `:${name} - [0:0]`),
    ...written.flatMap(chainsOf),
    ...(changed === undefined
      ? ['-A PREROUTING -j KUBE-SERVICES', '-A OUTPUT -j KUBE-SERVICES', '-A POSTROUTING -j KUBE-POSTROUTING']
      : []),
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000',
    '-A KUBE-POSTROUTING -j MASQUERADE --random-fully',
    '-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000',
    ...services.flatMap(service =>
      service.nodePort === undefined
        ? []
        : [
            `-A KUBE-NODEPORTS ${comment(`default/${service.name}:main`)}-m tcp -p tcp --dport ${service.nodePort} -j ${ext(service)}`,
          ],
    ),
    ...services.map(service => `${portal(service, words)} -j ${svc(service)}`),
    ...written.flatMap(service => ownRules(service, words)),
    '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
    'COMMIT',
    '',
  ].join('\n');
}

/** Everything, into empty tables. */
export function iptablesRules(services: readonly BenchService[], podCidr: string): string {
  return filterTable(filterJumps) + natTable(services, podCidr);
}

/** For iptables-restore --noflush: chains that are named are emptied first. */
export function iptablesChange(services: readonly BenchService[], changed: BenchService, podCidr: string): string {
  return filterTable('') + natTable(services, podCidr, changed);
}
