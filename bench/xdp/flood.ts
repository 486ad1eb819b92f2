/** Datagrams from outside as fast as one CPU sends them; counted where they arrive, on the device of the pod behind node B. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { run } from '../../test/lib/cluster.ts';
import type { Place, Topology } from '../services/topology.ts';
import { sinkPort } from './node.ts';

/** As many flows, so that the flow table is not one line of the cache. */
export const flows = 64;

export interface Flooded {
  /** Datagrams a second. */
  readonly sent: number;
  readonly arrived: number;
}

interface LinkStatistics {
  readonly stats64: { readonly rx: { readonly packets: number } };
}

/** Packets that have come in by a device. */
export function received(topology: Topology, place: Place, device: string): number {
  const words = ['ip', '-json', '-statistics', 'link', 'show', device];
  const [command = '', ...args] = topology.at(place, words);
  const [link]: readonly LinkStatistics[] = JSON.parse(spawnSync(command, args, { encoding: 'utf8' }).stdout);
  return link?.stats64.rx.packets ?? 0;
}

export class Flood {
  readonly #topology: Topology;
  readonly #program: string;
  readonly #sink: ChildProcess;

  constructor(topology: Topology, program: string) {
    this.#topology = topology;
    this.#program = program;
    const [command = '', ...args] = topology.at('server-b', [program, 'sink', String(sinkPort)]);
    this.#sink = spawn(command, args, { stdio: 'ignore' });
  }

  /** @throws when nothing arrives */
  async measure(host: string, port: number, seconds: number): Promise<Flooded> {
    const words = [this.#program, 'send', host, String(port), String(seconds), String(flows)];
    const [command = '', ...args] = this.#topology.at('outside', words);
    const before = received(this.#topology, 'server-b', 'eth0');
    const { code, stdout, stderr } = await run(command, args, { timeout: (seconds + 10) * 1000 });
    if (code !== 0) throw new Error(`flood: exit ${code}: ${stderr}`);
    const { sent, seconds: took }: { sent: number; seconds: number } = JSON.parse(stdout);
    const arrived = received(this.#topology, 'server-b', 'eth0') - before;
    if (arrived < sent / 1000) throw new Error(`flood to ${host}:${port}: ${arrived} of ${sent} datagrams arrived`);
    return { sent: sent / took, arrived: arrived / took };
  }

  close(): void {
    this.#sink.kill('SIGKILL');
  }
}
