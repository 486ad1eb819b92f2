/** xdp_netdev beside from_netdev: what it sends is what tc sends, what it passes on is as it came; both families, native and in the overlay. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  ConfigFlags,
  CtDirection,
  EventType,
  LbServiceFlags,
  MetricDirection,
  mapSpecs,
  NetdevFlags,
  VerdictSource,
} from '@ciliate/abi';
import { KernelPerCpuMap, RingBuffer, setDeviceFeature } from '@ciliate/kernel';
import { eventually } from '../lib/cluster.ts';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { eth, type Packet } from './packet.ts';
import { packetText } from './packet-text.ts';
import { decapsulated, encapsulated, l4, partial, toMac, withoutChecksum } from './xdp-frames.ts';
import { type Family, macs, type Outcome, type ServiceOptions, world, XdpWorld } from './xdp-world.ts';

const { LB_SVC_NODE_PORT, LB_SVC_ROUTABLE, LB_SVC_CLUSTER_IP, LB_SVC_LOAD_BALANCER, LB_SVC_SOURCE_RANGE } =
  LbServiceFlags;
/** Backends of this node by policy; those of a host's port; answers by the backend's node; a proxy of the node; pods that are asked instead. */
const tcAlone = [
  'LB_SVC_EXT_LOCAL_SCOPE',
  'LB_SVC_HOST_PORT',
  'LB_SVC_DSR',
  'LB_SVC_DELEGATED',
  'LB_SVC_LOCAL_REDIRECT',
] as const;
const routings = [
  ['native routing', 0],
  ['overlay', 1],
] as const;

