/** from_netdev, to_netdev, from_host and the garbage collectors. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { decodeGcArgs, encodeGcArgs, mapSpecs } from '../../packages/abi/src/index.ts';
import { KernelMap, loadObject, testRun } from '../../packages/kernel/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { address, fullConfig, objectPath } from './config.ts';
import { echo, eth, icmp, ip, tcp } from './frame.ts';
import { Harness } from './program-run.ts';

const families = [
  { name: 'IPv4', pod: '10.244.1.5', node: '172.30.0.11', world: '192.0.2.9', remote: '10.244.2.7', bits: 120 },
  {
    name: 'IPv6',
    pod: 'fd00:10:244:1::5',
    node: 'fd00:172:30::11',
    world: '2001:db8::9',
    remote: 'fd00:10:244:2::7',
    bits: 64,
  },
] as const;

function prepared(program: string): Harness {
  const harness = new Harness('host.bpf.o', program);
  for (const family of families) {
    harness.endpoint(family.pod, 5);
    harness.endpoint(family.node, 0, 1);
    harness.clusterPrefix(family.remote, family.bits, '172.30.0.12');
    harness.service(family.node, 30_080, 6, family.bits, [[family.pod, 80]]);
    harness.service(family.node, 30_081, 6, family.bits + 1, [[family.remote, 80]]);
    harness.service(family.node, 30_082, 6, family.bits + 2, []);
  }
  harness
    .map(mapSpecs.netdevs)
    .put(
      { ifindex: 1 },
      { ipv4: address('172.30.0.11'), ipv6: address('fd00:172:30::11'), mac: new Uint8Array(6), l3: 0, flags: 0 },
    );
  return harness;
}

const portOf = (packet: string): string => /, (\d+) > /.exec(packet)?.[1] ?? '';

describe('from_netdev', privileged('bpf'), () => {
  const harness = prepared('from_netdev');
  after(() => harness.close());
  for (const { name, node, pod, world, remote } of families) {
    test(`${name}: a NodePort with a backend here keeps the client's address`, () => {
      const result = harness.run(eth(ip(world, node, tcp(4000, 30_080))));
      assert.equal(result.verdict, 'TC_ACT_REDIRECT');
      assert.equal(result.packet, `ee > 5, TCP ${world} > ${pod}, 4000 > 80, ttl 63`);
    });

    test(`${name}: a NodePort with its backend elsewhere leaves with our address, and the answer finds the client`, () => {
      const request = harness.run(eth(ip(world, node, tcp(4001, 30_081))));
      assert.equal(request.verdict, 'TC_ACT_REDIRECT');
      const port = Number(portOf(request.packet));
      assert.ok(port >= 1024 && port <= 29_999, request.packet);
      assert.match(request.packet, new RegExp(`TCP ${node} > ${remote}, ${port} > 80, ttl 63$`));
      const reply = harness.run(eth(ip(remote, node, tcp(80, port, 'SYN,ACK'))));
      assert.match(reply.packet, new RegExp(`TCP ${node} > ${world}, 30081 > 4001, ttl \\d+$`));
    });

    test(`${name}: two clients with the same port get ports of their own`, () => {
      const port = (client: string): string => portOf(harness.run(eth(ip(client, node, tcp(4002, 30_081)))).packet);
      const other = name === 'IPv4' ? '192.0.2.10' : '2001:db8::10';
      assert.notEqual(port(world), port(other));
    });

    test(`${name}: a NodePort without backends is refused at once`, () => {
      const result = harness.run(eth(ip(world, node, tcp(4000, 30_082, 'SYN', 'x'.repeat(name === 'IPv4' ? 16 : 36)))));
      assert.equal(result.verdict, 'TC_ACT_REDIRECT');
      assert.match(result.packet, name === 'IPv4' ? /ICMP .* type 3 code 3/ : /ICMPv6 .* type 1 code 4/);
    });

    test(`${name}: what is the node's own goes up the stack`, () => {
      assert.equal(harness.run(eth(ip(world, node, tcp(4000, 22)))).verdict, 'TC_ACT_OK');
    });

    test(`${name}: traffic between others is left to the stack`, () => {
      const other = name === 'IPv4' ? '192.0.2.77' : '2001:db8::77';
      assert.equal(harness.run(eth(ip(world, other, tcp(4000, 80)))).verdict, 'TC_ACT_UNSPEC');
    });
  }

  test('a packet that cannot be read is the host’s to judge', () => {
    assert.equal(harness.run(eth(Buffer.alloc(40), { type: 0x88cc })).verdict, 'TC_ACT_UNSPEC');
    const whole = eth(ip('192.0.2.9', '172.30.0.11', tcp(1, 30_080)));
    assert.equal(harness.run(whole.subarray(0, 36)).verdict, 'TC_ACT_UNSPEC');
  });
});

describe('to_netdev', privileged('bpf'), () => {
  const harness = prepared('to_netdev');
  after(() => harness.close());
  for (const { name, node, pod, world, remote } of families) {
    const family = name === 'IPv4' ? 4 : 6;
    test(`${name}: a pod leaves the cluster with the device's address, TCP and echo`, () => {
      const result = harness.run(eth(ip(pod, world, tcp(5000, 443))));
      assert.equal(result.verdict, 'TC_ACT_OK');
      assert.match(result.packet, new RegExp(`TCP ${node} > ${world}, \\d+ > 443, ttl 64$`));
      assert.match(
        harness.run(eth(ip(pod, world, echo(family, 77)))).packet,
        new RegExp(`${node} > ${world}, type (8|128) code 0 id \\d+, ttl 64$`),
      );
    });

    test(`${name}: the same flow keeps its port`, () => {
      const port = (): string => portOf(harness.run(eth(ip(pod, world, tcp(5001, 443)))).packet);
      assert.equal(port(), port());
    });

    test(`${name}: inside the cluster nothing is masqueraded`, () => {
      assert.equal(harness.run(eth(ip(pod, remote, tcp(5000, 80)))).verdict, 'TC_ACT_UNSPEC');
    });

    test(`${name}: the node's own packets pass`, () => {
      assert.equal(harness.run(eth(ip(node, world, tcp(5000, 80)))).verdict, 'TC_ACT_UNSPEC');
    });
  }
});

describe('ICMP errors about masqueraded flows', privileged('bpf'), () => {
  const harness = prepared('from_netdev');
  after(() => harness.close());
  for (const { name, node, pod, world } of families) {
    test(`${name}: go to the pod, with its own packet quoted`, () => {
      const sport = 5002;
      const entry = { expires: 0xffff_ffff, created: 0, flags: 0, revNatId: 0 };
      const key = { proto: 6, direction: 1, saddr: address(world), daddr: address(node), sport: 443, dport: 2345 };
      harness.map(mapSpecs.nat).put(key, { ...entry, toAddress: address(pod), toPort: sport });
      const quoted = ip(node, world, tcp(2345, 443));
      const unused = Buffer.alloc(4);
      const error =
        name === 'IPv4'
          ? icmp(4, 3, 4, Buffer.concat([unused, quoted]))
          : icmp(6, 2, 0, Buffer.concat([unused, quoted]));
      const router = name === 'IPv4' ? '192.0.2.1' : '2001:db8::1';
      const result = harness.run(eth(ip(router, node, error)));
      assert.equal(result.verdict, 'TC_ACT_REDIRECT');
      assert.match(result.packet, new RegExp(`> ${pod}, type \\d code \\d id 0, ttl 63$`));
      const inner = result.bytes.subarray(14 + (name === 'IPv4' ? 28 : 48));
      assert.deepEqual(
        inner.subarray(name === 'IPv4' ? 12 : 8, name === 'IPv4' ? 16 : 24),
        Buffer.from(address(pod)).subarray(name === 'IPv4' ? 12 : 0),
      );
      assert.equal(inner.readUInt16BE(name === 'IPv4' ? 20 : 40), sport);
    });
  }
});

describe('from_host', privileged('bpf'), () => {
  const harness = prepared('from_host');
  after(() => harness.close());
  for (const { name, node, pod, remote } of families) {
    test(`${name}: to a pod here its device's egress, to one elsewhere the overlay, to nobody a drop`, () => {
      assert.match(harness.run(eth(ip(node, pod, tcp(1, 80)))).packet, /^ee > 5, .*ttl 63$/);
      assert.equal(harness.run(eth(ip(node, remote, tcp(1, 80)))).verdict, 'TC_ACT_REDIRECT');
      const nobody = name === 'IPv4' ? '10.244.1.200' : 'fd00:10:244:1::200';
      assert.equal(harness.run(eth(ip(node, nobody, tcp(1, 80)))).dropped, 'DROP_UNROUTABLE');
    });
  }
});

describe('garbage collection', privileged('bpf'), () => {
  const object = loadObject({ path: objectPath('gc.bpf.o'), rodata: fullConfig() });
  after(() => object.close());
  for (const [name, program] of [
    ['ct', 'ct_gc'],
    ['nat', 'nat_gc'],
  ] as const) {
    test(`${name}: only what has expired is deleted, and both numbers are told`, () => {
      const [fd, collector] = [object.maps.get(name), object.programs.get(program)];
      assert.ok(fd !== undefined && collector !== undefined);
      const key = (sport: number) => ({
        daddr: address('10.0.0.1'),
        saddr: address('10.0.0.2'),
        dport: 80,
        sport,
        proto: 6,
        direction: 0,
      });
      const lifetimes = [1, 1, 0xffff_ffff];
      lifetimes.forEach((expires, index) => {
        if (name === 'nat') {
          new KernelMap(fd, mapSpecs.nat).put(key(index), {
            toAddress: address('10.0.0.3'),
            toPort: 1,
            expires,
            created: 0,
            revNatId: 0,
            flags: 0,
          });
        } else {
          const none = {
            packets: 0n,
            bytes: 0n,
            backendId: 0,
            peerIdentity: 0,
            revNatId: 0,
            flags: 0,
            ifindex: 0,
            policyRevision: 0,
          };
          new KernelMap(fd, mapSpecs.ct).put(key(index), { ...none, expires });
        }
      });
      const { context } = testRun(collector.fd, { context: encodeGcArgs({ alive: 0, deleted: 0 }) });
      assert.deepEqual(decodeGcArgs(context), { alive: 1, deleted: 2 });
    });
  }
});
