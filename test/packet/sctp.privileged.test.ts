/** SCTP through services: ports change, and the CRC32c follows as if it had been computed anew; both families. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { EndpointFlags, LbServiceFlags, mapSpecs } from '@ciliate/abi';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { crc32c } from './crc32c.ts';
import { type Entry, entry, packetTest, testIfindex } from './harness.ts';
import { eth, macs, macWire, type Packet } from './packet.ts';
import { packetText } from './packet-text.ts';
import { Harness } from './program-run.ts';

const SCTP = 132;
const INIT = 1;
const DATA = 0;
const podMac = '02:00:00:00:00:0b';
const podNodeMac = '02:00:00:00:00:02';
const { LB_SVC_CLUSTER_IP, LB_SVC_NODE_PORT, LB_SVC_ROUTABLE } = LbServiceFlags;

test('the checksum of the tests is the one of RFC 3720', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe306_9283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a91_36aa);
});

const families = [
  {
    ...{ name: 'IPv4', client: '10.244.1.5', server: '10.244.1.6', remote: '10.244.2.7', service: '10.96.0.10' },
    ...{ node: '172.30.0.11', outsider: '192.0.2.9', tunnel: '172.30.0.12' },
  },
  {
    ...{ name: 'IPv6', client: 'fd00:10:244:1::5', server: 'fd00:10:244:1::6', remote: 'fd00:10:244:2::7' },
    ...{ service: 'fd00:10:96::a', node: 'fd00:172:30::11', outsider: '2001:db8::9', tunnel: '172.30.0.12' },
  },
] as const;

function pod(at: string, id: number, mac: string, nodeMac: string): Entry {
  const value = { ifindex: testIfindex, identity: 1000 + id, id, flags: 0, policyGroup: 0, policyRevision: 0 };
  return entry(
    mapSpecs.endpoints,
    { address: address(at) },
    { ...value, mac: macWire(mac), nodeMac: macWire(nodeMac) },
  );
}

function service(at: string, port: number, backend: string, backendPort: number, flags: number): readonly Entry[] {
  const key = { address: address(at), dport: port, backendSlot: 0, proto: SCTP, scope: 0 };
  const value = { backendId: 0, count: 1, revNatId: 7, flags, qcount: 0 };
  return [
    entry(mapSpecs.lb_services, key, value),
    entry(mapSpecs.lb_services, { ...key, backendSlot: 1 }, { ...value, backendId: 3, count: 0 }),
    entry(mapSpecs.lb_backends, 3, { address: address(backend), port: backendPort, proto: SCTP, flags: 1 }),
    entry(mapSpecs.lb_revnat, 7, { address: address(at), port }),
  ];
}

const lxc = { object: 'lxc.bpf.o', program: 'from_container' } as const;
const netdev = { object: 'host.bpf.o', program: 'from_netdev' } as const;
/** Bytes that are not all alike, `length` of them. */
const payload = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i * 167 + (i >> 3)) & 255));

for (const family of families) {
  const { name, client, server, remote, node, outsider } = family;
  const nodeEntry = entry(
    mapSpecs.endpoints,
    { address: address(node) },
    {
      ...{ ifindex: 0, identity: 1, id: 0, flags: EndpointFlags.ENDPOINT_HOST, mac: new Uint8Array(6) },
      ...{ nodeMac: new Uint8Array(6), policyGroup: 0, policyRevision: 0 },
    },
  );
  const world = [
    pod(client, 1, macs.source, macs.destination),
    pod(server, 2, podMac, podNodeMac),
    nodeEntry,
    entry(
      mapSpecs.ipcache,
      { prefixlen: 128, address: address(remote) },
      { identity: 1003, tunnelEndpoint: address(family.tunnel), flags: 1 },
    ),
  ];
  const inner = [...world, ...service(family.service, 3868, server, 38_412, LB_SVC_CLUSTER_IP)];
  const toServer = eth(podNodeMac, podMac);

  for (const length of [0, 1, 3, 16, 100, 1000, 1436, 3000]) {
    packetTest(`${name}: ${length} bytes of a pod to a ClusterIP`, {
      ...lxc,
      maps: inner,
      in: eth().ip(client, family.service).sctp(31_337, 3868, DATA, payload(length)),
      out: {
        verdict: 'TC_ACT_REDIRECT',
        packet: toServer.ip(client, server, { ttl: 63 }).sctp(31_337, 38_412, DATA, payload(length)),
      },
    });
  }
  packetTest(`${name}: the answer comes from the service`, {
    ...lxc,
    maps: [...inner, ...otherSender(family.server)],
    before: [eth().ip(client, family.service).sctp(31_337, 3868, INIT, payload(16))],
    in: eth().ip(server, client).sctp(38_412, 31_337, 2, payload(300)),
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet: eth(macs.destination, macs.source)
        .ip(family.service, client, { ttl: 63 })
        .sctp(3868, 31_337, 2, payload(300)),
    },
  });
  packetTest(`${name}: a checksum that a device has to fill in stays 0`, {
    ...lxc,
    maps: inner,
    in: eth().ip(client, family.service).sctp(31_337, 3868, DATA, payload(64), false),
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet: toServer.ip(client, server, { ttl: 63 }).sctp(31_337, 38_412, DATA, payload(64), false),
    },
  });
  const padding = Buffer.from('padding of the frame');
  packetTest(`${name}: what pads the frame is none of the packet`, {
    ...lxc,
    maps: inner,
    in: padded(eth().ip(client, family.service).sctp(31_337, 3868, DATA, payload(8)), padding),
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet: padded(toServer.ip(client, server, { ttl: 63 }).sctp(31_337, 38_412, DATA, payload(8)), padding),
    },
  });
  packetTest(`${name}: cut off in its header it is dropped`, {
    ...lxc,
    maps: inner,
    in: eth()
      .ip(client, family.service)
      .sctp(31_337, 3868, DATA)
      .build()
      .subarray(0, (name === 'IPv4' ? 34 : 54) + 10),
    out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_INVALID' },
  });

  const flags = LB_SVC_NODE_PORT | LB_SVC_ROUTABLE;
  packetTest(`${name}: NodePort from outside to a pod of this node`, {
    ...netdev,
    maps: [...world, ...service(node, 30_100, server, 38_412, flags)],
    in: eth().ip(outsider, node).sctp(31_337, 30_100, INIT, payload(16)),
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet: toServer.ip(outsider, server, { ttl: 63 }).sctp(31_337, 38_412, INIT, payload(16)),
    },
  });
  // The first port that is tried: the client's own, folded into the range.
  const port = 1024 + (31_337 % (29_999 - 1024 + 1));
  packetTest(`${name}: NodePort to another node changes both ports`, {
    ...netdev,
    maps: [...world, ...service(node, 30_100, remote, 38_412, flags)],
    in: eth().ip(outsider, node).sctp(31_337, 30_100, INIT, payload(16)),
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet: eth().ip(node, remote, { ttl: 63 }).sctp(port, 38_412, INIT, payload(16)),
    },
  });
  packetTest(`${name}: and the answer changes them back`, {
    ...netdev,
    maps: [...world, ...service(node, 30_100, remote, 38_412, flags)],
    before: [eth().ip(outsider, node).sctp(31_337, 30_100, INIT, payload(16))],
    in: eth().ip(remote, node).sctp(38_412, port, 2, payload(200)),
    out: { verdict: 'TC_ACT_OK', packet: eth().ip(node, outsider).sctp(30_100, 31_337, 2, payload(200)) },
  });
}

