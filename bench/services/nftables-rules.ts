/** What kube-proxy 1.34 writes in nftables mode, as input of `nft -f`: verdict maps of addresses and ports, a chain for each endpoint. */
import { type BenchService, servicePort } from './spec.ts';

const svc = ({ name }: BenchService): string => `service-${name}`;
const ext = ({ name }: BenchService): string => `external-${name}`;
const endpoint = ({ name }: BenchService, i: number): string => `endpoint-${name}-${i}`;

const head = (nodeIp: string): string => `table ip kube-proxy {
  set cluster-ips { type ipv4_addr; }
  set nodeport-ips { type ipv4_addr; elements = { ${nodeIp} }; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain mark-for-masquerade {
    mark set mark or 0x4000
  }
  chain masquerading {
    mark and 0x4000 == 0 return
    mark set mark xor 0x4000
    masquerade fully-random
  }
  chain services {
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
    ip daddr @cluster-ips reject
  }
  chain firewall-check {
    ip daddr . meta l4proto . th dport vmap @firewall-ips
  }
  chain filter-prerouting {
    type filter hook prerouting priority -110
    ct state new jump firewall-check
  }
  chain filter-input {
    type filter hook input priority -110
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority -110
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority -110
    ct state new jump service-endpoints-check
    ct state new jump firewall-check
  }
  chain filter-output-post-dnat {
    type filter hook output priority -90
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

function endpointRules(service: BenchService): string[] {
  return service.endpoints.flatMap(({ ip, port }, i) => [
    `add rule ip kube-proxy ${endpoint(service, i)} ip saddr ${ip} jump mark-for-masquerade`,
    `add rule ip kube-proxy ${endpoint(service, i)} meta l4proto tcp dnat to ${ip}:${port}`,
  ]);
}

function choice(service: BenchService, podCidr: string): string[] {
  const targets = service.endpoints.map((_, i) => `${i} : goto ${endpoint(service, i)}`).join(', ');
  return [
    `add rule ip kube-proxy ${svc(service)} ip daddr ${service.clusterIp} tcp dport ${servicePort} ip saddr != ${podCidr} jump mark-for-masquerade`,
    `add rule ip kube-proxy ${svc(service)} numgen random mod ${service.endpoints.length} vmap { ${targets} }`,
  ];
}

function chainsOf(service: BenchService): string[] {
  const names = [
    svc(service),
    ...(service.nodePort === undefined ? [] : [ext(service)]),
    ...service.endpoints.map((_, i) => endpoint(service, i)),
  ];
  return names.map(name => `add chain ip kube-proxy ${name}`);
}

function rulesOf(service: BenchService, podCidr: string): string[] {
  const external =
    service.nodePort === undefined
      ? []
      : [
          `add rule ip kube-proxy ${ext(service)} jump mark-for-masquerade`,
          `add rule ip kube-proxy ${ext(service)} goto ${svc(service)}`,
        ];
  return [...endpointRules(service), ...choice(service, podCidr), ...external];
}

function elementsOf(service: BenchService): string[] {
  const { clusterIp, nodePort } = service;
  return [
    `add element ip kube-proxy cluster-ips { ${clusterIp} }`,
    `add element ip kube-proxy service-ips { ${clusterIp} . tcp . ${servicePort} : goto ${svc(service)} }`,
    ...(nodePort === undefined
      ? []
      : [`add element ip kube-proxy service-nodeports { tcp . ${nodePort} : goto ${ext(service)} }`]),
  ];
}

/** Transactions to run one after the other: one alone would be too large for netlink with many services. */
export function nftablesRules(services: readonly BenchService[], podCidr: string, nodeIp: string): readonly string[] {
  const size = 2000;
  const batches = Array.from({ length: Math.ceil(services.length / size) }, (_, i) =>
    services.slice(i * size, (i + 1) * size),
  );
  const text = batches.map(batch =>
    [
      ...batch.flatMap(chainsOf),
      ...batch.flatMap(service => rulesOf(service, podCidr)),
      ...batch.flatMap(elementsOf),
      '',
    ].join('\n'),
  );
  return [head(nodeIp), ...text];
}

/** One service's chains are emptied and written again. */
export function nftablesChange(service: BenchService, podCidr: string): string {
  const flush = [svc(service), ...service.endpoints.map((_, i) => endpoint(service, i))];
  return [
    ...flush.map(name => `flush chain ip kube-proxy ${name}`),
    ...endpointRules(service),
    ...choice(service, podCidr),
    '',
  ].join('\n');
}