for (const [routing, routingMode] of routings) {
  for (const family of [4, 6] as const satisfies readonly Family[]) {
    describe(`XDP, ${routing}, IPv${family}`, privileged('bpf'), () => {
      const flags = 0x3f;
      let both: XdpWorld;
      let id = 0;
      let sport = 20_100;
      before(() => {
        both = new XdpWorld({ routingMode, flags });
      });
      after(() => both?.close());

      /** A frontend of its own for each test; gives its port. */
      const service = (
        backends: readonly string[],
        options: ServiceOptions = {},
        ip: string = world.node[family],
      ): number => {
        id += 1;
        for (const way of both.ways)
          way.service(
            id,
            ip,
            30_000 + id,
            backends.map(one => [one, 8080] as const),
            options,
          );
        return 30_000 + id;
      };
      const fromClient = (destination: string = world.node[family], ttl = 64): Packet =>
        eth(macs.router, macs.eth0).ip(world.client[family], destination, { ttl });
      const syn = (port: number, from = sport): Buffer => fromClient().tcp(from, port, 'SYN').build();
      const newPort = (): number => {
        sport += 1;
        return sport;
      };
      /** Through both ways, which must agree; `frame`: what XDP gets when it is another than tc. */
      const agree = (frame: Buffer, device: 'eth0' | 'eth1' = 'eth0', forXdp: Buffer = frame): Outcome => {
        const [tc, xdp] = [both.tc.receive(frame, device), both.xdp.receive(forXdp, device)];
        assert.deepEqual([xdp.verdict, xdp.dropped], [tc.verdict, tc.dropped]);
        const isInOverlay = xdp.by === 'xdp' && xdp.frame.length > forXdp.length;
        if (xdp.verdict !== 'dropped' && forXdp === frame)
          assert.equal(packetText(isInOverlay ? decapsulated(xdp.frame) : xdp.frame), packetText(tc.frame));
        return xdp;
      };
      /** The answer of the backend to a frame that went to it, as it comes in by eth0. */
      const answerTo = (sent: Outcome, flags = 'SYN,ACK', outer = {}): Buffer => {
        const isInOverlay = sent.by === 'xdp' && routingMode === 1;
        const inner = isInOverlay ? decapsulated(sent.frame) : sent.frame;
        const { at } = l4(inner);
        const [source, target] = [inner.readUInt16BE(at), inner.readUInt16BE(at + 2)];
        const back = eth(macs.peer, macs.eth0)
          .ip(world.remote[family], world.node[family])
          .tcp(target, source, flags)
          .build();
        return isInOverlay ? encapsulated(back, outer) : back;
      };

      test('a connection to a backend elsewhere: there and back, without tc', () => {
        const port = service([world.remote[family]]);
        for (const what of ['SYN', 'ACK', 'FIN,ACK']) {
          const frame = fromClient().tcp(20_001, port, what, 'payload').build();
          const there = agree(frame);
          assert.equal(there.by, 'xdp');
          const back = answerTo(there, what);
          const answer = both.xdp.receive(back);
          const expected = both.tc.receive(routingMode === 1 ? decapsulated(back) : back);
          assert.deepEqual([answer.by, answer.verdict], ['xdp', 'sent']);
          assert.equal(packetText(answer.frame), packetText(expected.frame));
          assert.match(packetText(answer.frame), new RegExp(`tcp ${port} > 20001 `));
        }
      });

      test('the frames leave by the MACs of the routing table', () => {
        const sent = agree(syn(service([world.remote[family]]), newPort()));
        assert.equal(sent.frame.subarray(0, 12).toString('hex'), `${macs.peer}${macs.eth0}`.replaceAll(':', ''));
      });

      test('datagrams: with a checksum, and over IPv4 without one', () => {
        const port = service([world.remote[family]], { proto: 17 });
        const frame = fromClient().udp(newPort(), port, 'question').build();
        assert.equal(agree(frame).by, 'xdp');
        if (family === 6) return;
        const sent = agree(withoutChecksum(fromClient().udp(newPort(), port, 'x').build()));
        const inner = routingMode === 1 ? decapsulated(sent.frame) : sent.frame;
        assert.deepEqual([sent.by, inner.readUInt16BE(l4(inner).check)], ['xdp', 0]);
      });

      test('a checksum that a local sender has left to its device is completed, whatever the length', () => {
        const port = service([world.remote[family]]);
        for (const length of [0, 1, 2, 3, 5, 17, 255, 511, 512, 513, 1000, 1023, 1024, 1351]) {
          const from = newPort();
          const frame = fromClient().tcp(from, port, 'SYN', 'z'.repeat(length)).build();
          const expected = both.tc.receive(frame);
          const sent = both.xdp.receive(partial(frame));
          assert.equal(sent.by, 'xdp');
          assert.equal(
            packetText(routingMode === 1 ? decapsulated(sent.frame) : sent.frame),
            packetText(expected.frame),
          );
        }
      });

      test('a packet in several buffers is forwarded by its headers; one whose checksum has to be completed is left to tc', () => {
        both.run('for device in eth0 peer0; do ip link set $device mtu 9000; done');
        try {
          const port = service([world.remote[family]]);
          const frame = fromClient().tcp(newPort(), port, 'SYN', 'z'.repeat(7000)).build();
          const sent = both.xdp.onlyXdp(frame, 'eth0');
          assert.ok(sent !== undefined);
          const inner = routingMode === 1 ? decapsulated(sent.frame) : sent.frame;
          assert.equal(inner.length, frame.length);
          assert.doesNotMatch(packetText(inner), /BAD/);
          assert.equal(both.xdp.onlyXdp(partial(frame), 'eth0'), undefined);
          for (const way of both.ways) way.netdev('eth0', { flags: NetdevFlags.NETDEV_XDP_XMIT });
          assert.equal(both.xdp.onlyXdp(frame, 'eth0'), undefined, 'the device takes no such frames');
        } finally {
          for (const way of both.ways) way.netdev('eth0', {});
          both.run('for device in eth0 peer0; do ip link set $device mtu 1500; done');
        }
      });

      test('a backend of this node is left to tc, which keeps what XDP has chosen', () => {
        const port = service([world.pod[family]]);
        const from = newPort();
        const sent = agree(syn(port, from));
        assert.deepEqual([sent.by, sent.verdict], ['tc', 'sent']);
        const key = { saddr: address(world.client[family]), sport: from, proto: 6 };
        const flow = { ...key, daddr: address(world.node[family]), dport: port, direction: CtDirection.CT_SERVICE };
        const inward = { ...key, daddr: address(world.pod[family]), dport: 8080, direction: CtDirection.CT_INGRESS };
        for (const way of both.ways) {
          const entries = [flow, inward].map(one => way.map(mapSpecs.ct).lookup(one)?.expires ?? 0);
          assert.ok(
            entries.every(expires => expires > 0),
            'both halves of the flow are there and live',
          );
        }
        assert.equal(agree(fromClient().tcp(from, port, 'ACK').build()).by, 'tc');
      });

      test('with backends here and elsewhere, each gets its share, and either program goes on with a flow', () => {
        const port = service([world.pod[family], world.remote[family]]);
        const by = { xdp: 0, tc: 0 };
        for (let flow = 0; flow < 200; flow += 1) {
          const from = newPort();
          const first = both.xdp.receive(syn(port, from));
          by[first.by] += 1;
          const next = fromClient().tcp(from, port, 'ACK').build();
          const [again, byTc] = [both.xdp.receive(next), both.xdp.receive(next, 'eth0', true)];
          assert.equal(again.by, first.by);
          const target = (one: Outcome): string => {
            const inner = one.by === 'xdp' && routingMode === 1 ? decapsulated(one.frame) : one.frame;
            return /ipv. \S+ > (\S+)/.exec(packetText(inner))?.[1] ?? '';
          };
          assert.deepEqual([target(again), target(byTc)], [target(first), target(first)]);
        }
        assert.ok(by.xdp > 65 && by.tc > 65, `${by.xdp} of 200 went elsewhere`);
      });

      test('dropped, counted and reported: an address that is not for outsiders, a source that is kept out', () => {
        const closed = service([world.remote[family]], { flags: LB_SVC_CLUSTER_IP });
        const ring = new RingBuffer(both.xdp.fd('events'));
        try {
          ring.skip();
          const outcome = agree(syn(closed, newPort()));
          assert.deepEqual([outcome.by, outcome.dropped], ['xdp', 'DROP_NO_SERVICE']);
          const ranged = service([world.remote[family]], {
            flags: LB_SVC_LOAD_BALANCER | LB_SVC_ROUTABLE | LB_SVC_SOURCE_RANGE,
          });
          assert.equal(agree(syn(ranged, newPort())).dropped, 'DROP_NOT_IN_SOURCE_RANGE');
          const records: Buffer[] = [];
          ring.read(record => records.push(Buffer.from(record)));
          assert.deepEqual(
            records.map(record => [record[0], record[1], record[2], record[3]]),
            [158, 177].map(reason => [EventType.EVENT_DROP, reason, VerdictSource.XDP_NETDEV, family]),
          );
          const [first] = records;
          assert.ok(first !== undefined);
          const captured = first.readUInt32LE(20);
          assert.deepEqual(
            first.subarray(40, 40 + captured),
            fromClient()
              .tcp(sport - 1, closed, 'SYN')
              .build(),
          );
        } finally {
          ring.close();
        }
      });

      test('what is forwarded is counted once, under its own name', () => {
        const port = service([world.remote[family]]);
        const counted = (source: number): bigint => {
          const index = source * 4 + MetricDirection.METRIC_INGRESS;
          const values = new KernelPerCpuMap(both.xdp.fd('forwarded'), mapSpecs.forwarded).lookup(index) ?? [];
          return values.reduce((sum, { packets }) => sum + packets, 0n);
        };
        const before = [counted(VerdictSource.XDP_NETDEV), counted(VerdictSource.FROM_NETDEV)];
        agree(syn(port, newPort()));
        assert.deepEqual(
          [counted(VerdictSource.XDP_NETDEV), counted(VerdictSource.FROM_NETDEV)],
          [(before[0] ?? 0n) + 1n, before[1]],
        );
      });

      /** IPv4, with a field of its header set after the checksum: XDP must not get as far as to look at that. */
      const withByte = (at: number, value: number, frame: Buffer): Buffer => {
        frame[at] = value;
        return frame;
      };
      const left: readonly (readonly [string, (port: number) => Buffer])[] = [
        ['whose time to live ends here', port => fromClient(undefined, 1).tcp(newPort(), port, 'SYN').build()],
        ['for another MAC', port => toMac(syn(port, newPort()), '02:00:00:00:00:99')],
        ['that is an echo request', () => fromClient().echo(7).build()],
        ['that is too big for the route', port => fromClient().tcp(newPort(), port, 'SYN', 'z'.repeat(1600)).build()],
        ['that is cut off', port => syn(port, newPort()).subarray(0, family === 4 ? 50 : 70)],
        ['that is a first fragment', port => withByte(20, family === 4 ? 0x20 : 44, syn(port, newPort()))],
      ];
      for (const [name, make] of left) {
        test(`a packet ${name} is left to tc`, () => {
          const frame = make(service([world.remote[family]]));
          assert.equal(both.xdp.onlyXdp(frame, 'eth0'), undefined);
        });
      }

      for (const name of tcAlone) {
        test(`a service with ${name} is left to tc`, () => {
          const flags = LB_SVC_NODE_PORT | LB_SVC_ROUTABLE | LbServiceFlags[name];
          assert.equal(agree(syn(service([world.remote[family]], { flags }), newPort())).by, 'tc');
        });
      }

      test('a service without backends is left to tc, which refuses', () => {
        assert.equal(agree(syn(service([]), newPort())).by, 'tc');
      });

      test('no neighbour yet: tc asks for it', () => {
        const [command, router] = family === 4 ? ['ip', world.peer[4]] : ['ip -6', world.peer[6]];
        const underlay = routingMode === 1 ? world.peer[4] : router;
        const port = service([world.remote[family]]);
        both.run(`${command} neigh del ${underlay} dev eth0`.replace('ip -6', routingMode === 1 ? 'ip' : 'ip -6'));
        try {
          assert.equal(agree(syn(port, newPort())).by, 'tc');
        } finally {
          both.run(`ip neigh replace ${underlay} lladdr ${macs.peer} dev eth0`);
        }
        assert.equal(agree(syn(port, newPort())).by, 'xdp');
      });

      test('out of another device, if that takes frames from XDP', () => {
        const port = service([world.far[family]]);
        assert.equal(agree(syn(port, newPort())).by, 'xdp');
        for (const way of both.ways) way.netdev('eth1', { flags: 0 });
        try {
          assert.equal(agree(syn(port, newPort())).by, 'tc');
        } finally {
          for (const way of both.ways) way.netdev('eth1', {});
        }
      });

      for (const proto of [6, 17] as const) {
        test(`a client keeps its backend by affinity, whichever program begins the flow: protocol ${proto}`, () => {
          const port = service([world.remote[family], world.far[family]], { affinity: 3600, proto });
          const targets = Array.from({ length: 20 }, (_, i) => {
            const frame = proto === 6 ? syn(port, newPort()) : fromClient().udp(newPort(), port, 'x').build();
            const sent = both.xdp.receive(frame, 'eth0', i % 2 === 1);
            const inner = sent.frame.length > frame.length ? decapsulated(sent.frame) : sent.frame;
            return /ipv. \S+ > (\S+)/.exec(packetText(inner))?.[1];
          });
          assert.equal(new Set(targets).size, 1);
        });
      }

      if (routingMode === 1) {
        test('the outer headers', () => {
          const sent = agree(syn(service([world.remote[family]]), newPort()));
          const text = packetText(sent.frame);
          assert.match(
            text,
            new RegExp(
              `ipv4 ${world.node[4]} > ${world.peer[4]} ttl 64 length ${sent.frame.length - 14} .* checksum good`,
            ),
          );
          assert.equal(sent.frame.subarray(42, 50).toString('hex'), '0800000000000200');
          assert.equal(sent.frame.readUInt16BE(36), 8472);
          assert.equal(
            sent.frame.readUInt16BE(34) & 0x7fff,
            decapsulated(sent.frame).readUInt16BE(l4(decapsulated(sent.frame)).at),
          );
          assert.equal(sent.frame.readUInt16BE(40), 0, 'no UDP checksum');
        });

        test('the overlay over IPv6, there and back', () => {
          for (const way of both.ways) way.tunnelTo(world.peer[6]);
          try {
            const there = agree(syn(service([world.remote[family]]), newPort()));
            assert.equal(there.by, 'xdp');
            assert.match(packetText(there.frame), new RegExp(`ipv6 ${world.node[6]} > ${world.peer[6]} hops 64`));
            const answer = both.xdp.receive(answerTo(there, 'SYN,ACK', { from: world.peer[6], to: world.node[6] }));
            assert.deepEqual([answer.by, answer.verdict], ['xdp', 'sent']);
          } finally {
            for (const way of both.ways) way.tunnelTo(world.peer[4]);
          }
        });

        const notOurs: readonly (readonly [string, object])[] = [
          ['of who is no node', { from: '172.30.0.99' }],
          ['with a congestion mark', { ecn: 3 }],
          ['with other flags', { flags: 0x88000000 }],
          ['to another address', { to: world.other[4] }],
        ];
        for (const [name, outer] of notOurs) {
          test(`an answer in the overlay ${name} is the stack's`, () => {
            const there = both.xdp.receive(syn(service([world.remote[family]]), newPort()));
            assert.equal(both.xdp.receive(answerTo(there, 'SYN,ACK', outer)).by, 'tc');
            assert.equal(both.xdp.receive(answerTo(there)).by, 'xdp');
          });
        }
      }
    });
  }
}

