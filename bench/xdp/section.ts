/** Packets to a NodePort with a remote endpoint: through tc and through XDP, one at a time in the program and as a flood. */
import { type Ratio, ratioOf, ratioText } from '../lib/ratio.ts';
import type { BenchOptions, Chart, Section } from '../lib/section.ts';
import { median, spread } from '../lib/statistics.ts';
import { Topology } from '../services/topology.ts';
import { Flood, type Flooded } from './flood.ts';
import { FrameFlood } from './frames.ts';
import { backendIp, FloodNode, nodePort, sinkPort, takeXdp, xdpIsBuilt } from './node.ts';
import { type ProgramTime, programTimes } from './test-run.ts';

type Way = 'plain' | 'tc' | 'xdp';

interface Peer {
  readonly name: Way;
  readonly flood: Flood;
  readonly frames: FrameFlood;
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
  const frames = new FrameFlood(topology, backendIp, sinkPort);
  const down = async (): Promise<void> => {
    flood.close();
    frames.close();
    topology.down();
  };
  return { name: 'plain', flood, frames, host: backendIp, port: sinkPort, down };
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
    const frames = new FrameFlood(node.topology, node.nodeIp, nodePort);
    const down = async (): Promise<void> => {
      flood.close();
      frames.close();
      await node.down();
    };
    // The way to node B is known to the kernel from the first packets on.
    await flood.measure(node.nodeIp, nodePort, 0.2);
    return { name, flood, frames, host: node.nodeIp, port: nodePort, down, times: programTimes(node, name, quick) };
  } catch (error) {
    await node.down();
    throw error;
  }
}

type Rates = ReadonlyMap<Way, readonly Flooded[]>;
interface Floods {
  readonly packets: Rates;
  readonly frames: Rates;
}

async function measureFloods(peers: readonly Peer[], { rounds, quick, progress }: BenchOptions): Promise<Floods> {
  const packets = new Map<Way, Flooded[]>();
  const frames = new Map<Way, Flooded[]>();
  const seconds = quick ? 0.3 : 1;
  for (let round = 0; round < rounds; round += 1) {
    await measureRound(peers, packets, peer => peer.flood.measure(peer.host, peer.port, seconds));
    await measureRound(peers, frames, async peer => peer.frames.measure(seconds));
    progress(`flood: round ${round + 1}/${rounds}`);
  }
  return { packets, frames };
}

/** Forwards and backwards; the two are averaged. */
async function measureRound(
  peers: readonly Peer[],
  rates: Map<Way, Flooded[]>,
  measure: (peer: Peer) => Promise<Flooded>,
): Promise<void> {
  const pieces = new Map<Way, Flooded[]>();
  for (const peer of [...peers, ...peers.toReversed()])
    pieces.set(peer.name, [...(pieces.get(peer.name) ?? []), await measure(peer)]);
  for (const [name, both] of pieces) {
    const middle = (of: keyof Flooded) => median(both.map(piece => piece[of]));
    rates.set(name, [...(rates.get(name) ?? []), { sent: middle('sent'), arrived: middle('arrived') }]);
  }
}

const arrivedOf = (rates: Rates, name: Way): readonly number[] => (rates.get(name) ?? []).map(one => one.arrived);
const against = (rates: Rates, name: Way, other: Way): Ratio =>
  ratioOf(arrivedOf(rates, name), arrivedOf(rates, other));

function tableOf(rates: Rates): readonly string[] {
  const rows = [...rates.keys()].map(name => {
    const arrived = arrivedOf(rates, name);
    const sent = median((rates.get(name) ?? []).map(one => one.sent));
    const percent = `${(spread(arrived) * 100).toFixed(0)} %`;
    const cells = [name, (median(arrived) / 1000).toFixed(0), percent, (sent / 1000).toFixed(0)];
    return `| ${[...cells, ratioText(against(rates, name, 'plain'), 2), ratioText(against(rates, name, 'tc'), 2)].join(' | ')} |`;
  });
  return ['| way | arrived, k/s | spread | sent, k/s | × plain | × tc |', '|---|--:|--:|--:|--:|--:|', ...rows, ''];
}

function textOf({ packets, frames }: Floods, times: readonly ProgramTime[], isXdpMissing: boolean): readonly string[] {
  const timeRows = times.map(one => {
    const million = (1000 / one.nanoseconds).toFixed(2);
    return `| ${[one.program, one.packet, one.way, one.nanoseconds.toFixed(0), million, one.verdict].join(' | ')} |`;
  });
  return [
    'A client outside, node A with a UDP NodePort, and its one endpoint behind node B. plain: the endpoint’s own address, routed by node A.',
    ...(isXdpMissing ? ['XDP is not there: build/bpf/xdp.bpf.o is not part of this build.'] : []),
    '',
    'Packets: 60 bytes from 64 sockets on one CPU, counted at the endpoint’s device; veth carries them through sender, bridge and both nodes.',
    'A veth has to make frames of the stack’s packets before XDP sees them, and copies each, which a network card does not.',
    '',
    ...tableOf(packets),
    'Frames: as a network card brings them, no packets of the stack yet (BPF_PROG_TEST_RUN with live frames); from node A’s cable through node A and',
    'back to the cable, where they are counted. The making of the frame, and of the packet that comes back, is in all of them.',
    '',
    ...tableOf(frames),
    'One packet in the program, BPF_PROG_TEST_RUN on what the agent has loaded. A repeated run gives the program its own result again, so only what it',
    'leaves unchanged can be repeated; single runs include the reading of the clock, alike in all of them.',
    '',
    '| program | packet | runs | ns | million/s | verdict |',
    '|---|---|---|--:|--:|--:|',
    ...timeRows,
    '',
  ];
}

function chartOf({ packets, frames }: Floods): Chart {
  return {
    title: 'Flood to a NodePort with a remote endpoint',
    unit: 'packets per second, more is better',
    series: ['packets of the stack', 'frames as from a card'],
    groups: [...packets.keys()].map(name => ({
      name,
      values: [median(arrivedOf(packets, name)), median(arrivedOf(frames, name))],
    })),
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
      const floods = await measureFloods(peers, options);
      const data = { packets: Object.fromEntries(floods.packets), frames: Object.fromEntries(floods.frames), times };
      return { text: textOf(floods, times, !xdpIsBuilt()), targets: [], data, charts: [chartOf(floods)] };
    } finally {
      for (const peer of peers) await peer.down();
    }
  },
};
