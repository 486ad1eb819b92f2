/** What is measured, each as the command that runs one client. */
import { join } from 'node:path';
import type { Addresses } from './cluster.ts';
import type { Plain } from './plain.ts';

export const modes = ['rr', 'crr', 'stream'] as const;
export type Mode = (typeof modes)[number];

/** Connections at once; crr has one after the other. */
export const connections: Readonly<Record<Mode, number>> = { rr: 8, crr: 1, stream: 1 };

export interface Scenario {
  readonly name: string;
  /** The scenario its numbers are divided by. */
  readonly against: string;
  /** The argv of `load client MODE HOST PORT …` at the right place. */
  readonly command: (load: string, mode: Mode, seconds: number) => readonly string[];
}

interface Place {
  readonly name: string;
  readonly against: string;
  readonly host: string;
  readonly port: number;
  readonly at: (argv: readonly string[]) => readonly string[];
}

export interface Sides {
  readonly plain: Plain;
  readonly vxlan: Addresses;
  readonly native: Addresses;
  readonly port: number;
}

function inSandbox(routing: string, target: string) {
  const command = join(import.meta.dirname, '../../ciliate');
  return (argv: readonly string[]) => [command, 'sandbox', 'exec', '--name', `bench-${routing}`, target, '--', ...argv];
}

export function scenariosOf({ plain, vxlan, native, port }: Sides): readonly Scenario[] {
  const pod = inSandbox('vxlan', 'pod/default/client');
  const nativePod = inSandbox('native', 'pod/default/client');
  const outside = inSandbox('vxlan', 'outside');
  const same = 'plain same node';
  const other = 'plain other node';
  const client = (argv: readonly string[]) => plain.client(argv);
  const places: readonly Place[] = [
    { name: same, against: same, host: plain.sameNode, port, at: client },
    { name: 'pod same node', against: same, host: vxlan.sameNode, port, at: pod },
    { name: 'ClusterIP same node', against: same, host: vxlan.clusterIp, port, at: pod },
    { name: other, against: other, host: plain.otherNode, port, at: client },
    { name: 'pod other node vxlan', against: other, host: vxlan.otherNode, port, at: pod },
    { name: 'pod other node native', against: other, host: native.otherNode, port, at: nativePod },
    { name: 'NodePort local backend', against: other, host: vxlan.node, port: vxlan.localNodePort, at: outside },
    { name: 'NodePort remote backend', against: other, host: vxlan.node, port: vxlan.remoteNodePort, at: outside },
  ];
  return places.map(({ name, against, host, port, at }) => ({
    name,
    against,
    command: (load, mode, seconds) =>
      at([load, 'client', mode, host, String(port), String(seconds), String(connections[mode])]),
  }));
}
