/** Direct server return at both nodes: what goes between them, what the backend sees, what the client gets; both families. */
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import { EndpointFlags, mapSpecs } from '../../packages/abi/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { DsrNode, textOf } from './dsr-node.ts';
import { eth, icmp, ip, type L4, mac, tcp, udp } from './frame.ts';
import { checksum, eth as ethernet } from './packet.ts';

const nodes = [
  { addresses: ['172.30.0.11', 'fd00:172:30::11'] },
  { addresses: ['172.30.0.12', 'fd00:172:30::12'] },
] as const;
const backendId = 6;

const families = [
  {
    name: 'IPv4',
    index: 0,
    version: 4,
    client: '192.0.2.9',
    vip: '203.0.113.1',
    backend: '10.244.2.6',
    /** Type, length, port 80 and 203.0.113.1 as a little-endian host has them. */
    option: '9a085000017100cb',
    overhead: 8,
  },
  {
    name: 'IPv6',
    index: 1,
    version: 6,
    client: '2001:db8::9',
    vip: '2001:db8:ffff::1',
    backend: 'fd00:10:244:2::6',
    option: '06021b1420010db8ffff0000000000000000000100500000',
    overhead: 24,
  },
] as const;

/** A UDP payload with which the whole packet has so many bytes. */
const sized = (version: 4 | 6, bytes: number): L4 => udp(1000, 80, 'x'.repeat(bytes - 8 - (version === 4 ? 20 : 40)));

/** With the don't-fragment bit; IPv6 always has it. */
function unfragmentable(packet: Buffer): Buffer {
  if ((packet[0] ?? 0) >>> 4 === 6) return packet;
  const copy = Buffer.from(packet);
  copy[6] = 0x40;
  const sum = copy.readUInt16BE(10) - 0x4000;
  copy.writeUInt16BE(sum < 0 ? sum + 0xffff : sum, 10);
  return copy;
}

/** With an option of the sender's own, in hex, behind the IP header. */
function withOption(packet: Buffer, option: string): Buffer {
  const isIPv4 = (packet[0] ?? 0) >>> 4 === 4;
  const size = isIPv4 ? 20 : 40;
  const longer = Buffer.concat([packet.subarray(0, size), Buffer.from(option, 'hex'), packet.subarray(size)]);
  if (isIPv4) {
    longer[0] = 0x47;
    longer.writeUInt16BE(longer.length, 2);
    longer.writeUInt16BE(0, 10);
    longer.writeUInt16BE(checksum(longer.subarray(0, 28)), 10);
  } else {
    longer.writeUInt16BE(longer.length - 40, 4);
    longer[6] = 60;
  }
  return longer;
}

