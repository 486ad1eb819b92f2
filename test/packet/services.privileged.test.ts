/** Services at tc beyond ClusterIP: scopes, affinity, Maglev, source ranges, what is not served; both families. */
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import { ConfigFlags, EndpointFlags, LbBackendFlags, LbServiceFlags, mapSpecs } from '../../packages/abi/src/index.ts';
import { maglevCodec } from '../../packages/datapath/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { eth, ip, tcp, udp } from './frame.ts';
import { Harness } from './program-run.ts';

const F = LbServiceFlags;
const config = { flags: 0x3f | ConfigFlags.CONFIG_UNSERVED_DROP, maglevSize: 16_381 };

const families = [
  {
    name: 'IPv4',
    client: '192.0.2.9',
    other: '198.51.100.7',
    pod: '10.244.1.5',
    backends: ['10.244.1.6', '10.244.1.7', '10.244.1.8'],
    elsewhere: '10.244.7.7',
    vip: '203.0.113.1',
    range: { prefixlen: 32 + 96 + 24, address: '192.0.2.0' },
  },
  {
    name: 'IPv6',
    client: '2001:db8::9',
    other: '2001:db8:1::7',
    pod: 'fd00:10:244:1::5',
    backends: ['fd00:10:244:1::6', 'fd00:10:244:1::7', 'fd00:10:244:1::8'],
    elsewhere: 'fd00:10:244:7::7',
    vip: '2001:db8:ffff::1',
    range: { prefixlen: 32 + 64, address: '2001:db8::' },
  },
] as const;

/** Backend that a packet went to. */
const sentTo = (packet: string): string => /(?:TCP|UDP) \S+ > (\S+), /.exec(packet)?.[1] ?? packet;

