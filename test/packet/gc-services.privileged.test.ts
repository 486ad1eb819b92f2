/** The two halves of a service's flow are collected together: what the client's packets find, and what replies find. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';
import {
  CtFlags,
  type CtKey,
  decodeCtEntry,
  decodeGcArgs,
  encodeCtServiceEntry,
  encodeGcArgs,
  mapSpecs,
  type NatKey,
} from '@ciliate/abi';
import { KernelMap, type LoadedObject, loadObject, testRun } from '@ciliate/kernel';
import { privileged } from '../lib/privileged.ts';
import { address, fullConfig, objectPath } from './config.ts';

const families = [
  { name: 'IPv4', client: '192.0.2.9', node: '172.30.0.11', backend: '10.244.2.7', hairpin: '169.254.42.1' },
  {
    name: 'IPv6',
    client: '2001:db8::9',
    node: 'fd00:172:30::11',
    backend: 'fd00:10:244:2::7',
    hairpin: 'fe80::a9fe:2a01',
  },
] as const;
type Family = (typeof families)[number];

const [ctService, ctIngress, ctEgress] = [2, 1, 0];
const { CT_TX_CLOSING, CT_RX_CLOSING, CT_DSR } = CtFlags;
const revNatId = 7;
const natPort = 4711;
const dead = 1;
/** Seconds of CLOCK_MONOTONIC. */
const later = (): number => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n)) + 3600;

suite('garbage collection of service flows', privileged('bpf'), () => {
  let object: LoadedObject;
  before(() => {
    object = loadObject({ path: objectPath('gc.bpf.o'), rodata: fullConfig() });
  });
  after(() => object?.close());

  const fd = (name: string): number => {
    const found = object.maps.get(name);
    assert.ok(found !== undefined, name);
    return found;
  };
  const ct = () => new KernelMap(fd('ct'), mapSpecs.ct);
  const nat = () => new KernelMap(fd('nat'), mapSpecs.nat);
  const collect = (name: string): void => {
    const program = object.programs.get(name);
    assert.ok(program !== undefined, name);
    decodeGcArgs(testRun(program.fd, { context: encodeGcArgs({ alive: 0, deleted: 0 }) }).context);
  };

  const keyOf = (saddr: string, daddr: string, dport: number, direction: number): CtKey => {
    return { saddr: address(saddr), daddr: address(daddr), sport: 4000, dport, proto: 6, direction };
  };
  const serviceKey = ({ client, node }: Family): CtKey => keyOf(client, node, 30_080, ctService);
  const replyKey = ({ client, backend }: Family): CtKey => keyOf(client, backend, 80, ctIngress);
  const natKey = ({ backend, node }: Family): NatKey => {
    return { saddr: address(backend), daddr: address(node), sport: 80, dport: natPort, proto: 6, direction: 1 };
  };

  function putService(
    key: CtKey,
    backend: string,
    expires: number,
    more: { flags?: number; natPort?: number } = {},
  ): void {
    const entry = { backendId: 1, mtu: 0, revNatId, flags: 0, natPort: 0, natIfindex: 0, ...more };
    const bytes = encodeCtServiceEntry({ ...entry, expires, backendAddress: address(backend), backendPort: 80 });
    ct().put(key, decodeCtEntry(bytes));
  }

  function putReply(key: CtKey, expires: number, flags = 0): void {
    const counters = { packets: 1n, bytes: 60n, backendId: 0, peerIdentity: 0, ifindex: 0, policyRevision: 0 };
    ct().put(key, { ...counters, expires, flags, revNatId });
  }

  function putTranslation(family: Family, expires: number, flags = 0): void {
    const to = { toAddress: address(family.client), toPort: 4000, created: 0 };
    nat().put(natKey(family), { ...to, expires, flags, revNatId });
  }

  beforeEach(() => {
    ct().removeBatch([...ct().keys()]);
    nat().removeBatch([...nat().keys()]);
  });

  for (const family of families) {
    const { name, client, node, backend, hairpin } = family;
    const frontend = (): void =>
      new KernelMap(fd('lb_revnat'), mapSpecs.lb_revnat).put(revNatId, { address: address(node), port: 30_080 });
    const has = (key: CtKey): boolean => ct().lookup(key) !== undefined;

    test(`${name}: a stream that only comes back keeps the choice of its backend`, () => {
      frontend();
      putService(serviceKey(family), backend, dead);
      putReply(replyKey(family), later());
      collect('ct_gc');
      assert.equal(has(serviceKey(family)), true);
      putReply(replyKey(family), dead);
      collect('ct_gc');
      assert.equal(ct().count(), 0);
    });

    test(`${name}: a stream that only goes out keeps its way back`, () => {
      frontend();
      putService(serviceKey(family), backend, later());
      putReply(replyKey(family), dead);
      collect('ct_gc');
      assert.equal(ct().count(), 2);
    });

    test(`${name}: the same with a translated source`, () => {
      frontend();
      putService(serviceKey(family), backend, dead, { natPort });
      putTranslation(family, later());
      collect('ct_gc');
      assert.equal(has(serviceKey(family)), true);
      putService(serviceKey(family), backend, later(), { natPort });
      putTranslation(family, dead);
      collect('nat_gc');
      assert.equal(nat().count(), 1);
      putService(serviceKey(family), backend, dead, { natPort });
      collect('nat_gc');
      collect('ct_gc');
      assert.deepEqual([ct().count(), nat().count()], [0, 0]);
    });

    test(`${name}: the client has closed, and goes when the half for replies has`, () => {
      frontend();
      putService(serviceKey(family), backend, later(), { flags: CT_TX_CLOSING });
      putReply(replyKey(family), later(), CT_TX_CLOSING);
      collect('ct_gc');
      assert.equal(ct().count(), 2);
      putReply(replyKey(family), dead, CT_TX_CLOSING | CT_RX_CLOSING);
      collect('ct_gc');
      collect('ct_gc');
      assert.equal(ct().count(), 0);
    });

    test(`${name}: a connection that both have closed ends with its time`, () => {
      frontend();
      putService(serviceKey(family), backend, dead, { flags: CT_TX_CLOSING | CT_RX_CLOSING });
      putReply(replyKey(family), later(), CT_TX_CLOSING);
      collect('ct_gc');
      assert.equal(has(serviceKey(family)), false);
    });

    test(`${name}: a pod that reaches itself is found by the hairpin's address`, () => {
      frontend();
      const own = keyOf(hairpin, backend, 80, ctEgress);
      const dialled = keyOf(backend, node, 30_080, ctService);
      putService(dialled, backend, dead);
      putReply(own, later());
      collect('ct_gc');
      assert.equal(has(dialled), true);
      putService(dialled, backend, later());
      putReply(own, dead);
      collect('ct_gc');
      assert.equal(has(own), true);
    });

    test(`${name}: a flow whose answers pass another node ends with its time, and no earlier`, () => {
      frontend();
      putService(serviceKey(family), backend, later(), { flags: CT_DSR | CT_TX_CLOSING });
      collect('ct_gc');
      assert.equal(has(serviceKey(family)), true);
      putService(serviceKey(family), backend, dead, { flags: CT_DSR });
      collect('ct_gc');
      assert.equal(has(serviceKey(family)), false);
    });

    test(`${name}: the way back of a frontend that is gone ends with its time`, () => {
      new KernelMap(fd('lb_revnat'), mapSpecs.lb_revnat).remove(revNatId);
      putService(keyOf(client, node, 30_080, ctService), backend, later());
      putReply(replyKey(family), dead);
      collect('ct_gc');
      assert.equal(has(replyKey(family)), false);
    });
  }
});
