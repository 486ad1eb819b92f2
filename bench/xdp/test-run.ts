/** Time of one packet in a loaded program, by BPF_PROG_TEST_RUN in node A's namespace; programs and maps are the agent's own. */
import { closeFd, inNetworkNamespace, openPin, testRun } from '../../packages/kernel/src/index.ts';
import { eth, ip, udp } from '../../test/packet/frame.ts';
import { median } from '../lib/statistics.ts';
import { type FloodNode, nodePort } from './node.ts';

export interface ProgramTime {
  readonly program: string;
  readonly packet: string;
  /** 'repeated': runs of one packet, which the program must not change, a thousand a call. 'single': one packet a call. Medians of calls. */
  readonly way: 'repeated' | 'single';
  readonly nanoseconds: number;
  /** What the program said: TC_ACT_* or XDP_*. */
  readonly verdict: number;
}

const client = '192.168.77.3';
const quickCalls = 2000;
const calls = 20_000;
const repeat = 1000;

function skbContext(ifindex: number): Uint8Array {
  const context = Buffer.alloc(192);
  context.writeUInt32LE(ifindex, 40);
  return context;
}

/** struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex. */
function xdpContext(ifindex: number, length: number): Uint8Array {
  const context = Buffer.alloc(24);
  context.writeUInt32LE(length, 4);
  context.writeUInt32LE(ifindex, 12);
  return context;
}

/** A signal, that of a child that has ended for one, breaks off a call that repeats. */
export function untilNoSignal<Result>(call: () => Result): Result {
  for (let tries = 0; ; tries += 1) {
    try {
      return call();
    } catch (error) {
      if (tries === 10) throw error;
    }
  }
}

class ProgramClock {
  readonly #node: FloodNode;
  readonly #name: string;
  readonly #fd: number;
  readonly #link: ReturnType<FloodNode['device']>;

  constructor(node: FloodNode, name: string, pin: string) {
    this.#node = node;
    this.#name = name;
    this.#fd = openPin(pin);
    this.#link = node.device();
  }

  #run(sport: number, dport: number, repeat: number): { readonly verdict: number; readonly nanoseconds: number } {
    const data = eth(ip(client, this.#node.nodeIp, udp(sport, dport, 'x'.repeat(18))));
    data.set(Buffer.from(this.#link.address.replaceAll(':', ''), 'hex'));
    const { ifindex } = this.#link;
    const context = this.#name.startsWith('xdp') ? xdpContext(ifindex, data.length) : skbContext(ifindex);
    const { retval, duration } = untilNoSignal(() => testRun(this.#fd, { data, context, repeat }));
    return { verdict: retval | 0, nanoseconds: duration };
  }

  #calls(count: number, sport: (n: number) => number, dport: number, repeat = 1) {
    const results = Array.from({ length: count }, (_, n) => this.#run(sport(n), dport, repeat));
    return { verdict: results[0]?.verdict ?? 0, nanoseconds: median(results.map(result => result.nanoseconds)) };
  }

  times(quick: boolean): readonly ProgramTime[] {
    const program = this.#name;
    const count = quick ? quickCalls : calls;
    return inNetworkNamespace(this.#node.topology.namespace('node-a'), () => [
      { program, packet: 'for no service', way: 'repeated', ...this.#calls(count / 100, () => 5000, 7, repeat) },
      { program, packet: 'for no service', way: 'single', ...this.#calls(count, () => 5000, 7) },
      { program, packet: 'NodePort, known flow', way: 'single', ...this.#calls(count, () => 5001, nodePort) },
      { program, packet: 'NodePort, new flow', way: 'single', ...this.#calls(count, n => 10_000 + n, nodePort) },
    ]);
  }

  close(): void {
    closeFd(this.#fd);
  }
}

/** Of from_netdev, or of the XDP programs that the agent has loaded. */
export function programTimes(node: FloodNode, which: 'tc' | 'xdp', quick: boolean): readonly ProgramTime[] {
  const wanted = [...node.programs()].filter(([name]) =>
    which === 'tc' ? name === 'from_netdev' : name.startsWith('xdp'),
  );
  return wanted.flatMap(([name, pin]) => {
    const clock = new ProgramClock(node, name, pin);
    try {
      return clock.times(quick);
    } finally {
      clock.close();
    }
  });
}
