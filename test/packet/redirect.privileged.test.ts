/** skipRedirectFromBackend: pods that a local redirect does not apply to, by their sockets and by their packets. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { LbServiceFlags, mapSpecs } from '@ciliate/abi';
import { privileged } from '../lib/privileged.ts';
import { address } from './config.ts';
import { type Entry, entry, packetTest, testIfindex } from './harness.ts';
import { eth, macs, macWire } from './packet.ts';
import { type Peer, SockNode } from './sock-node.ts';

const { LB_SVC_LOCAL_REDIRECT } = LbServiceFlags;
const TCP = 6;
const UDP = 17;
/** Scope of LbKey. */
const notRedirected = 2;

suite('sockets of pods that a redirect lets pass', privileged('bpf'), () => {
  const families = [
    { name: 'IPv4', server: '10.9.0.1', service: '10.96.9.1' },
    { name: 'IPv6', server: 'fd00:9::1', service: 'fd00:10:96::9:1' },
  ] as const;
  let node: SockNode;
  let pod: Peer;
  let other: Peer;

  before(async () => {
    node = new SockNode(`skip-test-${process.pid}`);
    [other, pod] = [await node.peer('node'), await node.peer('pod')];
    let id = 0;
    for (const { server, service } of families) {
      node.address(server, server.includes(':') ? 128 : 32);
      for (const peer of [pod, other]) {
        for (const port of [8001, 8002]) assert.deepEqual(await peer.ask({ kind: 'serve', host: server, port }), {});
      }
      for (const proto of [TCP, UDP]) {
        id += 2;
        node.backend(id, server, 8001, proto);
        node.backend(id + 1, server, 8002, proto);
        const redirect = { proto, revNatId: id, flags: LB_SVC_LOCAL_REDIRECT };
        node.service({ ...redirect, host: service, port: 80, active: [id] });
        node.service({ ...redirect, host: service, port: 80, active: [id + 1], scope: notRedirected });
        // An address that somebody has, redirected: nothing is behind it in the maps.
        node.service({ ...redirect, host: server, port: 8002, active: [id], revNatId: id + 1 });
        node.skip(service, 80, proto);
        node.skip(server, 8002, proto);
      }
    }
  });
  after(() => node?.down());

  for (const { name, server, service } of families) {
    for (const kind of ['tcp', 'udp-connect', 'udp-sendmsg'] as const) {
      test(`${name} ${kind}: a service's own backends for its pods, the redirect for others`, async () => {
        assert.equal((await other.ask({ kind, host: service, port: 80 })).answeredBy, 8001);
        const result = await pod.ask({ kind, host: service, port: 80 });
        assert.equal(result.answeredBy, 8002);
        if (kind !== 'udp-sendmsg') assert.equal(result.peer, `${service} 80`);
        if (kind !== 'tcp') assert.equal(result.from, `${service} 80`);
      });
      test(`${name} ${kind}: an address as it is for its pods, the redirect for others`, async () => {
        assert.equal((await other.ask({ kind, host: server, port: 8002 })).answeredBy, 8001);
        assert.equal((await pod.ask({ kind, host: server, port: 8002 })).answeredBy, 8002);
      });
    }
  }
});

const lxc = { object: 'lxc.bpf.o', program: 'from_container' } as const;

for (const family of [
  {
    ...{ name: 'IPv4', client: '10.244.1.5', other: '10.244.1.6', redirect: '10.244.1.7', own: '10.244.1.8' },
    ...{ service: '10.96.0.10', metadata: '169.254.169.254' },
  },
  {
    ...{ name: 'IPv6', client: 'fd00:10:244:1::5', other: 'fd00:10:244:1::6', redirect: 'fd00:10:244:1::7' },
    ...{ own: 'fd00:10:244:1::8', service: 'fd00:10:96::a', metadata: 'fd00:ec2::254' },
  },
] as const) {
  const { name, client, other, redirect, own, service, metadata } = family;
  const macOf = (id: number): string => (id < 3 ? macs.source : `02:00:00:00:00:${id}${id}`);
  const pod = (at: string, id: number): Entry =>
    entry(
      mapSpecs.endpoints,
      { address: address(at) },
      {
        ...{ ifindex: testIfindex, identity: 1000 + id, id, flags: 0, mac: macWire(macOf(id)) },
        ...{ nodeMac: macWire(macs.destination), policyGroup: 0, policyRevision: 0 },
      },
    );
  const slots = (host: string, scope: number, backendId: number): readonly Entry[] =>
    [0, 1].map(backendSlot =>
      entry(
        mapSpecs.lb_services,
        { address: address(host), dport: 80, backendSlot, proto: TCP, scope },
        {
          ...{ backendId: backendSlot === 0 ? 0 : backendId, count: backendSlot === 0 ? 1 : 0, qcount: 0, revNatId: 7 },
          flags: LB_SVC_LOCAL_REDIRECT,
        },
      ),
    );
  const backend = (id: number, host: string): Entry =>
    entry(mapSpecs.lb_backends, id, { address: address(host), port: 8080, proto: TCP, flags: 1 });
  const passes = (host: string): Entry =>
    entry(
      mapSpecs.lb_skip,
      { netnsCookie: 0n, address: address(host), port: 80, proto: TCP, endpointId: 1 },
      { present: 1 },
    );
  const maps = [
    ...[client, other, redirect, own].map((at, i) => pod(at, i + 1)),
    ...slots(service, 0, 1),
    ...slots(service, notRedirected, 2),
    ...slots(metadata, 0, 1),
    backend(1, redirect),
    backend(2, own),
    passes(service),
    passes(metadata),
  ];
  const sent = (from: string, to: string, port: number, ttl = 64) =>
    eth().ip(from, to, { ttl }).tcp(31337, port, 'SYN');
  const got = (from: string, to: string, id: number) =>
    eth(macs.destination, macOf(id)).ip(from, to, { ttl: 63 }).tcp(31337, 8080, 'SYN');

  packetTest(`${name}: what bypasses the socket is redirected`, {
    ...lxc,
    maps,
    in: sent(other, service, 80),
    out: { verdict: 'TC_ACT_REDIRECT', packet: got(other, redirect, 3) },
  });
  packetTest(`${name}: a pod that the redirect lets pass gets the service's own backend`, {
    ...lxc,
    maps,
    in: sent(client, service, 80),
    out: { verdict: 'TC_ACT_REDIRECT', packet: got(client, own, 4) },
  });
  packetTest(`${name}: an address that is redirected, link-local or not`, {
    ...lxc,
    maps,
    in: sent(other, metadata, 80),
    out: { verdict: 'TC_ACT_REDIRECT', packet: got(other, redirect, 3) },
  });
  packetTest(`${name}: to a pod that passes, the address is what the node's routes say`, {
    ...lxc,
    maps,
    in: sent(client, metadata, 80),
    // The namespace of the test has no route: the stack is to answer.
    out: { verdict: 'TC_ACT_OK', packet: sent(client, metadata, 80) },
  });
}
