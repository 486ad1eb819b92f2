/**
 * What kube-proxy writes in nftables mode since 1.36, as input of `nft -f`: verdict maps from addresses and ports to a chain for each service,
 * whose one rule takes a random endpoint from a map. (Up to 1.35 each endpoint had a chain of its own, with one jump more for a packet.)
 */
import { digest } from './chain-names.ts';
import { type BenchService, servicePort } from './spec.ts';

const suffix = ({ name }: BenchService): string => `${digest(`${name}nft`, 8)}-default/${name}/tcp/main`;
const svc = (service: BenchService): string => `service-${suffix(service)}`;
const ext = (service: BenchService): string => `external-${suffix(service)}`;

/** The NodePort address is the node's primary one, kube-proxy's default in this mode. */
const head = (nodeIp: string, podCidr: string, serviceCidr: string): string => `table ip kube-proxy {
  comment "rules for kube-proxy"
  set cluster-ips { type ipv4_addr; }
  set nodeport-ips { type ipv4_addr; elements = { ${nodeIp} }; }
  set hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain reject-chain {
    reject
  }
  chain masquerading {
    mark and 0x4000 != 0 mark set mark xor 0x4000 masquerade fully-random
    ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
  }
  chain services {
    ip daddr @cluster-ips ip saddr != ${podCidr} mark set mark or 0x4000
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain service-endpoints-check {
    ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }
  chain nodeport-endpoints-check {
    ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }
  chain cluster-ips-check {
    ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
    ip daddr { ${serviceCidr} } drop comment "Drop traffic to unallocated ClusterIPs"
  }
  chain firewall-check {
    ip daddr . meta l4proto . th dport vmap @firewall-ips
  }
  chain filter-prerouting-pre-dnat {
    type filter hook prerouting priority -110
    ct state new jump firewall-check
  }
  chain filter-output-pre-dnat {
    type filter hook output priority -110
    ct state new jump firewall-check
  }
  chain filter-input {
    type filter hook input priority 0
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority 0
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority 0
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting {
    type nat hook prerouting priority -100
    jump services
  }
  chain nat-output {
    type nat hook output priority -100
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority 100
    jump masquerading
  }
}
`;

function choice(service: BenchService): string {
  const targets = service.endpoints.map(({ ip, port }, i) => `${i} : ${ip} . ${port}`).join(', ');
  const random = `numgen random mod ${service.endpoints.length} map { ${targets} }`;
  return `add rule ip kube-proxy ${svc(service)} meta l4proto tcp dnat ip addr . port to ${random}`;
}

function chainsOf(service: BenchService): string[] {
  const names = [svc(service), ...(service.nodePort === undefined ? [] : [ext(service)])];
  return names.map(name => `add chain ip kube-proxy ${name}`);
}

function rulesOf(service: BenchService): string[] {
  const external = [
    `add rule ip kube-proxy ${ext(service)} mark set mark or 0x4000`,
    `add rule ip kube-proxy ${ext(service)} goto ${svc(service)}`,
  ];
  return [choice(service), ...(service.nodePort === undefined ? [] : external)];
}

const elements = (set: string, all: readonly string[]): string[] =>
  all.length === 0 ? [] : [`add element ip kube-proxy ${set} { ${all.join(', ')} }`];

/** All of a kind in one command: nft takes less time for it than for one each. */
function elementsOf(services: readonly BenchService[]): string[] {
  const hairpins = services
    .filter(service => service.local)
    .flatMap(service => service.endpoints.map(({ ip, port }) => `${ip} . ${ip} . tcp . ${port}`));
  return [
    ...elements(
      'cluster-ips',
      services.map(service => service.clusterIp),
    ),
    ...elements(
      'service-ips',
      services.map(service => `${service.clusterIp} . tcp . ${servicePort} : goto ${svc(service)}`),
    ),
    ...elements(
      'service-nodeports',
      services
        .filter(service => service.nodePort !== undefined)
        .map(service => `tcp . ${service.nodePort} : goto ${ext(service)}`),
    ),
    ...elements('hairpin-connections', hairpins),
  ];
}

export interface NftablesPlace {
  readonly nodeIp: string;
  readonly podCidr: string;
  readonly serviceCidr: string;
}

/** Transactions to run one after the other: for 30,000 services six of them take less time than one. */
export function nftablesRules(services: readonly BenchService[], place: NftablesPlace): readonly string[] {
  const size = 5000;
  const batches = Array.from({ length: Math.ceil(services.length / size) }, (_, i) =>
    services.slice(i * size, (i + 1) * size),
  );
  const text = batches.map(batch =>
    [...batch.flatMap(chainsOf), ...batch.flatMap(rulesOf), ...elementsOf(batch), ''].join('\n'),
  );
  return [head(place.nodeIp, place.podCidr, place.serviceCidr), ...text];
}

/** The changed service's chain is emptied and written again; elements of sets stay, as they have not changed. */
export function nftablesChange(service: BenchService): string {
  return [
    `add chain ip kube-proxy ${svc(service)}`,
    `flush chain ip kube-proxy ${svc(service)}`,
    choice(service),
    '',
  ].join('\n');
}
