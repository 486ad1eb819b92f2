/** The kernel edge against the kernel: maps as strict as their fake, pins, links, the ring buffer, rtnetlink. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type MapSpec, mapSpecs, u32Codec } from '@ciliate/abi';
import {
  AttachType,
  addAddress,
  attachPinned,
  type BpfMap,
  closeFd,
  createNetworkNamespace,
  createVeth,
  deleteLink,
  detachPinned,
  FakeMap,
  findLink,
  inNetworkNamespace,
  KernelError,
  KernelMap,
  type LoadedObject,
  listAddresses,
  loadObject,
  NetlinkSocket,
  openPin,
  openPinned,
  pinnedMapInfo,
  pinObject,
  probeFeatures,
  RingBuffer,
  removeNetworkNamespace,
  requireFeatures,
  resizePinned,
  seededRandom,
  testRun,
} from '@ciliate/kernel';
import { privileged } from '../lib/privileged.ts';
import { address, fullConfig, objectPath } from './config.ts';
import { eth } from './packet.ts';

const namespace = `/run/netns/kernel-test-${process.pid}`;
const hasCode =
  (code: string, words: RegExp) =>
  (error: unknown): boolean =>
    error instanceof KernelError && error.code === code && words.test(error.message);

function fdOf(object: LoadedObject, map: string): number {
  const fd = object.maps.get(map);
  assert.ok(fd !== undefined);
  return fd;
}

function outcome<T>(run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    return error instanceof KernelError ? error.code : String(error);
  }
}

const sorted = <K, V>(map: BpfMap<K, V>): string[] => [...map.entries()].map(pair => JSON.stringify(pair)).toSorted();

suite('kernel edge', privileged('bpf'), () => {
  const folder = mkdtempSync(join(tmpdir(), 'ciliate-kernel-'));
  const pins = join(folder, 'maps');
  let object: LoadedObject;

  before(() => {
    execFileSync('mount', ['-t', 'bpf', 'bpf', folder]);
    createNetworkNamespace(namespace);
    object = loadObject({
      path: objectPath('lxc.bpf.o'),
      rodata: fullConfig(),
      mapPinDir: pins,
      maxEntries: { lb_backends: 12, ipcache: 12 },
    });
  });
  after(() => {
    object?.close();
    removeNetworkNamespace(namespace);
    execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true });
  });

  /** The same 2,000 random calls on both; every answer, error codes too, and every content must be equal. */
  function compare<K, V>(spec: MapSpec<K, V>, key: (n: number) => K, value: (n: number) => V): void {
    const real = new KernelMap(fdOf(object, spec.name), spec);
    const fake = new FakeMap({ ...spec, maxEntries: real.maxEntries });
    const random = seededRandom(20_261_121);
    for (let step = 0; step < 2000; step += 1) {
      const [what, k, v] = [random(), key(Math.floor(random() * 20)), value(step)];
      const call = (map: BpfMap<K, V>): unknown => {
        if (what < 0.4) return outcome(() => map.put(k, v));
        if (what < 0.55) return outcome(() => map.create(k, v));
        if (what < 0.85) return map.remove(k);
        return map.lookup(k);
      };
      assert.deepEqual(call(real), call(fake), `step ${step}`);
    }
    assert.ok(fake.count() > 0);
    assert.deepEqual(sorted(real), sorted(fake));
    assert.equal(real.count(), fake.count());
    real.removeBatch([...real.keys()]);
    assert.equal(real.count(), 0);
  }

  test('hash: the fake does what the kernel does, errors and MAP_FULL too', () => {
    compare(
      mapSpecs.lb_backends,
      n => n,
      n => ({ address: address('10.0.0.1'), port: n, proto: 6, flags: 0 }),
    );
  });

  test('longest prefix: the fake does what the kernel does with whole keys', () => {
    compare(
      mapSpecs.ipcache,
      n => ({ prefixlen: 128, address: address(`10.0.0.${n}`) }),
      n => ({ identity: n, tunnelEndpoint: address('172.30.0.12'), flags: 1 }),
    );
  });

  test('a batch larger than one call, read back by batch', () => {
    const map = new KernelMap(fdOf(object, 'lb_services'), mapSpecs.lb_services);
    const key = { address: address('10.96.0.1'), dport: 80, proto: 6, scope: 0 };
    const value = { backendId: 0, count: 1, revNatId: 1, flags: 0, qcount: 0 };
    map.putBatch(Array.from({ length: 10_000 }, (_, slot) => [{ ...key, backendSlot: slot }, value] as const));
    assert.equal(map.count(), 10_000);
    assert.equal(new Set([...map.entries()].map(([{ backendSlot }]) => backendSlot)).size, 10_000);
    map.removeBatch([...map.keys()]);
    assert.equal(map.count(), 0);
  });

  test('maps outlive the object by their pins, and a second load takes them over', () => {
    const map = new KernelMap(fdOf(object, 'lb_backends'), mapSpecs.lb_backends);
    map.put(5, { address: address('10.0.0.5'), port: 5, proto: 6, flags: 0 });
    const second = loadObject({ path: objectPath('host.bpf.o'), rodata: fullConfig(), mapPinDir: pins });
    const again = new KernelMap(fdOf(second, 'lb_backends'), mapSpecs.lb_backends);
    assert.equal(again.lookup(5)?.port, 5);
    assert.equal(again.maxEntries, 12);
    second.close();
    const byPath = new KernelMap(openPinned(join(pins, 'lb_backends')), mapSpecs.lb_backends);
    assert.equal(byPath.remove(5), true);
    byPath.close();
  });

  test('a pin of another layout is refused with the name of the map, before anything changes', () => {
    const other = join(folder, 'other');
    execFileSync('mkdir', [other]);
    const path = join(other, 'lb_backends');
    execFileSync('bpftool', [
      'map',
      'create',
      path,
      'type',
      'hash',
      'key',
      '4',
      'value',
      '8',
      'entries',
      '4',
      'name',
      'x',
    ]);
    assert.throws(
      () => loadObject({ path: objectPath('lxc.bpf.o'), rodata: fullConfig(), mapPinDir: other }),
      hasCode('MAP_ABI_MISMATCH', /lb_backends/),
    );
    assert.equal(existsSync(join(other, 'lb_services')), false);
    const fd = openPinned(path);
    assert.throws(() => new KernelMap(fd, mapSpecs.lb_backends), hasCode('MAP_ABI_MISMATCH', /lb_backends/));
    closeFd(fd);
  });

  test('a pin that is not there is MAP_NOT_FOUND', () => {
    assert.throws(() => openPinned(join(folder, 'nothing')), hasCode('MAP_NOT_FOUND', /nothing/));
  });

  test('a drop is one record of the ring buffer, read in place', () => {
    const program = object.programs.get('from_container');
    assert.ok(program !== undefined);
    const ring = new RingBuffer(fdOf(object, 'events'));
    try {
      ring.skip();
      const data = eth().ipv4('10.244.1.99', '10.0.0.1').tcp(1, 2, 'SYN').build();
      for (let packet = 0; packet < 3; packet += 1) inNetworkNamespace(namespace, () => testRun(program.fd, { data }));
      const reasons: number[] = [];
      assert.equal(
        ring.read(record => reasons.push(record[1] ?? 0)),
        3,
      );
      assert.deepEqual(reasons, [132, 132, 132]);
      assert.equal(
        ring.read(() => assert.fail('read twice')),
        0,
      );
    } finally {
      ring.close();
    }
  });

  test('a veth pair over rtnetlink, an address, and EEXIST by name', () => {
    const socket = new NetlinkSocket(namespace);
    const fd = openSync(namespace, 'r');
    try {
      socket.execute(
        createVeth({ name: 'h2a', mtu: 1400, peer: { name: 'h2b', mac: '02:00:00:00:00:77', netnsFd: fd } }),
      );
      const [near, far] = [findLink(socket, 'h2a'), findLink(socket, 'h2b')];
      assert.ok(near !== undefined && far !== undefined);
      assert.deepEqual([near.kind, near.mtu, near.up, far.mac], ['veth', 1400, true, '02:00:00:00:00:77']);
      socket.execute(addAddress(near.ifindex, Buffer.from([10, 1, 2, 3]), 24));
      const found = listAddresses(socket).filter(one => one.ifindex === near.ifindex && one.address.length === 4);
      assert.deepEqual(
        found.map(one => [[...one.address], one.prefixLength]),
        [[[10, 1, 2, 3], 24]],
      );
      assert.throws(
        () => socket.execute(createVeth({ name: 'h2a', peer: { name: 'h2c', netnsFd: fd } })),
        (error: unknown) => error instanceof KernelError && error.errno === 'EEXIST' && /h2a/.test(error.message),
      );
    } finally {
      if (findLink(socket, 'h2a') !== undefined) socket.execute(deleteLink('h2a'));
      assert.equal(findLink(socket, 'h2b'), undefined);
      closeSync(fd);
      socket.close();
    }
  });

  test('a pinned map of another size: its entries are in the new one, as many as fit', () => {
    const object = loadObject({ path: objectPath('lxc.bpf.o'), rodata: fullConfig() });
    const [backends, ranges] = [object.maps.get('lb_backends'), object.maps.get('lb_source_ranges')];
    assert.ok(backends !== undefined && ranges !== undefined);
    const paths = { hash: join(folder, 'resized_hash'), trie: join(folder, 'resized_trie') };
    pinObject(backends, paths.hash);
    pinObject(ranges, paths.trie);
    object.close();
    const all = Array.from({ length: 3000 }, (_, i) => i + 1);
    const before = new KernelMap(openPin(paths.hash), mapSpecs.lb_backends);
    for (const id of all) before.put(id, { address: new Uint8Array(16).fill(id), port: id, proto: 6, flags: 0 });
    const trie = new KernelMap(openPin(paths.trie), mapSpecs.lb_source_ranges);
    const key = { prefixlen: 40, revNatId: 7, address: new Uint8Array(16).fill(10) };
    trie.put(key, { present: 1 });
    const size = pinnedMapInfo(paths.hash)?.maxEntries ?? 0;
    resizePinned(paths.hash, size * 2);
    resizePinned(paths.trie, 5);
    const after = new KernelMap(openPin(paths.hash), mapSpecs.lb_backends);
    assert.equal(after.maxEntries, size * 2);
    assert.deepEqual(
      [...after.keys()].toSorted((a, b) => a - b),
      all,
    );
    assert.deepEqual(after.lookup(2999), before.lookup(2999));
    const smallTrie = new KernelMap(openPin(paths.trie), mapSpecs.lb_source_ranges);
    assert.equal(smallTrie.maxEntries, 5);
    assert.deepEqual(smallTrie.lookup({ ...key, prefixlen: 160 }), { present: 1 });
    resizePinned(paths.hash, 100);
    assert.equal(pinnedMapInfo(paths.hash)?.maxEntries, 100);
    assert.equal(pinnedMapInfo(join(folder, 'nothing')), undefined);
    for (const map of [before, trie, after, smallTrie]) map.close();
    for (const path of Object.values(paths)) rmSync(path);
  });

  test('a pinned tcx link is made, adopted, updated, and gone after detaching', () => {
    const path = join(folder, 'links-lo-ingress');
    const host = loadObject({ path: objectPath('host.bpf.o'), rodata: fullConfig() });
    const [one, two] = [host.programs.get('from_netdev'), host.programs.get('to_netdev')];
    assert.ok(one !== undefined && two !== undefined);
    const attach = (program: typeof one): string =>
      inNetworkNamespace(namespace, () =>
        attachPinned(path, { program: program.fd, target: 1, type: AttachType.TCX_INGRESS }, program.info.id),
      );
    assert.equal(attach(one), 'created');
    assert.equal(attach(one), 'adopted');
    assert.equal(attach(two), 'updated');
    assert.equal(attach(two), 'adopted');
    detachPinned(path);
    assert.equal(existsSync(path), false);
    detachPinned(path);
    host.close();
  });

  test('a pinned XDP link on a veth is made, adopted, updated under traffic, and gone after detaching', () => {
    const source = join(tmpdir(), `ciliate-xdp-${process.pid}.bpf.c`);
    const path = join(folder, 'links-xdp');
    const [near, far] = ['kx0', 'kx1'];
    const other = `${namespace}-xdp`;
    writeFileSync(
      source,
      `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp") int drop(struct xdp_md *ctx) { return XDP_DROP; }
char LICENSE[] SEC("license") = "GPL";
`,
    );
    createNetworkNamespace(other);
    const object = `${source}.o`;
    try {
      const include = `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
      execFileSync('clang', ['-O2', '-g', '-target', 'bpf', include, '-c', source, '-o', object]);
      const loaded = loadObject({ path: object, rodata: new Uint8Array() });
      const [pass, drop] = [loaded.programs.get('pass'), loaded.programs.get('drop')];
      assert.ok(pass !== undefined && drop !== undefined);
      assert.equal(testRun(pass.fd, { data: new Uint8Array(64) }).retval, 2);
      execFileSync('nsenter', [
        `--net=${namespace}`,
        'sh',
        '-ec',
        `ip link add ${near} type veth peer name ${far} netns ${other}; ip address add 192.0.2.1/30 dev ${near}; ip link set ${near} up`,
      ]);
      execFileSync('nsenter', [
        `--net=${other}`,
        'sh',
        '-ec',
        `ip address add 192.0.2.2/30 dev ${far}; ip link set ${far} up`,
      ]);
      const socket = new NetlinkSocket(namespace);
      const ifindex = findLink(socket, near)?.ifindex ?? 0;
      socket.close();
      const attach = (program: typeof pass): string =>
        inNetworkNamespace(namespace, () =>
          attachPinned(path, { program: program.fd, target: ifindex, type: AttachType.XDP }, program.info.id),
        );
      const answers = (wait: number): boolean =>
        spawnSync('nsenter', [`--net=${namespace}`, 'ping', '-c', '1', '-W', String(wait), '192.0.2.2']).status === 0;
      assert.equal(attach(pass), 'created');
      assert.equal(attach(pass), 'adopted');
      assert.equal(answers(10), true, 'what passes goes on');
      assert.equal(attach(drop), 'updated');
      assert.equal(answers(1), false, 'answers are dropped where they come in');
      detachPinned(path);
      assert.equal(existsSync(path), false);
      assert.equal(answers(10), true);
      loaded.close();
    } finally {
      removeNetworkNamespace(other);
      for (const file of [source, object]) rmSync(file, { force: true });
    }
  });

  test('what a node lacks is told all at once, each with its remedy', () => {
    const features = probeFeatures({ bpfRoot: join(tmpdir(), 'no-bpffs'), cgroupRoot: '/no-cgroup' });
    assert.throws(
      () => requireFeatures(features),
      hasCode('FEATURE_MISSING', /mount -t bpf bpf .*no-bpffs[\s\S]*no-cgroup/),
    );
    const here = probeFeatures({ bpfRoot: folder, cgroupRoot: undefined });
    assert.equal(here.find(({ name }) => name === 'bpffs')?.present, true);
  });

  test('a key of the wrong codec is refused', () => {
    const fd = openPinned(join(pins, 'lb_backends'));
    const spec = { ...mapSpecs.lb_backends, value: u32Codec };
    assert.throws(() => new KernelMap(fd, spec), hasCode('MAP_ABI_MISMATCH', /value 24 bytes; wanted hash, 4, 4/));
    closeFd(fd);
  });
});
