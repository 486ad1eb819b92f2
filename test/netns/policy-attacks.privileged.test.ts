/** Frames out of a real pod that try to get past a policy; the server sees none of them, and what is dropped says why. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { PolicyNode, type PolicyPod, withPayload } from '../lib/policy-node.ts';
import { privileged } from '../lib/privileged.ts';
import { icmp, ip, tcp, udp } from '../packet/frame.ts';
import { fragmented, withOptions } from '../packet/odd-frames.ts';

const vxlanPort = 8472;

describe('attacks of a pod', privileged('root'), () => {
  const world = new PolicyNode(`ciliate-attacks-${process.pid}`);
  let [server, friend, foe]: readonly PolicyPod[] = [];
  before(async () => {
    await world.up();
    [server, friend, foe] = ['server', 'friend', 'foe'].map(name => world.pod(name));
    await world.expect({ friend: true, foe: false }, 'friends only');
  });
  after(() => world.down());
  beforeEach(() => world.pod('server').device.frames());

  /** Sends, and gives the reasons for which something was dropped meanwhile. */
  const attempt = async (marks: readonly Buffer[], send: () => void): Promise<readonly string[]> => {
    const earlier = await world.drops();
    send();
    assert.deepEqual(
      await world.arrived('server', marks),
      marks.map(() => false),
      'nothing of it comes',
    );
    const later = await world.drops();
    return [...later].filter(([name, count]) => count > (earlier.get(name) ?? 0)).map(([name]) => name);
  };
  const names = (): { readonly server: PolicyPod; readonly friend: PolicyPod; readonly foe: PolicyPod } => {
    assert.ok(server !== undefined && friend !== undefined && foe !== undefined);
    return { server, friend, foe };
  };
  const inner = (from: PolicyPod, family: 4 | 6, mark: Buffer, port = 80): Buffer =>
    ip(from.address[family], names().server.address[family], withPayload(tcp(1234, port), mark));

  for (const family of [4, 6] as const) {
    describe(`IPv${family}`, () => {
      test('the address of another pod, with the own MAC or with that pod’s', async () => {
        const { foe: sender, friend: victim } = names();
        for (const [sourceMac, reason] of [
          [sender.mac, 'Invalid source ip'],
          [victim.mac, 'Invalid source'],
        ] as const) {
          const mark = world.mark();
          const reasons = await attempt([mark], () => world.send(sender, inner(victim, family, mark), sourceMac));
          assert.match(reasons.join(), new RegExp(reason));
        }
      });

      test('the own address with the MAC of another pod', async () => {
        const { foe: sender, friend: victim } = names();
        const mark = world.mark();
        const reasons = await attempt([mark], () => world.send(sender, inner(sender, family, mark), victim.mac));
        assert.deepEqual(reasons, ['Invalid source mac']);
      });

      test('a VXLAN header with the friend’s identity, to the node', async () => {
        const { foe: sender, friend: victim, server: target } = names();
        const ipcache = (await world.node.get('/v1/ciliate/bpf/ipcache')) as readonly {
          readonly prefix: string;
          readonly identity: number;
        }[];
        const identity = ipcache.find(({ prefix }) => prefix.startsWith(`${victim.address[4]}/`))?.identity ?? 0;
        assert.ok(identity >= 256, JSON.stringify(ipcache));
        const marks: Buffer[] = [];
        const node = family === 4 ? '172.31.0.11' : 'fd00:172:31::11';
        const reasons = await attempt(marks, () => {
          for (const from of [victim.address[family], family === 4 ? '10.244.77.7' : 'fd00:10:244:77::7']) {
            const mark = world.mark();
            marks.push(mark);
            const header = Buffer.from([8, 0, 0, 0, identity >>> 16, (identity >>> 8) & 255, identity & 255, 0]);
            const packet = ip(from, target.address[family], withPayload(tcp(1234, 80), mark));
            const type = Buffer.from(family === 4 ? [8, 0] : [0x86, 0xdd]);
            const frame = Buffer.concat([Buffer.alloc(12, 2), type, packet]);
            const outer = withPayload(udp(5555, vxlanPort, ''), Buffer.concat([header, frame]));
            world.send(sender, ip(sender.address[family], node, outer));
          }
        });
        assert.equal(marks.length, 2);
        assert.deepEqual(reasons, ['Forged overlay']);
      });

      test('fragments: the first too short for its ports, the rest of what is forbidden, two that say different ports', async () => {
        const { foe: sender } = names();
        const size = family === 4 ? 20 : 40;
        const marks = [world.mark(), world.mark(), world.mark()] as const;
        const forbidden = inner(sender, family, marks[0]);
        const rest = Buffer.concat([Buffer.alloc(11), marks[1]]);
        const reasons = await attempt(marks, () => {
          const id = 4711;
          world.send(sender, fragmented(forbidden, forbidden.subarray(size, size + 8), { id, offset: 0, more: true }));
          world.send(sender, fragmented(forbidden, forbidden.subarray(size + 8), { id, offset: 1, more: false }));
          world.send(sender, fragmented(forbidden, forbidden.subarray(size), { id: id + 1, offset: 0, more: true }));
          world.send(sender, fragmented(forbidden, rest, { id: id + 1, offset: 5, more: false }));
          const last = Buffer.concat([Buffer.alloc(10), marks[2]]);
          world.send(sender, fragmented(forbidden, last, { id: id + 2, offset: 5, more: false }));
        });
        assert.deepEqual(reasons.toSorted(), ['Frag not found', 'Invalid packet', 'Policy denied'].toSorted());
      });

      test('options that look like ports; flags of no connection; answers to nothing', async () => {
        const { foe: sender, server: target } = names();
        const marks: Buffer[] = [];
        const next = (): Buffer => {
          const mark = world.mark();
          marks.push(mark);
          return mark;
        };
        const reasons = await attempt(marks, () => {
          world.send(sender, withOptions(inner(sender, family, next(), 81), 2));
          const at = (family === 4 ? 20 : 40) + 13;
          for (const flags of [0x00, 0x29, 0x03, 0x3f, 0x10, 0x12]) {
            const packet = inner(sender, family, next());
            packet[at] = flags;
            world.send(sender, packet);
          }
          world.send(sender, ip(sender.address[family], target.address[family], withPayload(udp(80, 80, ''), next())));
        });
        assert.equal(marks.length, 8);
        assert.deepEqual(reasons, ['Policy denied']);
      });

      test('an ICMP error about a flow that never was, and about somebody else’s', async () => {
        const { foe: sender, friend: other, server: target } = names();
        assert.equal(await world.reaches('friend'), true, 'a flow that there is');
        const marks = [world.mark(), world.mark()] as const;
        const reasons = await attempt(marks, () => {
          for (const [i, mark] of marks.entries()) {
            // As if the server had sent it, with ports that nobody has, to the sender and to the friend.
            const to = i === 0 ? sender : other;
            const quoted = ip(target.address[family], to.address[family], tcp(80, 20_999, 'SYN,ACK'));
            const rest = Buffer.concat([Buffer.alloc(4), quoted, mark]);
            const error = family === 4 ? icmp(4, 3, 1, rest) : icmp(6, 1, 3, rest);
            world.send(sender, ip(sender.address[family], target.address[family], error));
          }
        });
        assert.deepEqual(reasons, ['Policy denied']);
      });
    });
  }

  test('after all of it friends pass and foes do not', async () => {
    await world.expect({ friend: true, foe: false }, 'as before');
    const found = (await world.node.get('/v1/ciliate/policy/verify')) as { readonly differences: readonly unknown[] };
    assert.deepEqual(found.differences, []);
  });
});
