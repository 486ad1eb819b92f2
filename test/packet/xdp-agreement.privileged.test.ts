/**
 * The same random traffic through from_netdev alone, and through xdp_netdev and what it passes on; XDP comes and goes meanwhile, services change.
 * Every packet has the same fate in both, and in the end the maps hold the same.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LbServiceFlags, type MapSpec, mapSpecs } from '@ciliate/abi';
import { seededRandom } from '@ciliate/kernel';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { eth, type Packet } from './packet.ts';
import { packetText } from './packet-text.ts';
import { decapsulated, encapsulated, l4, partial, withoutChecksum } from './xdp-frames.ts';
import { type Family, macs, type Outcome, type Way, world, XdpWorld } from './xdp-world.ts';

const {
  LB_SVC_CLUSTER_IP,
  LB_SVC_EXT_LOCAL_SCOPE,
  LB_SVC_LOAD_BALANCER,
  LB_SVC_NODE_PORT,
  LB_SVC_ROUTABLE,
  LB_SVC_SOURCE_RANGE,
  LB_SVC_SOURCE_RANGE_DENY,
  LB_SVC_UNSERVED,
} = LbServiceFlags;
const steps = 3000;
const maglevSize = 251;

interface Flow {
  readonly family: Family;
  readonly device: 'eth0' | 'eth1';
  readonly proto: 6 | 17;
  readonly source: string;
  readonly target: string;
  readonly sport: number;
  readonly dport: number;
  /** Where it went last, as the backend sees it. */
  there?: { readonly from: string; readonly to: string; readonly sport: number; readonly dport: number };
}

const ports = {
  plain: 30_001,
  far: 30_002,
  local: 30_003,
  maglev: 30_004,
  closed: 30_005,
  ranged: 30_006,
  empty: 30_007,
  sticky: 30_008,
  ownOnly: 30_009,
  ownNone: 30_010,
  denied: 30_011,
};
const ofVip: readonly number[] = [ports.ranged, ports.sticky, ports.denied];
const portList = Object.values(ports);

/** Random only where chance does not choose the backend: one, or a table. */
function services(way: Way, family: Family, proto: 6 | 17, base: number): void {
  const [node, vip] = [world.node[family], world.vip[family]];
  const [remote, far, pod] = [world.remote[family], world.far[family], world.pod[family]];
  way.service(base + 1, node, ports.plain, [[remote, 8080]], { proto });
  way.service(base + 2, node, ports.far, [[far, 8080]], { proto });
  way.service(base + 3, node, ports.local, [[pod, 8080]], { proto });
  const table = Uint32Array.from({ length: maglevSize }, (_, i) => (base + 4) * 100 + ((i * 7) % 3));
  way.service(
    base + 4,
    node,
    ports.maglev,
    [remote, far, pod].map(one => [one, 8080] as const),
    { proto, maglev: table },
  );
  way.service(base + 5, node, ports.closed, [[remote, 8080]], { proto, flags: LB_SVC_CLUSTER_IP });
  const ranged = LB_SVC_LOAD_BALANCER | LB_SVC_ROUTABLE | LB_SVC_SOURCE_RANGE;
  way.service(base + 6, vip, ports.ranged, [[remote, 8080]], { proto, flags: ranged });
  const denied = ranged | LB_SVC_SOURCE_RANGE_DENY;
  way.service(base + 11, vip, ports.denied, [[remote, 8080]], { proto, flags: denied });
  for (const revNatId of [base + 6, base + 11]) {
    const [prefixlen, prefix] = family === 4 ? [32 + 96 + 24, '192.0.2.0'] : [32 + 48, '2001:db8::'];
    way.map(mapSpecs.lb_source_ranges).put({ prefixlen, revNatId, address: address(prefix) }, { present: 1 });
  }
  const own = LB_SVC_NODE_PORT | LB_SVC_ROUTABLE | LB_SVC_EXT_LOCAL_SCOPE;
  way.service(base + 9, node, ports.ownOnly, [[pod, 8080]], { proto, flags: own });
  way.service(base + 10, node, ports.ownNone, [], { proto, flags: own });
  way.service(base + 7, node, ports.empty, [], { proto });
  way.service(base + 8, vip, ports.sticky, [[remote, 8080]], {
    proto,
    flags: LB_SVC_LOAD_BALANCER | LB_SVC_ROUTABLE,
    affinity: 3600,
  });
  const unserved = { address: address(vip), dport: 0, backendSlot: 0, proto: 0, scope: 0 };
  const flags = LB_SVC_LOAD_BALANCER | LB_SVC_UNSERVED;
  way.map(mapSpecs.lb_services).put(unserved, { backendId: 0, count: 0, qcount: 0, revNatId: 0, flags });
}

