/** What a pod sends: from_container, both families, good packets and bad ones. */
import { EndpointFlags, IpcacheFlags, LbServiceFlags, mapSpecs } from '@ciliate/abi';
import { address } from './config.ts';
import { type Entry, entry, packetTest, testIfindex } from './harness.ts';
import { eth, macs, macWire, type Packet } from './packet.ts';

const clientMac = macs.source;
const routerMac = macs.destination;
const serverMac = '02:00:00:00:00:0b';
const serverNodeMac = '02:00:00:00:00:02';

interface Family {
  readonly name: string;
  readonly client: string;
  readonly server: string;
  readonly remote: string;
  readonly service: string;
  readonly node: string;
  readonly hairpin: string;
}

const families: readonly Family[] = [
  {
    name: 'IPv4',
    client: '10.244.1.5',
    server: '10.244.1.6',
    remote: '10.244.2.7',
    service: '10.96.0.10',
    node: '172.30.0.11',
    hairpin: '169.254.42.1',
  },
  {
    name: 'IPv6',
    client: 'fd00:10:244:1::5',
    server: 'fd00:10:244:1::6',
    remote: 'fd00:10:244:2::7',
    service: 'fd00:10:96::a',
    node: 'fd00:172:30::11',
    hairpin: 'fe80::a9fe:2a01',
  },
];

function endpoint(at: string, id: number, mac: string, nodeMac: string): Entry {
  const value = { ifindex: testIfindex + id - 1, identity: 1000 + id, id, flags: 0 };
  return entry(
    mapSpecs.endpoints,
    { address: address(at) },
    { ...value, mac: macWire(mac), nodeMac: macWire(nodeMac), policyGroup: 0, policyRevision: 0 },
  );
}

function world(family: Family): Entry[] {
  const node = { ifindex: 0, identity: 1, id: 0, flags: EndpointFlags.ENDPOINT_HOST };
  return [
    endpoint(family.client, 1, clientMac, routerMac),
    endpoint(family.server, 2, serverMac, serverNodeMac),
    entry(
      mapSpecs.endpoints,
      { address: address(family.node) },
      { ...node, mac: new Uint8Array(6), nodeMac: new Uint8Array(6), policyGroup: 0, policyRevision: 0 },
    ),
    entry(
      mapSpecs.ipcache,
      { prefixlen: 128, address: address(family.remote) },
      { identity: 1003, tunnelEndpoint: address('172.30.0.12'), flags: IpcacheFlags.IPCACHE_IN_CLUSTER },
    ),
  ];
}

/** A service on TCP 80 with one backend on 8080, or none. */
function service(family: Family, backend?: string): Entry[] {
  const key = { address: address(family.service), dport: 80, backendSlot: 0, proto: 6, scope: 0 };
  const master = { backendId: 0, count: backend === undefined ? 0 : 1, revNatId: 7, flags: 0, qcount: 0 };
  const flags = LbServiceFlags.LB_SVC_CLUSTER_IP;
  return [
    entry(mapSpecs.lb_services, key, { ...master, flags }),
    entry(mapSpecs.lb_revnat, 7, { address: address(family.service), port: 80 }),
    ...(backend === undefined
      ? []
      : [
          entry(mapSpecs.lb_services, { ...key, backendSlot: 1 }, { ...master, backendId: 3, count: 0, flags }),
          entry(mapSpecs.lb_backends, 3, { address: address(backend), port: 8080, proto: 6, flags: 1 }),
        ]),
  ];
}

const lxc = { object: 'lxc.bpf.o', program: 'from_container' } as const;
const cut = (packet: Packet, length: number): Uint8Array => packet.build().subarray(0, length);