for (const family of families) {
  describe(`services, ${family.name}`, privileged('bpf'), () => {
    const outside = new Harness('host.bpf.o', 'from_netdev', config);
    const inside = new Harness('lxc.bpf.o', 'from_container', config);
    after(() => {
      outside.close();
      inside.close();
    });
    const both = [outside, inside];
    const silent = (
      [
        ['host.bpf.o', 'from_netdev'],
        ['lxc.bpf.o', 'from_container'],
      ] as const
    ).map(
      ([object, program]) =>
        new Harness(object, program, { ...config, flags: config.flags | ConfigFlags.CONFIG_NO_BACKEND_DROP }),
    );
    after(() => {
      for (const harness of silent) harness.close();
    });
    const backendNames: readonly string[] = family.backends;
    const id = 9;
    const service = (flags: number, backends: readonly string[] = family.backends): void => {
      for (const harness of both)
        harness.service(
          family.vip,
          80,
          6,
          id,
          backends.map(one => [one, 8080] as const),
          flags,
        );
    };
    beforeEach(() => {
      for (const harness of both) {
        harness.clear();
        harness.endpoint(family.pod, 5);
        family.backends.forEach((one, i) => {
          harness.endpoint(one, 6 + i);
        });
      }
    });
    const fromOutside = (sport: number, from: string = family.client) =>
      outside.run(eth(ip(from, family.vip, tcp(sport, 80))));
    const fromPod = (sport: number) => inside.run(eth(ip(family.pod, family.vip, tcp(sport, 80)), { sourceMac: 5 }));

    test('an address that is not for outsiders is dropped, and answers inside', () => {
      service(F.LB_SVC_CLUSTER_IP);
      assert.equal(fromOutside(1000).dropped, 'DROP_NO_SERVICE');
      assert.equal(fromPod(1000).verdict, 'TC_ACT_REDIRECT');
    });

    test('a port that the address does not serve is dropped, from outside and from a pod', () => {
      for (const harness of both) {
        harness
          .map(mapSpecs.lb_services)
          .put(
            { address: address(family.vip), dport: 0, backendSlot: 0, proto: 0, scope: 0 },
            { backendId: 0, count: 0, qcount: 0, revNatId: 0, flags: F.LB_SVC_LOAD_BALANCER | F.LB_SVC_UNSERVED },
          );
      }
      assert.equal(fromOutside(1000).dropped, 'DROP_NO_SERVICE');
      assert.equal(fromPod(1000).dropped, 'DROP_NO_SERVICE');
    });

    test('no backend: nothing but silence, where that is asked for, from outside and from a pod', () => {
      const flags = F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE;
      const data = 'x'.repeat(40);
      for (const [i, harness] of silent.entries()) {
        harness.clear();
        harness.endpoint(family.pod, 5);
        const sender = i === 0 ? family.client : family.pod;
        for (const [proto, l4] of [
          [6, tcp(1000, 80, 'SYN', data)],
          [17, udp(1000, 80, data)],
        ] as const) {
          harness.service(family.vip, 80, proto, id, [], flags);
          const result = harness.run(eth(ip(sender, family.vip, l4), i === 0 ? {} : { sourceMac: 5 }));
          assert.equal(result.verdict, 'TC_ACT_SHOT');
          assert.equal(result.dropped, 'DROP_NO_SERVICE');
        }
      }
    });

    test('with two scopes outsiders get the backends of this node alone, pods get all', () => {
      service(F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE | F.LB_SVC_EXT_LOCAL_SCOPE | F.LB_SVC_TWO_SCOPES, [
        family.backends[0],
      ]);
      for (const harness of both) harness.innerScope(family.vip, 80, 6, id, [[family.backends[1], 8080]]);
      for (let sport = 1000; sport < 1010; sport += 1) {
        assert.equal(sentTo(fromOutside(sport).packet), family.backends[0]);
        assert.equal(sentTo(fromPod(sport).packet), family.backends[1]);
      }
    });

    test('affinity keeps a client with its backend, until the backend leaves the service or the time is over', () => {
      service(F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE | F.LB_SVC_AFFINITY);
      const master = { address: address(family.vip), dport: 80, backendSlot: 0, proto: 6, scope: 0 };
      const services = outside.map(mapSpecs.lb_services);
      const value = services.lookup(master);
      assert.ok(value !== undefined);
      services.put(master, { ...value, backendId: 3600 });
      const match = (backendId: number) => ({ backendId, revNatId: id });
      for (let i = 0; i < 3; i += 1) outside.map(mapSpecs.lb_affinity_match).put(match(id * 100 + i), { present: 1 });
      const first = sentTo(fromOutside(1000).packet);
      for (let sport = 1001; sport < 1030; sport += 1) assert.equal(sentTo(fromOutside(sport).packet), first);
      const others = new Set(Array.from({ length: 40 }, (_, i) => sentTo(fromOutside(2000 + i).packet)));
      assert.deepEqual([...others], [first]);
      outside.map(mapSpecs.lb_affinity_match).remove(match(id * 100 + backendNames.indexOf(first)));
      const seen = new Set(Array.from({ length: 40 }, (_, i) => sentTo(fromOutside(3000 + i).packet)));
      assert.equal(seen.has(first) && seen.size === 1, false, 'a backend that left is not kept');
    });

    test('Maglev: a flow goes where the table says, whatever the slots are', () => {
      service(F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE | F.LB_SVC_MAGLEV);
      outside.maglev(id, new Uint32Array(config.maglevSize).fill(id * 100 + 2));
      for (let sport = 1000; sport < 1020; sport += 1)
        assert.equal(sentTo(fromOutside(sport).packet), family.backends[2]);
    });

    test('source ranges: who is listed may, with deny who is not', () => {
      const flags = F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE | F.LB_SVC_SOURCE_RANGE;
      const { prefixlen, address: base } = family.range;
      const key = { prefixlen, revNatId: id, address: address(base) };
      service(flags);
      outside.map(mapSpecs.lb_source_ranges).put(key, { present: 1 });
      assert.equal(fromOutside(1000).verdict, 'TC_ACT_REDIRECT');
      assert.equal(fromOutside(1000, family.other).dropped, 'DROP_NOT_IN_SOURCE_RANGE');
      service(flags | F.LB_SVC_SOURCE_RANGE_DENY);
      assert.equal(fromOutside(1001).dropped, 'DROP_NOT_IN_SOURCE_RANGE');
      assert.equal(fromOutside(1001, family.other).verdict, 'TC_ACT_REDIRECT');
    });

    test('a backend that has left keeps its connections, while somebody has its address', () => {
      service(F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE, [family.backends[0]]);
      assert.equal(sentTo(fromOutside(1000).packet), family.backends[0]);
      const ack = eth(ip(family.client, family.vip, tcp(1000, 80, 'ACK')));
      const backends = outside.map(mapSpecs.lb_backends);
      for (const id of [...backends.keys()]) backends.remove(id);
      assert.equal(sentTo(outside.run(ack).packet), family.backends[0], 'no backend has its number');
      service(F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE, [family.backends[1]]);
      assert.equal(sentTo(outside.run(ack).packet), family.backends[0], 'another backend has its number');
      const ipcache = outside.map(mapSpecs.ipcache);
      const gone = { prefixlen: 128, address: address(family.backends[0]) };
      ipcache.put(gone, { identity: 3, tunnelEndpoint: new Uint8Array(16), flags: 1 });
      assert.equal(sentTo(outside.run(ack).packet), family.backends[1], 'nobody answers: the client shall know soon');
    });

    test('a backend that leaves keeps its flows; a new connection of the same tuple goes elsewhere', () => {
      service(F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE, [family.backends[0]]);
      assert.equal(sentTo(fromOutside(1000).packet), family.backends[0]);
      service(F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE, [family.backends[1]]);
      const backends = outside.map(mapSpecs.lb_backends);
      backends.put(4711, {
        address: address(family.backends[0]),
        port: 8080,
        proto: 6,
        flags: LbBackendFlags.LB_BACKEND_TERMINATING,
      });
      for (const [key, entry] of [...outside.map(mapSpecs.ct).entries()]) {
        if (key.direction === 2) outside.map(mapSpecs.ct).put(key, { ...entry, backendId: 4711 });
      }
      const going = outside.run(eth(ip(family.client, family.vip, tcp(1000, 80, 'ACK'))));
      assert.equal(sentTo(going.packet), family.backends[0]);
      assert.equal(sentTo(fromOutside(1000).packet), family.backends[1]);
    });

    test('what a proxy of the node serves is left to it as it came, when the backend is here, and sent on when it is elsewhere', () => {
      const flags = F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE | F.LB_SVC_DELEGATED;
      const [proxy, elsewhere] = [family.other, family.elsewhere];
      outside.endpoint(proxy, 0, EndpointFlags.ENDPOINT_HOST);
      service(flags, [proxy]);
      const came = fromOutside(1000);
      assert.equal(came.verdict, 'TC_ACT_OK');
      assert.equal(sentTo(came.packet), family.vip);
      const goesOn = outside.run(eth(ip(family.client, family.vip, tcp(1000, 80, 'ACK'))));
      assert.deepEqual([goesOn.verdict, sentTo(goesOn.packet)], ['TC_ACT_OK', family.vip]);
      service(flags, [elsewhere]);
      assert.equal(sentTo(fromOutside(2000).packet), elsewhere);
      service(flags & ~F.LB_SVC_DELEGATED, [proxy]);
      assert.equal(sentTo(fromOutside(3000).packet), proxy);
      outside.map(mapSpecs.endpoints).remove({ address: address(proxy) });
    });

    test('a backend that is not ready keeps its connections, and gets neither new ones nor datagrams', () => {
      const flags = F.LB_SVC_LOAD_BALANCER | F.LB_SVC_ROUTABLE;
      for (const [proto, l4] of [
        [6, tcp],
        [17, udp],
      ] as const) {
        const to = (one: (typeof family.backends)[number], first: number) =>
          outside.service(family.vip, 80, proto, first, [[one, 8080]], flags);
        const go = (packet: ReturnType<typeof tcp>) =>
          sentTo(outside.run(eth(ip(family.client, family.vip, packet))).packet);
        to(family.backends[0], id);
        assert.equal(go(l4(1000, 80)), family.backends[0]);
        // The service has another backend now, under the number 1000; the first one is still in the map.
        outside.service(family.vip, 80, proto, id + 1, [[family.backends[1], 8080]], flags);
        for (const [key, entry] of [...outside.map(mapSpecs.ct).entries()]) {
          if (key.direction === 2) outside.map(mapSpecs.ct).put(key, { ...entry, revNatId: id + 1 });
        }
        const backends = outside.map(mapSpecs.lb_backends);
        const first = backends.lookup(id * 100);
        assert.ok(first !== undefined);
        backends.put(id * 100, { ...first, flags: LbBackendFlags.LB_BACKEND_MAINTENANCE });
        const goesOn = proto === 6 ? tcp(1000, 80, 'ACK') : udp(1000, 80);
        assert.equal(go(goesOn), family.backends[proto === 6 ? 0 : 1], `protocol ${proto}`);
        assert.equal(go(l4(1000, 80)), family.backends[1], `protocol ${proto}, a new flow`);
      }
    });
  });
}

test('the codec of a Maglev table holds as many backends as it says', () => {
  const codec = maglevCodec(251);
  const bytes = new Uint8Array(codec.size);
  codec.write(
    Uint32Array.from({ length: 251 }, (_, i) => i),
    bytes,
    0,
  );
  assert.equal(codec.read(bytes, 0)[250], 250);
});
