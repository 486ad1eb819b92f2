/** Packets that are cut off, lie about themselves or are none: xdp_netdev leaves them as they are, or does what from_netdev does. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { seededRandom } from '@ciliate/kernel';
import { privileged } from '../lib/privileged.ts';
import { eth, type Packet } from './packet.ts';
import { packetText } from './packet-text.ts';
import { decapsulated, encapsulated, l4, partial, withoutChecksum } from './xdp-frames.ts';
import { type Family, macs, type Outcome, world, XdpWorld } from './xdp-world.ts';

const ports = { tcp: 30_001, udp: 30_002 } as const;
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
const routings = [
  ['native routing', 0],
  ['overlay', 1],
] as const;

/** With bytes put in behind `at`; lengths and checksums stay as they were. */
const inserted = (frame: Buffer, at: number, bytes: readonly number[]): Buffer =>
  Buffer.concat([frame.subarray(0, at), Buffer.from(bytes), frame.subarray(at)]);
function withByte(frame: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(frame);
  copy[at] = value;
  return copy;
}
function withWord(frame: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(frame);
  copy.writeUInt16BE(value & 0xffff, at);
  return copy;
}

type Change = (frame: Buffer) => Buffer;
/** Not XDP's, whoever gets it next. */
const passedOn: Readonly<Record<string, readonly (readonly [string, Change])[]>> = {
  both: [
    ['in a VLAN', frame => inserted(frame, 12, [0x81, 0, 0, 5])],
    ['in two VLANs', frame => inserted(frame, 12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 5])],
    ['of another EtherType', frame => withWord(frame, 12, 0x0806)],
    ['of the other version', frame => withByte(frame, 14, (frame[14] ?? 0) ^ 0x20)],
  ],
  4: [
    ['with options', frame => withByte(inserted(frame, 34, [1, 1, 1, 1]), 14, 0x46)],
    ['with a header that is too short', frame => withByte(frame, 14, 0x44)],
    ['shorter than its header', frame => withWord(frame, 16, 19)],
    ['without room for ports', frame => withWord(frame, 16, 22)],
    ['that is a first fragment', frame => withWord(frame, 20, 0x2000)],
    ['that is a later fragment', frame => withWord(frame, 20, 0x2001)],
    ['that is the last fragment', frame => withWord(frame, 20, 0x00b9)],
    ['with no hop left', frame => withByte(frame, 22, 0)],
    ['of another protocol', frame => withByte(frame, 23, 132)],
  ],
  6: [
    ['with hop-by-hop options', frame => withByte(inserted(frame, 54, [6, 0, 1, 4, 0, 0, 0, 0]), 20, 0)],
    ['with destination options', frame => withByte(inserted(frame, 54, [6, 0, 1, 4, 0, 0, 0, 0]), 20, 60)],
    ['with a routing header', frame => withByte(inserted(frame, 54, [6, 0, 4, 0, 0, 0, 0, 0]), 20, 43)],
    ['that is a fragment', frame => withByte(inserted(frame, 54, [6, 0, 0, 1, 0, 0, 0, 9]), 20, 44)],
    ['without room for ports', frame => withWord(frame, 18, 2)],
    ['with no hop left', frame => withByte(frame, 21, 0)],
    ['of another protocol', frame => withByte(frame, 20, 132)],
  ],
};

/** The same as by tc. `at`: of the L4 header. */
const alike: readonly (readonly [string, (frame: Buffer, at: number) => Buffer])[] = [
  ['longer than it says', frame => Buffer.concat([frame, Buffer.alloc(30, 0xee)])],
  ['whose L4 checksum is wrong', (frame, at) => withWord(frame, at + (l4(frame).proto === 6 ? 16 : 6), 0x1234)],
  ['whose IPv4 checksum is wrong', (frame, at) => (at === 34 ? withWord(frame, 24, 0x1234) : frame)],
  ['that says it is longer', (frame, at) => withWord(frame, at === 34 ? 16 : 18, 1200)],
  ['whose TCP header says it is longer', (frame, at) => withByte(frame, at + 12, 0xf0)],
  ['whose TCP header says it is shorter', (frame, at) => withByte(frame, at + 12, 0x10)],
  [
    'whose UDP header lies about its length',
    (frame, at) => (l4(frame).proto === 17 ? withWord(frame, at + 4, 7) : frame),
  ],
  ['with all TCP flags', (frame, at) => withByte(frame, at + 13, 0xff)],
  ['with no TCP flag', (frame, at) => withByte(frame, at + 13, 0)],
  ['with every bit of its traffic class', frame => withByte(frame, 15, 0xff)],
  ['from port 0', (frame, at) => withWord(frame, at, 0)],
];