for (const family of families) {
  const { name, client, server, remote, node } = family;
  const maps = world(family);
  const toServer = eth(serverNodeMac, serverMac);

  packetTest(`${name}: TCP to a pod of this node goes straight into it`, {
    ...lxc,
    maps,
    in: eth().ip(client, server).tcp(31337, 80, 'SYN'),
    out: { verdict: 'TC_ACT_REDIRECT', packet: toServer.ip(client, server, { ttl: 63 }).tcp(31337, 80, 'SYN') },
  });
  packetTest(`${name}: UDP to a pod of this node`, {
    ...lxc,
    maps,
    in: eth().ip(client, server).udp(5000, 53, 'question'),
    out: { verdict: 'TC_ACT_REDIRECT', packet: toServer.ip(client, server, { ttl: 63 }).udp(5000, 53, 'question') },
  });
  packetTest(`${name}: echo request to a pod of this node`, {
    ...lxc,
    maps,
    in: eth().ip(client, server).echo(77),
    out: { verdict: 'TC_ACT_REDIRECT', packet: toServer.ip(client, server, { ttl: 63 }).echo(77) },
  });
  packetTest(`${name}: a pod of another node is reached by the overlay`, {
    ...lxc,
    maps,
    in: eth().ip(client, remote).tcp(31337, 80, 'SYN'),
    out: { verdict: 'TC_ACT_REDIRECT', packet: eth().ip(client, remote, { ttl: 63 }).tcp(31337, 80, 'SYN') },
  });
  packetTest(`${name}: the node itself gets it by its stack, untouched`, {
    ...lxc,
    maps,
    in: eth().ip(client, node).tcp(31337, 6443, 'SYN'),
    out: { verdict: 'TC_ACT_OK', packet: eth().ip(client, node).tcp(31337, 6443, 'SYN') },
  });
  packetTest(`${name}: TCP SYN to a ClusterIP is sent to its only backend`, {
    ...lxc,
    maps: [...maps, ...service(family, server)],
    in: eth().ip(client, family.service).tcp(31337, 80, 'SYN'),
    out: { verdict: 'TC_ACT_REDIRECT', packet: toServer.ip(client, server, { ttl: 63 }).tcp(31337, 8080, 'SYN') },
  });
  packetTest(`${name}: a pod that is its own backend sees the hairpin address`, {
    ...lxc,
    maps: [...maps, ...service(family, client)],
    in: eth().ip(client, family.service).tcp(31337, 80, 'SYN'),
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet: eth(routerMac, clientMac).ip(family.hairpin, client, { ttl: 63 }).tcp(31337, 8080, 'SYN'),
    },
  });
  packetTest(`${name}: its answer to itself comes from the service`, {
    ...lxc,
    maps: [...maps, ...service(family, client)],
    before: [eth().ip(client, family.service).tcp(31337, 80, 'SYN')],
    in: eth().ip(client, family.hairpin).tcp(8080, 31337, 'SYN,ACK'),
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet: eth(routerMac, clientMac).ip(family.service, client, { ttl: 63 }).tcp(80, 31337, 'SYN,ACK'),
    },
  });
  const dialled = eth()
    .ip(client, family.service)
    .tcp(31337, 80, 'SYN', 'x'.repeat(name === 'IPv4' ? 16 : 36));
  const rejected = eth(routerMac, clientMac).ip(family.service, client);
  packetTest(`${name}: a service without backends answers port unreachable at once`, {
    ...lxc,
    maps: [...maps, ...service(family)],
    in: dialled,
    out: {
      verdict: 'TC_ACT_REDIRECT',
      packet:
        name === 'IPv4'
          ? rejected.icmp(3, 3, Buffer.concat([Buffer.alloc(4), dialled.quoted(28)]))
          : rejected.icmp(1, 4, Buffer.concat([Buffer.alloc(4), dialled.quoted(48)])),
      drop: 'DROP_NO_SERVICE',
    },
  });
  packetTest(`${name}: a source that is not the pod's is dropped`, {
    ...lxc,
    maps,
    in: eth().ip(server, client).tcp(31337, 80, 'SYN'),
    out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_INVALID_SIP' },
  });
  packetTest(`${name}: another MAC than the pod's is dropped`, {
    ...lxc,
    maps,
    in: eth('02:00:00:00:00:ff').ip(client, server).tcp(31337, 80, 'SYN'),
    out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_INVALID_SMAC' },
  });
  packetTest(`${name}: a hop limit that ends here is the stack's to answer`, {
    ...lxc,
    maps,
    in: eth().ip(client, server, { ttl: 1 }).udp(5000, 53, 'x'),
    out: { verdict: 'TC_ACT_OK', packet: eth().ip(client, server, { ttl: 1 }).udp(5000, 53, 'x') },
  });
  const header = name === 'IPv4' ? 34 : 54;
  for (const length of [header, header + 3, header + 13]) {
    packetTest(`${name}: TCP cut off after ${length} bytes is dropped`, {
      ...lxc,
      maps,
      in: cut(eth().ip(client, server).tcp(31337, 80, 'SYN'), length),
      out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_INVALID' },
    });
  }
  packetTest(`${name}: a header of the wrong version is dropped`, {
    ...lxc,
    maps,
    in: (() => {
      const bytes = eth().ip(client, server).tcp(31337, 80, 'SYN').build();
      bytes[14] = 0xf5;
      return bytes;
    })(),
    out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_INVALID' },
  });
  packetTest(`${name}: a family that is switched off is unknown`, {
    ...lxc,
    maps,
    config: { flags: name === 'IPv4' ? 2 : 1 },
    in: eth().ip(client, server).tcp(31337, 80, 'SYN'),
    out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_UNKNOWN_L3' },
  });
}

