/** The services of one measurement: the same for us and for the rule sets of kube-proxy. */

export interface BenchEndpoint {
  readonly ip: string;
  readonly port: number;
}

export interface BenchService {
  readonly name: string;
  readonly clusterIp: string;
  readonly nodePort: number | undefined;
  readonly endpoints: readonly BenchEndpoint[];
  /** The endpoints run on the node that is measured. */
  readonly local: boolean;
}

/** Room for all ClusterIPs. */
export const serviceCidr = '10.96.0.0/14';

export const servicePort = 80;
/** Ports of each server: the four endpoints of a measured service are four ports of one pod. */
export const serverPorts = [9100, 9101, 9102, 9103] as const;
/** NodePorts there are (30000-32767), less some. */
const nodePorts = 2500;

const octets = (base: string, n: number): string => `${base}.${(n >> 8) & 255}.${n & 255}`;

const clusterIp = (n: number): string => octets(`10.${96 + (n >> 16)}`, n & 0xffff);

function filler(n: number, count: number): BenchService {
  const endpoints = [0, 1, 2, 3].map(i => ({
    ip: octets(`10.${200 + ((n * 4 + i) >> 16)}`, (n * 4 + i) & 0xffff),
    port: 8080,
  }));
  const nodePort = n >= count - nodePorts ? 30_000 + (n % nodePorts) : undefined;
  return { name: `bench-${n}`, clusterIp: clusterIp(n + 256), nodePort, endpoints, local: false };
}

export interface MeasuredServices {
  readonly all: readonly BenchService[];
  /** The last but one and the last: what is measured. */
  readonly local: BenchService;
  readonly remote: BenchService;
}

/** `count` services of four endpoints; `localIp` and `remoteIp` are the pods behind the two measured ones. */
export function benchServices(count: number, localIp: string, remoteIp: string): MeasuredServices {
  const fillers = Array.from({ length: count - 2 }, (_, n) => filler(n, count));
  const measured = (name: 'local' | 'remote', n: number, ip: string): BenchService => ({
    name,
    local: name === 'local',
    clusterIp: clusterIp(n + 256),
    nodePort: 32_700 + (n - count + 2),
    endpoints: serverPorts.map(port => ({ ip, port })),
  });
  const local = measured('local', count - 2, localIp);
  const remote = measured('remote', count - 1, remoteIp);
  return { all: [...fillers, local, remote], local, remote };
}
