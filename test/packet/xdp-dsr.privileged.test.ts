/** Direct server return where XDP runs: its services are tc's, and a flow goes on as it began when its service changes; both families. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ConfigFlags, LbServiceFlags } from '@ciliate/abi';
import { privileged } from '../lib/privileged.ts';
import { eth } from './packet.ts';
import { packetText } from './packet-text.ts';
import { macs, type Outcome, world, XdpWorld } from './xdp-world.ts';

const { LB_SVC_NODE_PORT, LB_SVC_ROUTABLE, LB_SVC_DSR } = LbServiceFlags;
const translated = LB_SVC_NODE_PORT | LB_SVC_ROUTABLE;
const port = 30_001;

describe('XDP and direct server return', privileged('bpf'), () => {
  let both: XdpWorld;
  before(() => {
    both = new XdpWorld({ routingMode: 0, flags: 0x3f | ConfigFlags.CONFIG_DSR });
  });
  after(() => both?.close());

  for (const family of [4, 6] as const) {
    const id = 10 + family;
    const service = (flags: number): void =>
      both.xdp.service(id, world.node[family], port, [[world.remote[family], 8080]], { flags });
    const send = (sport: number, flags: string): Outcome =>
      both.xdp.receive(
        eth(macs.router, macs.eth0).ip(world.client[family], world.node[family]).tcp(sport, port, flags).build(),
      );
    /** By which program, from whom, and whether it tells what was dialled. */
    const way = ({ by, verdict, frame }: Outcome): readonly unknown[] => {
      assert.equal(verdict, 'sent');
      const text = packetText(frame);
      const source = [world.client, world.node].find(one => text.includes(`${one[family]} > ${world.remote[family]} `));
      return [by, source?.[family], /\noptions /.test(text)];
    };

    test(`IPv${family}: a service's flows are tc's, and stay so when it is translated from now on`, () => {
      service(translated | LB_SVC_DSR);
      assert.deepEqual(way(send(1000, 'SYN')), ['tc', world.client[family], true]);
      service(translated);
      assert.deepEqual(way(send(1000, 'ACK')), ['tc', world.client[family], false]);
      assert.deepEqual(way(send(1001, 'SYN')), ['xdp', world.node[family], false]);
    });

    test(`IPv${family}: a flow that XDP has translated stays translated when its service asks for DSR`, () => {
      service(translated);
      assert.deepEqual(way(send(1002, 'SYN')), ['xdp', world.node[family], false]);
      service(translated | LB_SVC_DSR);
      assert.deepEqual(way(send(1002, 'ACK')), ['tc', world.node[family], false]);
      assert.deepEqual(way(send(1003, 'SYN')), ['tc', world.client[family], true]);
    });
  }
});
