/** Socket load balancing as applications see it: real sockets in a cgroup, each family, protocol and call. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { ConfigFlags, LbServiceFlags } from '@ciliate/abi';
import { privileged } from '../lib/privileged.ts';
import { type Peer, SockNode } from './sock-node.ts';
import type { DialRequest } from './sock-peer.ts';

const TCP = 6;
const UDP = 17;

/** How each family dials: the socket's address text, and the addresses behind it. */
const families = [
  { name: 'IPv4', host: (text: { v4: string }) => text.v4, v6: false },
  { name: 'IPv6', host: (text: { v6: string }) => text.v6, v6: true },
  { name: 'IPv4 on an IPv6 socket', host: (text: { v4: string }) => `::ffff:${text.v4}`, v6: false },
] as const;

const kinds = ['tcp', 'udp-connect', 'udp-sendmsg'] as const;

const clusterIp = { v4: '10.96.9.1', v6: 'fd00:10:96::9:1' };
const nodeAddress = { v4: '10.9.0.1', v6: 'fd00:9::1' };
const remoteAddress = { v4: '10.9.0.2', v6: 'fd00:9::2' };
const loopback = { v4: '127.0.0.1', v6: '::1' };
const anywhere = { v4: '0.0.0.0', v6: '::' };

/** Ports of the services; the servers listen on 8001 (takes new flows) and 8002 (terminating). */
const port = {
  plain: 80,
  empty: 81,
  terminating: 82,
  gone: 83,
  removed: 84,
  nodePort: 30080,
  notNodePort: 29999,
  hostPort: 8088,
  own: 8089,
};

function fill(node: SockNode): void {
  let id = 0;
  for (const [family, index] of [['v4', 0] as const, ['v6', 1] as const]) {
    node.address(nodeAddress[family], family === 'v4' ? 32 : 128);
    node.remoteNode(remoteAddress[family]);
    for (const proto of [TCP, UDP]) {
      const active = 1 + index * 4 + (proto === TCP ? 0 : 2);
      node.backend(active, nodeAddress[family], 8001, proto);
      node.backend(active + 1, nodeAddress[family], 8002, proto);
      const add = (
        host: string,
        at: number,
        slots: { active: number[]; terminating?: number[]; flags?: number },
      ): void => {
        id += 1;
        node.service({ host, port: at, proto, revNatId: id, ...slots });
      };
      add(clusterIp[family], port.plain, { active: [active], terminating: [active + 1] });
      add(clusterIp[family], port.empty, { active: [] });
      add(clusterIp[family], port.terminating, { active: [], terminating: [active + 1] });
      add(clusterIp[family], port.gone, { active: [99] });
      add(clusterIp[family], port.removed, { active: [active] });
      node.forget(id);
      add(anywhere[family], port.nodePort, { active: [active], flags: LbServiceFlags.LB_SVC_NODE_PORT });
      add(anywhere[family], port.notNodePort, { active: [active] });
      add(anywhere[family], port.hostPort, { active: [active], flags: LbServiceFlags.LB_SVC_HOST_PORT });
      add(loopback[family], port.own, { active: [active], flags: LbServiceFlags.LB_SVC_HOST_PORT });
    }
  }
}

/** What an application must see when it dialled a service: an answer from the backend in the name of the frontend. */
async function seesFrontend(peer: Peer, request: DialRequest, answeredBy: number): Promise<void> {
  const result = await peer.ask(request);
  const dialled = `${request.host} ${request.port}`;
  assert.deepEqual(result, {
    answeredBy,
    ...(request.kind === 'udp-sendmsg' ? {} : { peer: dialled }),
    ...(request.kind === 'tcp' ? {} : { from: dialled }),
  });
}