/** Of the programs' clock, which is behind by up to a tick. */
const secondsNow = (): number => Number(process.hrtime.bigint()) / 1e9;
const tick = 0.03;
const nobody = new Int32Array(new SharedArrayBuffer(4));
/** Not near the end of a second, nor so near its beginning that the programs' clock may still be in the one before. */
function awaitMiddleOfSecond(): void {
  const passed = (secondsNow() - tick + 1) % 1;
  if (passed > 0.8 - tick) Atomics.wait(nobody, 0, 0, (1 - passed) * 1000 + 1);
}

class Traffic {
  readonly #both: XdpWorld;
  readonly #isOverlay: boolean;
  readonly #random: () => number;
  readonly #flows: Flow[] = [];
  #sport = 10_000;
  readonly seen = { xdp: 0, tc: 0, dropped: 0, answers: 0 };
  /** A second has ended between the two ways of a packet: what is renewed once a second need not be equal. */
  isTorn = false;

  constructor(both: XdpWorld, isOverlay: boolean, random: () => number) {
    this.#both = both;
    this.#isOverlay = isOverlay;
    this.#random = random;
  }

  #pick<T>(list: readonly T[]): T {
    const found = list[Math.floor(this.#random() * list.length)];
    assert.ok(found !== undefined);
    return found;
  }

  step(): void {
    const what = this.#random();
    if (this.#flows.length === 0 || what < 0.3) this.#send(this.#newFlow(), true);
    else if (what < 0.6) this.#send(this.#pick(this.#flows), false);
    else if (what < 0.95) this.#answer(this.#pick(this.#flows));
    else this.#change();
  }

  #newFlow(): Flow {
    this.#sport += 1;
    const family = this.#pick([4, 6] as const);
    const device = this.#pick(['eth0', 'eth0', 'eth1'] as const);
    const dport = this.#pick([...portList, 443]);
    const isVip = ofVip.includes(dport) || (dport === 443 && this.#random() < 0.5);
    const flow: Flow = {
      family,
      device,
      proto: this.#pick([6, 17] as const),
      source: device === 'eth0' ? world.client[family] : world.far[family],
      target: isVip ? world.vip[family] : world.node[family],
      sport: this.#sport,
      dport,
    };
    this.#flows.push(flow);
    if (this.#flows.length > 60) this.#flows.shift();
    return flow;
  }

  #segment(packet: Packet, proto: 6 | 17, sport: number, dport: number, begins: boolean): Buffer {
    const payload = 'x'.repeat(Math.floor(this.#random() ** 3 * 1700));
    if (proto === 17) return packet.udp(sport, dport, payload).build();
    const flags = begins ? 'SYN' : this.#pick(['ACK', 'ACK', 'ACK', 'PSH,ACK', 'FIN,ACK', 'RST', 'SYN']);
    return packet.tcp(sport, dport, flags, payload).build();
  }

  #ttl(): number {
    return this.#random() < 0.05 ? 1 : 2 + Math.floor(this.#random() * 62);
  }

  #send(flow: Flow, begins: boolean): void {
    const mac = flow.device === 'eth0' ? macs.eth0 : macs.eth1;
    const packet = eth(macs.router, mac).ip(flow.source, flow.target, { ttl: this.#ttl() });
    const frame = this.#segment(packet, flow.proto, flow.sport, flow.dport, begins);
    const sent = this.#receive(frame, flow.device);
    if (sent.verdict !== 'sent') return;
    const inner = sent.inner;
    const isV4 = inner.readUInt16BE(12) === 0x0800;
    const lines = /ipv. (\S+) > (\S+) /.exec(packetText(inner));
    const at = isV4 ? 34 : 54;
    const [from = '', to = ''] = lines?.slice(1) ?? [];
    flow.there = { from, to, sport: inner.readUInt16BE(at), dport: inner.readUInt16BE(at + 2) };
  }

  /** The backend answers; those of other nodes through the overlay, if there is one. */
  #answer(flow: Flow): void {
    const { there, family } = flow;
    if (there === undefined || there.to === world.pod[family]) return;
    const device = there.to === world.far[family] ? 'eth1' : 'eth0';
    const packet = eth(macs.peer, device === 'eth0' ? macs.eth0 : macs.eth1).ip(there.to, there.from, {
      ttl: this.#ttl(),
    });
    const frame = this.#segment(packet, flow.proto, there.dport, there.sport, false);
    this.seen.answers += 1;
    this.#receive(frame, device, this.#isOverlay && there.to === world.remote[family]);
  }

  /** Both ways, within one second of the kernel's clock: a packet prolongs the other half of its flow when a second has passed. */
  #receive(frame: Buffer, device: 'eth0' | 'eth1', inOverlay = false): Outcome & { readonly inner: Buffer } {
    awaitMiddleOfSecond();
    const second = Math.floor(secondsNow());
    try {
      return this.#receiveBoth(frame, device, inOverlay);
    } finally {
      if (Math.floor(secondsNow()) !== second) this.isTorn = true;
    }
  }

  /** That in the overlay tc gets without it, as from_overlay does. */
  #receiveBoth(frame: Buffer, device: 'eth0' | 'eth1', inOverlay: boolean): Outcome & { readonly inner: Buffer } {
    const plain = this.#variant(frame);
    const tc = this.#both.tc.receive(plain, device);
    const skip = this.#random() < 0.2;
    const forXdp = this.#random() < 0.5 && plain === frame ? partial(frame) : plain;
    const first = inOverlay && !skip ? this.#both.xdp.receive(encapsulated(forXdp), device) : undefined;
    // What it leaves of the overlay the stack takes out of it; a checksum that is not complete is complete for a test run of tc.
    const xdp = first?.by === 'xdp' ? first : this.#receivePlain(plain, forXdp, device, skip || inOverlay);
    this.seen[xdp.by] += 1;
    if (xdp.verdict === 'dropped') this.seen.dropped += 1;
    assert.deepEqual([xdp.verdict, xdp.dropped], [tc.verdict, tc.dropped], packetText(plain));
    const grown = xdp.by === 'xdp' && xdp.verdict === 'sent' && xdp.frame.length > forXdp.length && !inOverlay;
    const inner = grown ? decapsulated(xdp.frame) : xdp.frame;
    if (xdp.verdict !== 'dropped') assert.equal(packetText(inner), packetText(tc.frame), packetText(plain));
    return { ...xdp, inner };
  }

  #receivePlain(plain: Buffer, forXdp: Buffer, device: 'eth0' | 'eth1', skip: boolean): Outcome {
    if (skip) return this.#both.xdp.receive(plain, device, true);
    const first = this.#both.xdp.onlyXdp(forXdp, device);
    return first ?? this.#both.xdp.receive(plain, device, true);
  }