describe('direct server return', privileged('bpf'), () => {
  const made: DsrNode[] = [];
  const node = (index: 0 | 1, more: { readonly ipip?: boolean; readonly overlay?: boolean } = {}): DsrNode => {
    const one = new DsrNode({ addresses: nodes[index].addresses, ...more });
    one.node(...nodes[0].addresses, ...nodes[1].addresses);
    made.push(one);
    return one;
  };
  const [first, second] = [node(0), node(1)];
  const [firstIpip, secondIpip] = [node(0, { ipip: true }), node(1, { ipip: true })];
  const firstOverlay = node(0, { ipip: true, overlay: true });
  after(() => {
    for (const one of made) one.close();
  });

  for (const family of families) {
    const { name, client, vip, backend, version, option, overhead } = family;
    const [nodeA, nodeB] = [nodes[0].addresses[family.index] ?? '', nodes[1].addresses[family.index] ?? ''];
    const protocol = (l4: L4) => eth(ip(client, vip, l4));
    const syn = protocol(tcp(1000, 80));
    const direct = (l4: L4, ttl: number) => textOf(eth(ip(client, backend, l4, { ttl })));
    const answer = eth(ip(backend, client, tcp(8080, 1000, 'SYN,ACK')), { sourceMac: backendId });
    /** What the backend's pod sends, as it goes out to the client. */
    const answered = (at: DsrNode, frame = answer): string => textOf(at.run('from_container', frame).frame);
    const fromFrontend = textOf(eth(ip(vip, client, tcp(80, 1000, 'SYN,ACK'), { ttl: 63 })));
    const fromBackend = textOf(eth(ip(backend, client, tcp(8080, 1000, 'SYN,ACK'), { ttl: 63 })));

    describe(name, () => {
      beforeEach(() => {
        for (const one of made) one.clear();
        for (const one of [first, firstIpip, firstOverlay]) {
          one.service(vip, 6, backend);
          one.inCluster(backend, one === firstOverlay ? nodeB : '');
        }
        for (const one of [second, secondIpip]) {
          one.endpoint(backend, backendId);
          one.inCluster(backend);
          one.serves(vip, 80, 6, backend);
          one.serves(vip, 80, 17, backend);
        }
      });

      test('a SYN goes to the backend with the client as source, and carries the frontend in the layout of Cilium', () => {
        const { verdict, frame } = first.run('from_netdev', syn);
        assert.equal(verdict, 'redirect');
        assert.match(textOf(frame), new RegExp(`\\noptions ${option}\\n`));
        assert.equal(
          textOf(frame)
            .replace(/\noptions \w+/, '')
            .replace(/length \d+/, ''),
          direct(tcp(1000, 8080), 63).replace(/length \d+/, ''),
        );
      });

      test('the backend sees the packet of the client, and the client gets answers of the frontend', () => {
        const sent = first.run('from_netdev', syn).frame;
        const taken = second.run('from_netdev', sent);
        assert.equal(taken.verdict, 'redirect');
        assert.equal(textOf(taken.frame), direct(tcp(1000, 8080), 62));
        assert.equal(answered(second), fromFrontend);
      });

      test('of a connection the SYN tells, and the first packet that a node sees of one that began elsewhere', () => {
        const tells = (l4: L4) => /\noptions /.test(textOf(first.run('from_netdev', protocol(l4)).frame));
        assert.equal(tells(tcp(1000, 80)), true);
        assert.equal(tells(tcp(1000, 80, 'ACK')), false);
        assert.equal(tells(tcp(1000, 80)), true, 'sent again');
        assert.equal(tells(tcp(1001, 80, 'ACK')), true, 'taken over');
        assert.equal(tells(tcp(1001, 80, 'ACK')), false);
      });

      test('every datagram tells', () => {
        first.service(vip, 17, backend);
        for (let i = 0; i < 3; i += 1) {
          const sent = first.run('from_netdev', protocol(udp(1000, 80))).frame;
          assert.match(textOf(sent), /\noptions /);
          assert.equal(textOf(second.run('from_netdev', sent).frame), direct(udp(1000, 8080), 62));
        }
        const reply = eth(ip(backend, client, udp(8080, 1000)), { sourceMac: backendId });
        assert.equal(answered(second, reply), textOf(eth(ip(vip, client, udp(80, 1000), { ttl: 63 }))));
      });

      test('an association of SCTP begins as a connection does', () => {
        first.service(vip, 132, backend);
        second.serves(vip, 80, 132, backend);
        const [init, ack, data] = [1, 2, 0];
        const chunk = (kind: number) =>
          first.run('from_netdev', ethernet().ip(client, vip).sctp(1000, 80, kind, Buffer.alloc(16)).build()).frame;
        const sent = chunk(init);
        assert.match(textOf(sent), /\noptions .*\nsctp 1000 > 8080 chunk 1 checksum good/);
        const taken = second.run('from_netdev', sent);
        assert.equal(taken.verdict, 'redirect');
        assert.match(
          textOf(taken.frame),
          new RegExp(`${client} > ${backend} .*\nsctp 1000 > 8080 chunk 1 checksum good`),
        );
        assert.doesNotMatch(textOf(chunk(data)), /\noptions /);
        const reply = ethernet().ip(backend, client).sctp(8080, 1000, ack, Buffer.alloc(16)).build();
        reply.set(mac(backendId), 6);
        assert.match(
          answered(second, reply),
          new RegExp(`${vip} > ${client} .*\nsctp 80 > 1000 chunk 2 checksum good`),
        );
      });

      test('a client of the cluster, and a backend of nobody that we know, are translated as without it', () => {
        first.inCluster(client);
        assert.match(textOf(first.run('from_netdev', syn).frame), new RegExp(`${nodeA} > ${backend} `));
        first.map(mapSpecs.ipcache).remove({ prefixlen: 128, address: address(client) });
        first.clear();
        first.service(vip, 6, backend, 0);
        assert.match(textOf(first.run('from_netdev', syn).frame), new RegExp(`${nodeA} > ${backend} `));
      });

      test('another node is a backend as well: its own stack answers as the frontend', () => {
        first.service(vip, 6, nodeB, 0);
        second.serves(vip, 80, 6, nodeB);
        const sent = first.run('from_netdev', syn).frame;
        assert.match(textOf(sent), /\noptions /);
        const taken = second.run('from_netdev', sent);
        assert.equal(taken.verdict, 'stack');
        assert.equal(textOf(taken.frame), textOf(eth(ip(client, nodeB, tcp(1000, 8080), { ttl: 63 }))));
        const reply = second.run('to_netdev', eth(ip(nodeB, client, tcp(8080, 1000, 'SYN,ACK'))));
        assert.equal(textOf(reply.frame), textOf(eth(ip(vip, client, tcp(80, 1000, 'SYN,ACK')))));
      });

      test("a NodePort of any node's address is one of the backend's", () => {
        second.clear();
        second.serves(version === 4 ? '0.0.0.0' : '::', 80, 6, backend);
        first.service(nodeA, 6, backend);
        const sent = first.run('from_netdev', eth(ip(client, nodeA, tcp(1000, 80)))).frame;
        assert.equal(second.run('from_netdev', sent).verdict, 'redirect');
        assert.equal(answered(second), textOf(eth(ip(nodeA, client, tcp(80, 1000, 'SYN,ACK'), { ttl: 63 }))));
      });

      test('what claims a frontend that is none of the backend is dropped', () => {
        const sent = first.run('from_netdev', syn).frame;
        second.clear();
        assert.equal(second.run('from_netdev', sent).dropped, 'DROP_NO_SERVICE');
        second.serves(vip, 81, 6, backend);
        assert.equal(second.run('from_netdev', sent).dropped, 'DROP_NO_SERVICE');
        assert.deepEqual([...second.map(mapSpecs.nat).keys()], []);
      });

      test('what comes from the cluster with the option has told nothing; a pod may not send it', () => {
        const sent = first.run('from_netdev', syn).frame;
        second.inCluster(client);
        const passed = second.run('from_netdev', sent);
        assert.deepEqual([passed.verdict, [...second.map(mapSpecs.nat).keys()]], ['redirect', []]);
        second.map(mapSpecs.ipcache).remove({ prefixlen: 128, address: address(client) });
        second.endpoint(client, 9);
        sent.set([2, 0, 0, 0, 0, 9], 6);
        assert.equal(second.run('from_container', sent).dropped, 'DROP_INVALID');
        second.map(mapSpecs.endpoints).remove({ address: address(client) });
      });

      test('a packet that begins nothing does not turn a connection to another frontend', () => {
        const other = version === 4 ? '203.0.113.2' : '2001:db8:ffff::2';
        second.serves(other, 80, 6, backend);
        second.run('from_netdev', first.run('from_netdev', syn).frame);
        first.clear();
        first.service(other, 6, backend);
        const forged = first.run('from_netdev', eth(ip(client, other, tcp(1000, 80, 'ACK')))).frame;
        assert.match(textOf(forged), /\noptions /);
        assert.equal(textOf(second.run('from_netdev', forged).frame), direct(tcp(1000, 8080, 'ACK'), 62));
        assert.equal(answered(second), fromFrontend);
      });

      test("a client's own option says nothing: what it has dialled is answered", () => {
        const other = version === 4 ? '203.0.113.2' : '2001:db8:ffff::2';
        second.serves(other, 80, 6, backend);
        const forged =
          version === 4 ? '9a085000027100cb' : `06021b14${Buffer.from(address(other)).toString('hex')}00500000`;
        for (const flags of ['SYN', 'ACK'] as const) {
          const sent = first.run('from_netdev', eth(withOption(ip(client, vip, tcp(1000, 80, flags)), forged))).frame;
          assert.equal(sent.includes(Buffer.from(forged, 'hex')), true);
          const taken = second.run('from_netdev', sent);
          assert.equal(taken.verdict, 'redirect');
          assert.match(textOf(taken.frame), new RegExp(`${client} > ${backend} `));
          assert.equal(answered(second), fromFrontend);
        }
      });

      test('a connection to the backend itself by the same tuple is answered by the backend', () => {
        second.run('from_netdev', first.run('from_netdev', syn).frame);
        assert.equal(answered(second), fromFrontend);
        second.run('from_netdev', eth(ip(client, backend, tcp(1000, 8080, 'ACK'))));
        assert.equal(answered(second), fromFrontend, 'goes on');
        second.run('from_netdev', eth(ip(client, backend, tcp(1000, 8080))));
        assert.equal(answered(second), fromBackend);
      });

      test('a connection goes on when the backend has left the service, at both nodes', () => {
        second.run('from_netdev', first.run('from_netdev', syn).frame);
        first.map(mapSpecs.lb_backends).remove(900);
        second.map(mapSpecs.lb_dsr).remove({ frontend: address(vip), backend: address(backend), port: 80, proto: 6 });
        const sent = first.run('from_netdev', protocol(tcp(1000, 80, 'ACK'))).frame;
        assert.equal(textOf(second.run('from_netdev', sent).frame), direct(tcp(1000, 8080, 'ACK'), 62));
        assert.equal(answered(second), fromFrontend);
      });

      test('what would be too big is told: the way minus the option', () => {
        first.service(vip, 17, backend);
        const fits = first.run('from_netdev', eth(unfragmentable(ip(client, vip, sized(version, 1500 - overhead)))));
        assert.equal(fits.verdict, 'redirect');
        assert.equal(fits.frame.length, 1514);
        const told = first.run(
          'from_netdev',
          eth(unfragmentable(ip(client, vip, sized(version, 1501 - overhead)))),
          true,
        );
        const [type, code] = version === 4 ? [3, 4] : [2, 0];
        assert.match(
          textOf(told.frame),
          new RegExp(
            `${vip} > ${client} .*\\nicmp type ${type} code ${code} checksum good\\n {2}quotes .*${client} > ${vip} .*\\n {2}quotes ports 1000 > 80`,
          ),
        );
        assert.equal(told.frame.readUInt32BE(14 + (version === 4 ? 20 : 40) + 4), 1500 - overhead);
        assert.equal(told.verdict, 'redirect');
      });

      test('options that leave no room, and headers that must stay first', () => {
        const packet = ip(client, vip, tcp(1000, 80));
        const full =
          version === 4
            ? Buffer.concat([Buffer.from([0x4e]), packet.subarray(1, 20), Buffer.alloc(36, 1), packet.subarray(20)])
            : Buffer.concat([packet.subarray(0, 40), Buffer.from([6, 0, 1, 4, 0, 0, 0, 0]), packet.subarray(40)]);
        if (version === 4) full.writeUInt16BE(full.length, 2);
        else full.writeUInt16BE(full.length - 40, 4);
        if (version === 6) full[6] = 0;
        assert.equal(first.run('from_netdev', eth(full)).dropped, 'DROP_DSR_ENCAP_FAILED');
      });

      test("an error about the frontend's answer goes to the backend; one of the backend comes from the frontend", () => {
        const error = (from: string, to: string, quoted: Buffer, options = {}) => {
          const [type, code] = version === 4 ? [3, 3] : [1, 4];
          return eth(ip(from, to, icmp(version, type, code, Buffer.concat([Buffer.alloc(4), quoted]))), options);
        };
        second.run('from_netdev', first.run('from_netdev', syn).frame);
        const router = version === 4 ? '198.51.100.1' : '2001:db8:1::1';
        const told = first.run('from_netdev', error(router, vip, ip(vip, client, tcp(80, 1000, 'ACK'))));
        assert.match(
          textOf(told.frame),
          new RegExp(
            `${router} > ${backend} .*\\n.*checksum good\\n {2}quotes .*${backend} > ${client} .*\\n {2}quotes ports 8080 > 1000`,
          ),
        );
        assert.equal(second.run('from_netdev', told.frame).verdict, 'redirect');
        const refused = error(backend, client, ip(client, backend, tcp(1000, 8080)), { sourceMac: backendId });
        assert.match(
          answered(second, refused),
          new RegExp(
            `${vip} > ${client} .*\\n.*checksum good\\n {2}quotes .*${client} > ${vip} .*\\n {2}quotes ports 1000 > 80`,
          ),
        );
      });

      test('encapsulated, the packet goes as it came; the backend sees the same', () => {
        const { verdict, frame } = firstIpip.run('from_netdev', syn);
        assert.equal(verdict, 'redirect');
        const [outer, ...inner] = textOf(frame).split('\n');
        assert.match(
          outer ?? '',
          new RegExp(`${nodeA} > ${backend} ${version === 4 ? 'ttl 63.*checksum good' : 'hops 63'}`),
        );
        assert.equal(inner.join('\n'), textOf(eth(ip(client, vip, tcp(1000, 80), { ttl: 63 }))));
        const taken = secondIpip.run('from_netdev', frame);
        assert.equal(taken.verdict, 'redirect');
        assert.equal(textOf(taken.frame), direct(tcp(1000, 8080), 62));
        assert.equal(answered(secondIpip), fromFrontend);
        const ack = firstIpip.run('from_netdev', protocol(tcp(1000, 80, 'ACK'))).frame;
        assert.equal(textOf(ack).split('\n')[0]?.includes(`${nodeA} > ${backend}`), true, 'every packet');
        secondIpip
          .map(mapSpecs.lb_dsr)
          .remove({ frontend: address(vip), backend: address(backend), port: 80, proto: 6 });
        assert.equal(textOf(secondIpip.run('from_netdev', ack).frame), direct(tcp(1000, 8080, 'ACK'), 62), 'has left');
      });

      test('encapsulated to a node that serves itself', () => {
        firstIpip.service(vip, 6, nodeB, 0);
        secondIpip.serves(vip, 80, 6, nodeB, 8443);
        const taken = secondIpip.run('from_netdev', firstIpip.run('from_netdev', syn).frame);
        assert.equal(taken.verdict, 'stack');
        assert.equal(textOf(taken.frame), textOf(eth(ip(client, nodeB, tcp(1000, 8443), { ttl: 63 }))));
      });

      test('encapsulated by others than nodes, or for what is no service: not unpacked', () => {
        const frame = firstIpip.run('from_netdev', syn).frame;
        secondIpip.clear();
        assert.equal(textOf(secondIpip.run('from_netdev', frame).frame).split('\n').length, 3, 'no service');
        secondIpip.serves(vip, 80, 6, backend);
        secondIpip.map(mapSpecs.nodes).remove({ address: address(nodeA) });
        assert.equal(textOf(secondIpip.run('from_netdev', frame).frame).split('\n').length, 3, 'no node');
        secondIpip.node(nodeA);
        assert.equal(textOf(secondIpip.run('from_netdev', frame).frame).split('\n').length, 2);
      });

      test('encapsulated, too big is told even to who would not mind fragments', () => {
        firstIpip.service(vip, 17, backend);
        const size = 1500 - (version === 4 ? 20 : 40);
        assert.equal(firstIpip.run('from_netdev', eth(ip(client, vip, sized(version, size)))).frame.length, 1514);
        const told = firstIpip.run('from_netdev', eth(ip(client, vip, sized(version, size + 1))), true);
        assert.match(textOf(told.frame), /\nicmp type [32] code [40] checksum good\n/);
        assert.equal(told.frame.readUInt32BE(14 + (version === 4 ? 20 : 40) + 4), size);
      });

      test('what goes by the overlay carries the option, however the rest is sent', () => {
        const { verdict, frame } = firstOverlay.run('from_netdev', syn);
        assert.equal(verdict, 'redirect');
        assert.match(textOf(frame), new RegExp(`${client} > ${backend} .*\\noptions ${option}\\n`));
      });

      test('the policy of the backend judges the client', () => {
        second.endpoint(backend, backendId, EndpointFlags.ENDPOINT_POLICY_INGRESS);
        const sent = first.run('from_netdev', syn).frame;
        assert.equal(second.run('from_netdev', sent).dropped, 'DROP_POLICY');
      });
    });
  }

  test('IPv4: what may be fragmented goes on with the option, and fragments keep it', () => {
    const { client, vip, backend } = families[0];
    first.clear();
    first.service(vip, 17, backend);
    const sent = first.run('from_netdev', eth(ip(client, vip, sized(4, 1500))));
    assert.equal(sent.verdict, 'stack');
    assert.match(textOf(sent.frame), /length 1508 .*\noptions 9a/);
  });
});