/** The pod sends with the MACs of the harness. */
function otherSender(at: string): readonly Entry[] {
  return [pod(at, 2, macs.source, macs.destination)];
}

function padded(packet: Packet, padding: Uint8Array): Uint8Array {
  return Buffer.concat([packet.build(), padding]);
}

const [v4] = families;
const fragment = (port: number) =>
  eth().ipv4(v4.client, v4.service, { id: 9, moreFragments: true }).sctp(31_337, port, DATA, payload(64));
packetTest('IPv4: a packet in fragments cannot get another port, since nobody knows its length', {
  ...lxc,
  maps: [
    pod(v4.client, 1, macs.source, macs.destination),
    pod(v4.server, 2, podMac, podNodeMac),
    ...service(v4.service, 3868, v4.server, 38_412, LB_SVC_CLUSTER_IP),
  ],
  in: fragment(3868),
  out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_FRAG_NOSUPPORT' },
});
packetTest('IPv4: with the same port on both sides fragments pass', {
  ...lxc,
  maps: [
    pod(v4.client, 1, macs.source, macs.destination),
    pod(v4.server, 2, podMac, podNodeMac),
    ...service(v4.service, 3868, v4.server, 3868, LB_SVC_CLUSTER_IP),
  ],
  in: fragment(3868),
  out: {
    verdict: 'TC_ACT_REDIRECT',
    packet: eth(podNodeMac, podMac)
      .ipv4(v4.client, v4.server, { ttl: 63, id: 9, moreFragments: true })
      .sctp(31_337, 3868, DATA, payload(64)),
  },
});

describe('SCTP associations', privileged('bpf'), () => {
  const harness = new Harness('lxc.bpf.o', 'from_container');
  after(() => harness.close());
  const [first, second] = ['10.244.1.6', '10.244.1.7'];
  const send = (chunk: number): string =>
    packetText(
      harness.run(
        eth('02:00:00:00:00:05', '02:00:00:00:00:ee').ip('10.244.1.5', '10.96.0.10').sctp(4000, 3868, chunk).build(),
      ).bytes,
    );

  test('an association stays with a backend that has left; a new one by the same ports gets another', () => {
    harness.endpoint('10.244.1.5', 5);
    harness.endpoint(first, 6);
    harness.endpoint(second, 7);
    harness.service('10.96.0.10', 3868, SCTP, 9, [[first, 38_412]]);
    assert.match(send(INIT), /> 10\.244\.1\.6 [\s\S]*sctp 4000 > 38412 chunk 1 checksum good/);
    harness.map(mapSpecs.lb_backends).remove(900);
    harness.service('10.96.0.10', 3868, SCTP, 9, []);
    harness.service('10.96.0.10', 3868, SCTP, 9, [[second, 38_412]]);
    harness.clusterPrefix(first, 128);
    assert.match(send(DATA), /> 10\.244\.1\.6 [\s\S]*sctp 4000 > 38412 chunk 0 checksum good/);
    assert.match(send(INIT), /> 10\.244\.1\.7 [\s\S]*sctp 4000 > 38412 chunk 1 checksum good/);
  });
});
