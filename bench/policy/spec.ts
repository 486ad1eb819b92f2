/** The policies of one measurement, the same for us and for the rule sets of controllers: one that selects the server, with N ingress rules. */
import { serverPorts } from '../services/spec.ts';

export const [allowedPort, deniedPort] = serverPorts;

/** One ingress rule: TCP from an address block that nobody has, or from the client. */
export interface BenchRule {
  /** Absent: pods with the label app=client. */
  readonly cidr?: string;
  readonly port: number;
}

export interface BenchPod {
  readonly name: string;
  readonly ip: string;
  /** Its device on the node's side. */
  readonly device: string;
}

/** Pods of the peers that plain routing wires. */
export const pods = {
  client: { name: 'client', ip: '10.1.1.2', device: 'v-client' },
  server: { name: 'server-a', ip: '10.1.1.3', device: 'v-server-a' },
} as const satisfies Record<string, BenchPod>;

const blockOf = (n: number): string => `198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}/32`;

/** The last one lets the client in. */
export function benchRules(count: number): readonly BenchRule[] {
  return Array.from({ length: count }, (_, n) =>
    n === count - 1 ? { port: allowedPort } : { cidr: blockOf(n), port: 1024 + (n % 8000) },
  );
}

/** As networking.k8s.io/v1. */
export function policyObject(rules: readonly BenchRule[]): object {
  const ingress = rules.map(({ cidr, port }) => ({
    from: [cidr === undefined ? { podSelector: { matchLabels: { app: 'client' } } } : { ipBlock: { cidr } }],
    ports: [{ protocol: 'TCP', port }],
  }));
  return {
    metadata: { name: 'bench', namespace: 'default', uid: 'bench' },
    spec: { podSelector: { matchLabels: { app: 'server-a' } }, policyTypes: ['Ingress'], ingress },
  };
}
