/** Frames as a network card brings them, which are no packets of the stack yet: made in the LAN at node A's cable, counted where they come back. */
import { join } from 'node:path';
import {
  inNetworkNamespace,
  type LoadedObject,
  loadObject,
  setDeviceFeature,
  testRun,
} from '../../packages/kernel/src/index.ts';
import { eth, ip, udp } from '../../test/packet/frame.ts';
import type { Topology } from '../services/topology.ts';
import { type Flooded, flows, received } from './flood.ts';
import { linkOf } from './node.ts';
import { untilNoSignal } from './test-run.ts';

const object = join(import.meta.dirname, '../../build/bench/frames.bpf.o');
const client = '192.168.77.3';
const cable = 'p-node-a';
const batch = 64;
/** A call that a signal breaks off loses no more than these. */
const frames = 20_000;

function rodata(ifindex: number, frame: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(8 + 60);
  bytes.writeUInt32LE(ifindex, 0);
  bytes.writeUInt32LE(flows, 4);
  bytes.set(frame, 8);
  return bytes;
}

export class FrameFlood {
  readonly #topology: Topology;
  readonly #object: LoadedObject;

  constructor(topology: Topology, host: string, port: number) {
    this.#topology = topology;
    // Without a program of its own the cable's end takes frames when it has GRO.
    setDeviceFeature('eth0', 'rx-gro', true, topology.namespace('node-a'));
    const frame = Buffer.from(eth(ip(client, host, udp(20_000, port, 'x'.repeat(18)))));
    frame.set(Buffer.from(linkOf(topology, 'node-a', 'eth0').address.replaceAll(':', ''), 'hex'));
    // Of all the flows: without a checksum.
    frame.writeUInt16BE(0, 40);
    const { ifindex } = linkOf(topology, 'lan', cable);
    this.#object = loadObject({ path: object, rodata: rodata(ifindex, frame) });
  }

  /** @throws when nothing arrives */
  measure(seconds: number): Flooded {
    const before = received(this.#topology, 'lan', cable);
    // The cable's end counts what comes back, and the switch goes no further with it.
    this.#topology.inside('lan', `bridge link set dev ${cable} state 0`);
    const { sent, time } = this.#send(seconds);
    const arrived = received(this.#topology, 'lan', cable) - before;
    this.#topology.inside('lan', `bridge link set dev ${cable} state 3`);
    if (arrived < sent / 1000) throw new Error(`${arrived} of ${sent} frames came back from node A`);
    return { sent: sent / time, arrived: arrived / time };
  }

  #send(seconds: number): { readonly sent: number; readonly time: number } {
    const program = this.#object.programs.get('send_frame');
    if (program === undefined) throw new Error(`${object} has no program send_frame`);
    const call = { data: new Uint8Array(60), repeat: frames, liveFrames: batch };
    const begin = process.hrtime.bigint();
    const took = (): number => Number(process.hrtime.bigint() - begin) / 1e9;
    let sent = 0;
    inNetworkNamespace(this.#topology.namespace('lan'), () => {
      for (; took() < seconds; sent += frames) untilNoSignal(() => testRun(program.fd, call));
    });
    return { sent, time: took() };
  }

  close(): void {
    this.#object.close();
  }
}