const v4 = families[0] ?? { name: '', client: '', server: '', remote: '', service: '', node: '', hairpin: '' };
const first = eth().ipv4(v4.client, v4.server, { id: 9, moreFragments: true, proto: 17 }).udp(5000, 53, 'firsthal');
const later = eth().ipv4(v4.client, v4.server, { id: 9, fragmentOffset: 2, proto: 17 });

packetTest('IPv4: a later fragment follows its first', {
  ...lxc,
  maps: world(v4),
  before: [first],
  in: later,
  out: {
    verdict: 'TC_ACT_REDIRECT',
    packet: eth(serverNodeMac, serverMac).ipv4(v4.client, v4.server, { id: 9, fragmentOffset: 2, proto: 17, ttl: 63 }),
  },
});
packetTest('IPv4: a later fragment without its first is dropped', {
  ...lxc,
  maps: world(v4),
  in: later,
  out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_FRAG_NOT_FOUND' },
});
packetTest('ARP for any address is answered with the device of the pod', {
  ...lxc,
  maps: world(v4),
  in: eth(clientMac, 'ff:ff:ff:ff:ff:ff').arp('request', [clientMac, v4.client], ['00:00:00:00:00:00', '10.244.1.1']),
  out: {
    verdict: 'TC_ACT_REDIRECT',
    packet: eth(routerMac, clientMac).arp('reply', [routerMac, '10.244.1.1'], [clientMac, v4.client]),
  },
});
packetTest('ARP in the name of another pod is dropped', {
  ...lxc,
  maps: world(v4),
  in: eth(clientMac, 'ff:ff:ff:ff:ff:ff').arp('request', [clientMac, v4.server], ['00:00:00:00:00:00', '10.244.1.1']),
  out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_INVALID_SIP' },
});
packetTest('multicast of a pod ends at its device', {
  ...lxc,
  maps: world(v4),
  in: eth(clientMac, '01:00:5e:00:00:fb').ipv4(v4.client, '224.0.0.251').udp(5353, 5353, 'x'),
  out: { verdict: 'TC_ACT_SHOT' },
});
packetTest('what came without a tunnel key is no packet of another node', {
  object: 'overlay.bpf.o',
  program: 'from_overlay',
  maps: world(v4),
  in: eth().ipv4(v4.remote, v4.client).tcp(80, 31337, 'ACK'),
  out: { verdict: 'TC_ACT_SHOT', drop: 'DROP_NO_TUNNEL_KEY' },
});