suite('socket load balancing', privileged('bpf'), () => {
  let node: SockNode;
  let host: Peer;
  let pod: Peer;

  before(async () => {
    node = new SockNode(`sock-test-${process.pid}`);
    fill(node);
    host = await node.peer('node');
    pod = await node.peer('pod');
    for (const peer of [host, pod])
      for (const address of [nodeAddress.v4, nodeAddress.v6])
        for (const at of [8001, 8002]) assert.deepEqual(await peer.ask({ kind: 'serve', host: address, port: at }), {});
  });
  after(async () => {
    await node?.down();
  });

  test('every program is accepted by the verifier', () => {
    for (const { name, info } of node.programs.values()) {
      process.stdout.write(`${name}: ${info.instructions} instructions, ${info.verifiedInstructions} verified\n`);
      assert.ok(info.instructions > 0);
    }
  });

  for (const family of families) {
    for (const kind of kinds) {
      const title = `${family.name} ${kind}`;
      test(`${title}: a ClusterIP leads to the backend that takes new flows`, async () => {
        const request = { kind, host: family.host(clusterIp), port: port.plain };
        for (let round = 0; round < 8; round++) await seesFrontend(pod, request, 8001);
      });
      test(`${title}: terminating backends serve when there are no others`, async () => {
        await seesFrontend(pod, { kind, host: family.host(clusterIp), port: port.terminating }, 8002);
      });
      test(`${title}: a service without backends refuses at once`, async () => {
        const result = await pod.ask({ kind, host: family.host(clusterIp), port: port.empty });
        assert.deepEqual(result, { error: 'ECONNREFUSED' });
      });
      test(`${title}: a slot whose backend is gone refuses at once`, async () => {
        const result = await pod.ask({ kind, host: family.host(clusterIp), port: port.gone });
        assert.deepEqual(result, { error: 'ECONNREFUSED' });
      });
      test(`${title}: nothing is said in the name of a removed frontend`, async () => {
        const result = await pod.ask({ kind, host: family.host(clusterIp), port: port.removed });
        const backend = `${family.host(nodeAddress)} 8001`;
        assert.equal(result.answeredBy, 8001);
        if (kind !== 'udp-sendmsg') assert.equal(result.peer, backend);
        if (kind !== 'tcp') assert.equal(result.from, backend);
      });
      test(`${title}: what is no service is left alone`, async () => {
        const result = await pod.ask({ kind, host: family.host(nodeAddress), port: 8001 });
        assert.equal(result.answeredBy, 8001);
        const seen = `${family.host(nodeAddress)} 8001`;
        if (kind !== 'udp-sendmsg') assert.equal(result.peer, seen);
        if (kind !== 'tcp') assert.equal(result.from, seen);
      });
      for (const [where, address] of [['this node', nodeAddress] as const, ['another node', remoteAddress] as const]) {
        test(`${title}: NodePort on the address of ${where}`, async () => {
          await seesFrontend(pod, { kind, host: family.host(address), port: port.nodePort }, 8001);
        });
      }
      test(`${title}: NodePort on loopback is the node's alone`, async () => {
        const request = { kind, host: family.host(loopback), port: port.nodePort };
        await seesFrontend(host, request, 8001);
        const inPod = await pod.ask({ ...request, patience: 1000 });
        assert.equal(inPod.answeredBy, undefined);
      });
      for (const [what, at] of [['of every address', port.hostPort] as const, ['of loopback', port.own] as const]) {
        test(`${title}: a hostPort ${what} on loopback is the node's alone`, async () => {
          const request = { kind, host: family.host(loopback), port: at };
          await seesFrontend(host, request, 8001);
          const inPod = await pod.ask({ ...request, patience: 1000 });
          assert.equal(inPod.answeredBy, undefined);
        });
      }
      test(`${title}: a port outside the NodePort range is no NodePort`, async () => {
        const result = await pod.ask({ kind, host: family.host(nodeAddress), port: port.notNodePort, patience: 1000 });
        assert.equal(result.answeredBy, undefined);
      });
    }
  }

  for (const address of [anywhere.v4, anywhere.v6, nodeAddress.v4, nodeAddress.v6]) {
    test(`bind to ${address}: the node may not take a NodePort, a pod and other ports may`, async () => {
      const request = { kind: 'serve', host: address, port: port.nodePort } as const;
      assert.deepEqual(await host.ask(request), { error: 'EADDRINUSE' });
      assert.deepEqual(await host.ask({ ...request, port: port.nodePort + 1, close: true }), {});
      assert.deepEqual(await pod.ask({ ...request, close: true }), {});
    });
  }
});

suite('socket load balancing where services without backends shall be silent', privileged('bpf'), () => {
  let node: SockNode;
  before(() => {
    node = new SockNode(`sock-silent-${process.pid}`, ConfigFlags.CONFIG_NO_BACKEND_DROP);
    fill(node);
  });
  after(async () => {
    await node?.down();
  });

  test('nothing is refused at the socket', async () => {
    const pod = await node.peer('pod');
    const request = { kind: 'udp-sendmsg', host: nodeAddress.v4, port: 8001 } as const;
    node.service({ host: nodeAddress.v4, port: 8001, proto: UDP, active: [], revNatId: 900 });
    assert.deepEqual(await pod.ask({ kind: 'serve', host: nodeAddress.v4, port: 8001 }), {});
    assert.equal((await pod.ask(request)).answeredBy, 8001);
  });
});
