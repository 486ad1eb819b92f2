/** Packets to a NodePort with a remote endpoint: through tc and through XDP, one at a time in the program and as a flood. */
import { type Ratio, ratioOf, ratioText } from '../lib/ratio.ts';
import type { BenchOptions, Chart, Section } from '../lib/section.ts';
import { median, spread } from '../lib/statistics.ts';
import { Topology } from '../services/topology.ts';
import { Flood, type Flooded } from './flood.ts';
import { backendIp, FloodNode, nodePort, sinkPort, takeXdp, xdpIsBuilt } from './node.ts';
import { type ProgramTime, programTimes } from './test-run.ts';

type Way = 'plain' | 'tc' | 'xdp';

interface Peer {
  readonly name: Way;
  readonly flood: Flood;
  readonly host: string;
  readonly port: number;
  down(): Promise<void>;
}

function startPlain(program: string): Peer {
  const topology = new Topology('flood-plain');
  topology.up();
  takeXdp(topology);
  topology.plainNodeA();
  const flood = new Flood(topology, program);
  const down = async (): Promise<void> => {
    flood.close();
    topology.down();
  };
  return { name: 'plain', flood, host: backendIp, port: sinkPort, down };
}

/** With the times of its programs, measured before packets come. */
async function startOurs(
  name: 'tc' | 'xdp',
  { tools, quick }: BenchOptions,
): Promise<Peer & { times: readonly ProgramTime[] }> {
  const node = new FloodNode(name);
  try {
    await node.up();
    const flood = new Flood(node.topology, tools.flood);
    const down = async (): Promise<void> => {
      flood.close();
      await node.down();
    };
    // The way to node B is known to the kernel from the first packets on.
    await flood.measure(node.nodeIp, nodePort, 0.2);
    return { name, flood, host: node.nodeIp, port: nodePort, down, times: programTimes(node, name, quick) };
  } catch (error) {
    await node.down();
    throw error;
  }
}

type Rates = ReadonlyMap<Way, readonly Flooded[]>;

/** Forwards and backwards within each round; the two are averaged. */
async function measureFlood(peers: readonly Peer[], { rounds, quick, progress }: BenchOptions): Promise<Rates> {
  const rates = new Map<Way, Flooded[]>();
  const seconds = quick ? 0.3 : 1;
  for (let round = 0; round < rounds; round += 1) {
    const pieces = new Map<Way, Flooded[]>();
    for (const peer of [...peers, ...peers.toReversed()]) {
      const piece = await peer.flood.measure(peer.host, peer.port, seconds);
      pieces.set(peer.name, [...(pieces.get(peer.name) ?? []), piece]);
    }
    for (const [name, both] of pieces) {
      const middle = (of: keyof Flooded) => median(both.map(piece => piece[of]));
      rates.set(name, [...(rates.get(name) ?? []), { sent: middle('sent'), arrived: middle('arrived') }]);
    }
    progress(`flood: round ${round + 1}/${rounds}`);
  }
  return rates;
}

const arrivedOf = (rates: Rates, name: Way): readonly number[] => (rates.get(name) ?? []).map(one => one.arrived);
const against = (rates: Rates, name: Way, other: Way): Ratio =>
  ratioOf(arrivedOf(rates, name), arrivedOf(rates, other));

function textOf(rates: Rates, times: readonly ProgramTime[], isXdpMissing: boolean): readonly string[] {
  const floodRows = [...rates.keys()].map(name => {
    const arrived = arrivedOf(rates, name);
    const sent = median((rates.get(name) ?? []).map(one => one.sent));
    const percent = `${(spread(arrived) * 100).toFixed(0)} %`;
    const cells = [name, (median(arrived) / 1000).toFixed(0), percent, (sent / 1000).toFixed(0)];
    return `| ${[...cells, ratioText(against(rates, name, 'plain'), 2), ratioText(against(rates, name, 'tc'), 2)].join(' | ')} |`;
  });
  const timeRows = times.map(one => {
    const million = (1000 / one.nanoseconds).toFixed(2);
    return `| ${[one.program, one.packet, one.way, one.nanoseconds.toFixed(0), million, one.verdict].join(' | ')} |`;
  });
  return [
    'A client outside, node A with a UDP NodePort, and its one endpoint behind node B. plain: the endpoint’s own address, routed by node A.',
    ...(isXdpMissing ? ['XDP is not there: build/bpf/xdp.bpf.o is not part of this build.'] : []),
    '',
    'Flood: 60-byte frames from 64 sockets on one CPU, counted at the endpoint’s device; veth carries them through sender, bridge and both nodes.',
    'A veth has to make frames of the stack’s packets before XDP sees them, which a network card does not: what XDP saves there is in the times below.',
    '',
    '| way | arrived, k/s | spread | sent, k/s | × plain | × tc |',
    '|---|--:|--:|--:|--:|--:|',
    ...floodRows,
    '',
    'One packet in the program, BPF_PROG_TEST_RUN on what the agent has loaded. A repeated run gives the program its own result again, so only what it',
    'leaves unchanged can be repeated; single runs include the reading of the clock, alike in all of them.',
    '',
    '| program | packet | runs | ns | million/s | verdict |',
    '|---|---|---|--:|--:|--:|',
    ...timeRows,
    '',
  ];
}

function chartOf(rates: Rates): Chart {
  return {
    title: 'Flood to a NodePort with a remote endpoint',
    unit: 'packets per second, more is better',
    series: ['arrived'],
    groups: [...rates.keys()].map(name => ({ name, values: [median(arrivedOf(rates, name))] })),
  };
}

export const xdpSection: Section = {
  name: 'xdp',
  title: 'XDP against tc',
  measure: async options => {
    const ways = xdpIsBuilt() ? (['tc', 'xdp'] as const) : (['tc'] as const);
    const peers: Peer[] = [];
    const times: ProgramTime[] = [];
    try {
      peers.push(startPlain(options.tools.flood));
      for (const way of ways) {
        options.progress(`flood: ${way}`);
        const peer = await startOurs(way, options);
        peers.push(peer);
        times.push(...peer.times);
      }
      const rates = await measureFlood(peers, options);
      const data = { rates: Object.fromEntries(rates), times };
      return { text: textOf(rates, times, !xdpIsBuilt()), targets: [], data, charts: [chartOf(rates)] };
    } finally {
      for (const peer of peers) await peer.down();
    }
  },
};
