/** Life of a translation over several packets and programs: both entries live equally long, and end when the flow does. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { mapSpecs } from '../../packages/abi/src/index.ts';
import { KernelMap, type LoadedObject, loadObject } from '../../packages/kernel/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { address, fullConfig, objectPath } from './config.ts';
import { describeFrame, eth, ip, mac, tcp, udp } from './frame.ts';
import { runPacket } from './run-packet.ts';

const families = [
  { name: 'IPv4', pod: '10.244.1.5', node: '172.30.0.11', world: '192.0.2.9' },
  { name: 'IPv6', pod: 'fd00:10:244:1::5', node: 'fd00:172:30::11', world: '2001:db8::9' },
] as const;

/** Seconds: far apart, so that a test sees which of them was used. */
const lifetime = { ctTcpEstablished: 20_000, ctTcpSyn: 2000, ctTcpClosing: 200, ctUdp: 5000 };
const now = (): number => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));

suite('translations of to_netdev and from_netdev', privileged('bpf'), () => {
  let object: LoadedObject;
  const fd = (name: string): number => {
    const found = object.maps.get(name);
    assert.ok(found !== undefined, name);
    return found;
  };
  const nat = () => new KernelMap(fd('nat'), mapSpecs.nat);

  /** The packet as it comes out. */
  function run(name: 'to_netdev' | 'from_netdev' | 'from_host', packet: Buffer): string {
    const program = object.programs.get(name);
    assert.ok(program !== undefined, name);
    const context = Buffer.alloc(192);
    context.writeUInt32LE(1, 40);
    return describeFrame(Buffer.from(runPacket(program.fd, { data: packet, context }).data));
  }

  /** Which of the lifetimes the flow's two entries have: [the way out, the reply]. */
  function lifetimes(pod: string, sport: number): readonly (string | undefined)[] {
    const of = (expires: number): string | undefined =>
      Object.entries(lifetime).find(([, seconds]) => Math.abs(expires - now() - seconds) < 60)?.[0];
    const ours = [...nat().entries()].filter(([key, value]) =>
      key.direction === 0
        ? key.sport === sport && Buffer.from(key.saddr).equals(address(pod))
        : value.toPort === sport && Buffer.from(value.toAddress).equals(address(pod)),
    );
    return [0, 1].map(direction => of(ours.find(([key]) => key.direction === direction)?.[1].expires ?? 0));
  }

  before(() => {
    object = loadObject({ path: objectPath('host.bpf.o'), rodata: fullConfig(lifetime) });
    const endpoints = new KernelMap(fd('endpoints'), mapSpecs.endpoints);
    for (const { pod, node } of families) {
      const entry = {
        ifindex: 1,
        identity: 1005,
        id: 5,
        flags: 0,
        mac: mac(5),
        nodeMac: mac(0xee),
        policyGroup: 0,
        policyRevision: 0,
      };
      endpoints.put({ address: address(pod) }, entry);
      endpoints.put({ address: address(node) }, { ...entry, ifindex: 0, flags: 1 });
    }
    const device = {
      ipv4: address('172.30.0.11'),
      ipv6: address('fd00:172:30::11'),
      mac: new Uint8Array(6),
      l3: 0,
      flags: 0,
    };
    new KernelMap(fd('netdevs'), mapSpecs.netdevs).put({ ifindex: 1 }, device);
  });
  after(() => object?.close());

  for (const { name, pod, node, world } of families) {
    const out = (sport: number, flags: Parameters<typeof tcp>[2]): number =>
      Number(/, (\d+) > 443/.exec(run('to_netdev', eth(ip(pod, world, tcp(sport, 443, flags)))))?.[1]);
    const back = (port: number, flags: Parameters<typeof tcp>[2]): string =>
      run('from_netdev', eth(ip(world, node, tcp(443, port, flags))));

    test(`${name}: the last ACK of a closed connection does not make its entries live long again`, () => {
      const port = out(6000, 'SYN');
      assert.match(back(port, 'SYN,ACK'), new RegExp(`${world} > ${pod}, 443 > 6000`));
      out(6000, 'ACK');
      assert.deepEqual(lifetimes(pod, 6000), ['ctTcpEstablished', 'ctTcpEstablished']);
      out(6000, 'FIN');
      assert.deepEqual(lifetimes(pod, 6000), ['ctTcpSyn', 'ctTcpSyn'], 'one side closed: the other may still send');
      back(port, 'FIN');
      assert.equal(out(6000, 'ACK'), port);
      assert.deepEqual(lifetimes(pod, 6000), ['ctTcpClosing', 'ctTcpClosing']);
      out(6000, 'SYN');
      back(port, 'SYN,ACK');
      out(6000, 'ACK');
      assert.deepEqual(lifetimes(pod, 6000), ['ctTcpEstablished', 'ctTcpEstablished'], 'the same ports, used again');
    });

    test(`${name}: the peer's RST ends both entries`, () => {
      const port = out(6001, 'SYN');
      back(port, 'SYN,ACK');
      out(6001, 'ACK');
      back(port, 'RST');
      assert.deepEqual(lifetimes(pod, 6001), ['ctTcpClosing', 'ctTcpClosing']);
    });

    test(`${name}: a flow whose own entry went keeps its port while the reply's is there`, () => {
      const send = (): string => run('to_netdev', eth(ip(pod, world, udp(6002, 53))));
      const first = send();
      const [own] = [...nat().keys()].filter(
        key => key.direction === 0 && key.sport === 6002 && Buffer.from(key.saddr).equals(address(pod)),
      );
      assert.ok(own !== undefined);
      assert.equal(nat().remove(own), true);
      assert.equal(send(), first);
      assert.deepEqual(lifetimes(pod, 6002), ['ctUdp', 'ctUdp']);
      nat().remove(own);
    });

    test(`${name}: the node's answer as a NodePort's backend comes from the NodePort`, () => {
      const common = { backendId: 0, revNatId: 9, flags: 514, qcount: 0 };
      const key = { address: address(node), dport: 30_090, proto: 6, scope: 0 };
      const services = new KernelMap(fd('lb_services'), mapSpecs.lb_services);
      services.put({ ...key, backendSlot: 0 }, { ...common, count: 1 });
      services.put({ ...key, backendSlot: 1 }, { ...common, backendId: 900, count: 0 });
      const backend = { address: address(node), port: 8443, proto: 6, flags: 0 };
      new KernelMap(fd('lb_backends'), mapSpecs.lb_backends).put(900, backend);
      new KernelMap(fd('lb_revnat'), mapSpecs.lb_revnat).put(9, { address: address(node), port: 30_090 });
      const request = run('from_netdev', eth(ip(world, node, tcp(7000, 30_090))));
      assert.match(request, new RegExp(`${world} > ${node}, 7000 > 8443`));
      const answer = eth(ip(node, world, tcp(8443, 7000, 'SYN,ACK')));
      assert.match(run('to_netdev', answer), new RegExp(`${node} > ${world}, 30090 > 7000`));
      const other = eth(ip(node, world, tcp(8443, 7001, 'SYN,ACK')));
      assert.match(run('to_netdev', other), new RegExp(`${node} > ${world}, 8443 > 7001`), 'no such flow: untouched');
    });
  }
});