  #variant(frame: Buffer): Buffer {
    const isUdp4 = frame.readUInt16BE(12) === 0x0800 && l4(frame).proto === 17;
    return isUdp4 && this.#random() < 0.2 ? withoutChecksum(frame) : frame;
  }

  /** Endpoints terminate and come back, services go and come back. */
  #change(): void {
    const [what, family, proto] = [this.#random(), this.#pick([4, 6] as const), this.#pick([6, 17] as const)];
    const base = baseOf(family, proto);
    const which = this.#pick([1, 2, 4]);
    for (const way of this.#both.ways) {
      if (what < 0.4) {
        services(way, family, proto, base);
        continue;
      }
      const id = (base + which) * 100;
      const backend = way.map(mapSpecs.lb_backends).lookup(id);
      if (backend === undefined) continue;
      if (what < 0.7) way.map(mapSpecs.lb_backends).put(id, { ...backend, flags: backend.flags ^ 16 });
      else way.map(mapSpecs.lb_backends).remove(id);
    }
  }
}

const baseOf = (family: Family, proto: 6 | 17): number => (family === 4 ? 0 : 20) + (proto === 6 ? 0 : 40);

/** Entries without the times of their making and ending, in one order; `isTorn`: nor what is renewed once a second. */
function content<K, V extends object>(way: Way, spec: MapSpec<K, V>, isTorn: boolean): readonly string[] {
  const times = { expires: 0, created: 0, lastUsed: 0 };
  const timeless = (value: V): object => ({
    ...value,
    ...times,
    ...(isTorn ? { packets: 0, bytes: 0, flags: 0 } : {}),
  });
  const text = (value: unknown): string =>
    JSON.stringify(value, (_, one) =>
      typeof one === 'bigint' ? String(one) : one instanceof Uint8Array ? Buffer.from(one).toString('hex') : one,
    );
  return [...way.map(spec).entries()].map(([key, value]) => `${text(key)} ${text(timeless(value))}`).toSorted();
}

describe('XDP and tc agree', privileged('bpf'), () => {
  for (const [routing, routingMode] of [
    ['native routing', 0],
    ['overlay', 1],
  ] as const) {
    for (const seed of [1, Number(process.env.SEED ?? Date.now() % 1_000_000)]) {
      test(`${routing}, seed ${seed}`, t => {
        const both = new XdpWorld({ routingMode, maglevSize, flags: 0x3f | 16384 });
        try {
          for (const way of both.ways)
            for (const family of [4, 6] as const)
              for (const proto of [6, 17] as const) services(way, family, proto, baseOf(family, proto));
          const traffic = new Traffic(both, routingMode === 1, seededRandom(seed));
          for (let step = 0; step < steps; step += 1) traffic.step();
          t.diagnostic(JSON.stringify({ ...traffic.seen, isTorn: traffic.isTorn }));
          assert.ok(traffic.seen.xdp > steps / 5 && traffic.seen.tc > steps / 5 && traffic.seen.dropped > 20);
          const maps = (way: Way) => ({
            ct: content(way, mapSpecs.ct, traffic.isTorn),
            nat: content(way, mapSpecs.nat, traffic.isTorn),
            affinity: content(way, mapSpecs.lb_affinity, traffic.isTorn),
            state: content(way, mapSpecs.datapath_state, traffic.isTorn),
          });
          assert.deepEqual(maps(both.xdp), maps(both.tc));
        } finally {
          both.close();
        }
      });
    }
  }
});