describe('XDP, silence without backends', privileged('bpf'), () => {
  test('a service without backends drops where it is told to', () => {
    const both = new XdpWorld({ routingMode: 0, flags: 0x3f | ConfigFlags.CONFIG_NO_BACKEND_DROP });
    try {
      for (const way of both.ways) way.service(1, world.node[4], 30_001, []);
      const frame = eth(macs.router, macs.eth0).ip(world.client[4], world.node[4]).tcp(20_000, 30_001, 'SYN').build();
      const outcomes = both.ways.map(way => way.receive(frame)).map(({ by, dropped }) => [by, dropped]);
      assert.deepEqual(outcomes, [
        ['tc', 'DROP_NO_SERVICE'],
        ['xdp', 'DROP_NO_SERVICE'],
      ]);
    } finally {
      both.close();
    }
  });
});

describe('XDP, frames that really leave', privileged('bpf'), () => {
  for (const family of [4, 6] as const) {
    test(`IPv${family}: as from a card, out of another device and to its other end`, async () => {
      const both = new XdpWorld({ routingMode: 0, flags: 0x3f });
      try {
        setDeviceFeature('peer1', 'rx-gro', true, both.namespace);
        both.xdp.service(1, world.node[family], 30_001, [[world.far[family], 8080]]);
        const before = both.received('peer1');
        const packet = eth(macs.router, macs.eth0).ip(world.client[family], world.node[family]);
        // Each is written over by the program, and its place may be used again: by no more than there are places.
        both.xdp.receiveLive(packet.tcp(20_000, 30_001, 'SYN').build(), 32);
        await eventually('they arrive', async () => (both.received('peer1') >= before + 32 ? true : undefined), 10_000);
      } finally {
        both.close();
      }
    });
  }
});