for (const [routing, routingMode] of routings) {
  for (const family of [4, 6] as const satisfies readonly Family[]) {
    describe(`XDP attacked, ${routing}, IPv${family}`, privileged('bpf'), () => {
      let both: XdpWorld;
      let sport = 20_000;
      before(() => {
        both = new XdpWorld({ routingMode, flags: 0x3f });
        for (const way of both.ways) {
          way.service(1, world.node[family], ports.tcp, [[world.remote[family], 8080]]);
          way.service(2, world.node[family], ports.udp, [[world.remote[family], 9000]], { proto: 17 });
        }
      });
      after(() => both?.close());

      const client = (from: string = world.client[family]): Packet =>
        eth(macs.router, macs.eth0).ip(from, world.node[family], { ttl: 64 });
      const request = (proto: 'tcp' | 'udp', payload = 'some payload', from?: string): Buffer => {
        sport = sport === 60_000 ? 20_000 : sport + 1;
        if (proto === 'udp') return client(from).udp(sport, ports.udp, payload).build();
        return client(from).tcp(sport, ports.tcp, 'SYN', payload).build();
      };
      const protocols = ['tcp', 'udp'] as const;
      /** Out of the overlay, where XDP has put it into that. */
      const sent = (outcome: Outcome, before: number): Buffer =>
        outcome.by === 'xdp' && outcome.frame.length > before ? decapsulated(outcome.frame) : outcome.frame;
      /** Where another client's flow has the port already, chance chooses. */
      const withoutPort = (frame: Buffer): string => packetText(frame).replace(/(tcp|udp) \d+ >/, '$1 ? >');
      /** By both ways: the same end. `text`: what has to be equal. */
      const agree = (frame: Buffer, text: (frame: Buffer) => string = packetText): Outcome => {
        const [tc, xdp] = [both.tc.receive(frame), both.xdp.receive(frame)];
        assert.deepEqual([xdp.verdict, xdp.dropped], [tc.verdict, tc.dropped], packetText(frame));
        if (xdp.verdict !== 'dropped') assert.equal(text(sent(xdp, frame.length)), text(tc.frame), packetText(frame));
        return xdp;
      };
      /** A request as the backend gets it, by both ways the same. */
      const delivered = (proto: 'tcp' | 'udp'): Buffer => {
        for (;;) {
          const frame = request(proto);
          const [tc, xdp] = [both.tc.receive(frame), both.xdp.receive(frame)];
          const there = sent(xdp, frame.length);
          if (packetText(there) === packetText(tc.frame)) return there;
          assert.equal(withoutPort(there), withoutPort(tc.frame));
        }
      };
      /** What the backend says to a request that has gone there. */
      const answer = (proto: 'tcp' | 'udp', payload = 'an answer'): Buffer => {
        const there = delivered(proto);
        const { at } = l4(there);
        const [source, target] = [there.readUInt16BE(at), there.readUInt16BE(at + 2)];
        const back = eth(macs.peer, macs.eth0).ip(world.remote[family], world.node[family]);
        return (proto === 'tcp' ? back.tcp(target, source, 'ACK', payload) : back.udp(target, source, payload)).build();
      };

      for (const [name, change] of [...(passedOn.both ?? []), ...(passedOn[family] ?? [])]) {
        test(`a packet ${name} is left as it came`, () => {
          for (const proto of protocols) {
            assert.equal(both.xdp.onlyXdp(change(request(proto)), 'eth0'), undefined, proto);
            assert.equal(both.xdp.onlyXdp(change(answer(proto)), 'eth0'), undefined, `${proto}, an answer`);
          }
        });
      }

      for (const [name, change] of alike) {
        test(`a packet ${name} has the same end by both`, () => {
          for (const proto of protocols) {
            const [there, back] = [request(proto), answer(proto)];
            agree(change(there, l4(there).at));
            agree(change(back, l4(back).at));
          }
        });
      }

      test('a wrong checksum stays wrong', () => {
        for (const proto of protocols) {
          const frame = request(proto);
          const outcome = agree(withWord(frame, l4(frame).check, 0x1234));
          assert.equal(outcome.by, 'xdp');
          assert.match(packetText(sent(outcome, frame.length)), new RegExp(`${proto} .*checksum BAD`));
        }
      });

      test('a datagram over IPv6 without a checksum, which must not be, has the same end by both', () => {
        agree(withoutChecksum(request('udp')));
      });

      test('a packet that is cut off anywhere has the same end by both', () => {
        for (const proto of protocols) {
          for (const frame of [request(proto), answer(proto)])
            for (let length = family === 4 ? 34 : 54; length < frame.length; length += 1)
              agree(frame.subarray(0, length));
        }
      });

      test('less than an IP header is left as it came', () => {
        const frame = request('tcp');
        for (let length = 14; length < (family === 4 ? 34 : 54); length += 1)
          assert.equal(both.xdp.onlyXdp(frame.subarray(0, length), 'eth0'), undefined);
      });

      test('a checksum left to the device, of a packet that says it is longer or shorter, is not completed out of what is not there', () => {
        for (const proto of protocols) {
          const frame = request(proto, 'z'.repeat(100));
          const at = family === 4 ? 16 : 18;
          const longer = partial(withWord(frame, at, frame.readUInt16BE(at) + 50));
          assert.equal(both.xdp.onlyXdp(longer, 'eth0'), undefined, 'longer');
          const shorter = partial(withWord(frame, at, frame.readUInt16BE(at) - 50));
          const outcome = both.xdp.receive(shorter);
          const whole = sent(outcome, shorter.length).subarray(0, frame.length - 50);
          assert.equal(outcome.by, 'xdp');
          assert.match(packetText(whole), new RegExp(`${proto} .* checksum good`));
        }
      });

      test('the largest packet that the way takes goes through XDP, one byte more does not', () => {
        const room = 1500 - (routingMode === 1 ? 50 : 0) - (family === 4 ? 20 : 40) - 20;
        assert.equal(agree(request('tcp', 'z'.repeat(room))).by, 'xdp');
        assert.equal(both.xdp.onlyXdp(request('tcp', 'z'.repeat(room + 1)), 'eth0'), undefined);
      });

      test('a way out whose MTU is smaller', () => {
        for (const way of both.ways) way.service(3, world.node[family], 30_003, [[world.far[family], 8080]]);
        both.run('for device in eth1 peer1; do ip link set $device mtu 1400; done');
        try {
          const frame = (size: number): Buffer => {
            sport += 1;
            return client().tcp(sport, 30_003, 'SYN', 'z'.repeat(size)).build();
          };
          const room = 1400 - (family === 4 ? 20 : 40) - 20;
          assert.equal(agree(frame(room)).by, 'xdp');
          assert.equal(both.xdp.onlyXdp(frame(room + 1), 'eth0'), undefined);
        } finally {
          both.run('for device in eth1 peer1; do ip link set $device mtu 1500; done');
        }
      });

      const senders: Readonly<Record<Family, readonly string[]>> = {
        4: [
          '0.0.0.0',
          '127.0.0.1',
          '224.0.0.1',
          '255.255.255.255',
          world.node[4],
          world.remote[4],
          world.pod[4],
          world.peer[4],
        ],
        6: ['::', '::1', 'ff02::1', 'fe80::1', world.node[6], world.remote[6], world.pod[6], world.peer[6]],
      };
      for (const from of senders[family]) {
        test(`a packet from ${from} has the same end by both`, () => {
          for (const proto of protocols) agree(request(proto, 'x', from));
        });
      }

      test(`changed at random, the same end by both (SEED=${seed})`, t => {
        const random = seededRandom(seed);
        const below = (limit: number): number => Math.floor(random() * limit);
        const seen = { xdp: 0, tc: 0 };
        for (let round = 0; round < 4000; round += 1) {
          const proto = protocols[below(2)] ?? 'tcp';
          let frame = random() < 0.6 ? request(proto, 'z'.repeat(below(40))) : answer(proto, 'z'.repeat(below(40)));
          // Not the MAC of the destination: tc trusts the kernel, which knows for whom a frame is, with it.
          for (let change = below(4); change > 0; change -= 1)
            frame = withByte(frame, 6 + below(frame.length - 6), random() < 0.5 ? below(256) : (below(2) * 255) | 0);
          if (random() < 0.1) frame = frame.subarray(0, Math.max(family === 4 ? 34 : 54, below(frame.length)));
          seen[agree(frame, withoutPort).by] += 1;
        }
        t.diagnostic(JSON.stringify(seen));
        assert.ok(seen.xdp > 800 && seen.tc > 400, JSON.stringify(seen));
      });

      if (routingMode === 1) {
        test(`the outer headers changed at random: the stack's, or out as it should be (SEED=${seed})`, t => {
          const random = seededRandom(seed);
          const below = (limit: number): number => Math.floor(random() * limit);
          let stack = 0;
          for (let round = 0; round < 1500; round += 1) {
            const inner = answer(protocols[below(2)] ?? 'tcp');
            const frame = encapsulated(inner);
            const expected = both.tc.receive(inner).frame;
            const changed = withByte(frame, below(50), below(256));
            const outcome = both.xdp.onlyXdp(changed, 'eth0');
            if (outcome === undefined) stack += 1;
            else assert.equal(packetText(outcome.frame), packetText(expected), packetText(changed));
          }
          t.diagnostic(`${stack} of 1500 were the stack's`);
        });

        test('an answer in the overlay that is cut off, or longer than what it came in, is the stack’s', () => {
          const frame = encapsulated(answer('tcp'));
          for (let length = 14; length < 50 + (family === 4 ? 54 : 74); length += 1)
            assert.equal(both.xdp.onlyXdp(frame.subarray(0, length), 'eth0'), undefined, `${length}`);
          const inner = answer('tcp');
          const at = family === 4 ? 16 : 18;
          assert.equal(
            both.xdp.onlyXdp(encapsulated(withWord(inner, at, inner.readUInt16BE(at) + 1)), 'eth0'),
            undefined,
          );
        });
      }
    });
  }
}
