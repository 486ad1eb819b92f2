/** Packet in, verdict and packet out (STYLE rule 8): programs run by BPF_PROG_TEST_RUN in a namespace of their own. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type DatapathConfig, DropReason, type MapSpec, mapSpecs } from '@ciliate/abi';
import {
  type Codec,
  createNetworkNamespace,
  inNetworkNamespace,
  KernelMap,
  KernelPerCpuMap,
  type LoadedObject,
  loadObject,
  removeNetworkNamespace,
} from '@ciliate/kernel';
import { privileged } from '../lib/privileged.ts';
import { fullConfig, objectPath } from './config.ts';
import type { Packet } from './packet.ts';
import { packetText } from './packet-text.ts';
import { runPacket } from './run-packet.ts';

const verdicts = { TC_ACT_UNSPEC: -1, TC_ACT_OK: 0, TC_ACT_SHOT: 2, TC_ACT_REDIRECT: 7 } as const;
export type Verdict = keyof typeof verdicts;

/** The only device of the namespace that programs run in is its loopback. */
export const testIfindex = 1;

/** One entry of a map before the packet comes. */
export interface Entry {
  readonly map: string;
  put(fd: number): void;
}

export function entry<K, V>(spec: MapSpec<K, V>, key: K, value: V): Entry {
  return { map: spec.name, put: fd => new KernelMap(fd, spec).put(key, value) };
}

export interface PacketCase {
  /** 'lxc.bpf.o' */
  readonly object: string;
  readonly program: string;
  readonly config?: Partial<DatapathConfig>;
  readonly maps?: readonly Entry[];
  /** Packets of the same program that come first, and whose fate is not looked at. */
  readonly before?: readonly (Packet | Uint8Array)[];
  readonly in: Packet | Uint8Array;
  readonly out: {
    readonly verdict: Verdict;
    /** Absent: not looked at. */
    readonly packet?: Packet | Uint8Array;
    /** The reason that is counted in `metrics`. */
    readonly drop?: keyof typeof DropReason;
  };
}

const bytesCodec = (size: number): Codec<Uint8Array> => ({
  name: `${size} bytes`,
  size,
  write: (value, target, offset) => target.set(value, offset),
  read: (source, offset) => source.slice(offset, offset + size),
});

function clear(fd: number, spec: { name: string; type: string; key: { size: number }; value: { size: number } }): void {
  // Counters of each CPU, and what belongs to sockets: nothing that a program reads of a packet.
  if (['ringbuf', 'percpu_array', 'sk_storage'].includes(spec.type)) return;
  const [key, value] = [bytesCodec(spec.key.size), bytesCodec(spec.value.size)];
  const map = new KernelMap(fd, { name: spec.name, type: spec.type, key, value });
  const keys = [...map.keys()];
  if (spec.type === 'array') for (const one of keys) map.put(one, new Uint8Array(value.size));
  else for (const one of keys) map.remove(one);
}

function descriptor(object: LoadedObject, map: string): number {
  const fd = object.maps.get(map);
  assert.ok(fd !== undefined, `${object.path} has no map ${map}`);
  return fd;
}

function drops(object: LoadedObject): readonly string[] {
  const counted = new KernelPerCpuMap(descriptor(object, 'metrics'), mapSpecs.metrics);
  const names = Object.entries(DropReason);
  return [...counted.entries()].flatMap(([key]) =>
    key.reason === 0 ? [] : [names.find(([, number]) => number === key.reason)?.[0] ?? String(key.reason)],
  );
}

const bytesOf = (packet: Packet | Uint8Array): Uint8Array => (packet instanceof Uint8Array ? packet : packet.build());

/** Objects are loaded once per file and configuration, with maps of their own that are not pinned. */
class Loader {
  readonly #objects = new Map<string, LoadedObject>();
  readonly #namespace = `/run/netns/packet-test-${process.pid}`;
  #isReady = false;

  object(file: string, config: Partial<DatapathConfig>): LoadedObject {
    if (!this.#isReady) createNetworkNamespace(this.#namespace);
    this.#isReady = true;
    const key = JSON.stringify([file, config], (_, value) => (typeof value === 'bigint' ? String(value) : value));
    const known = this.#objects.get(key);
    if (known !== undefined) return known;
    const object = loadObject({ path: objectPath(file), rodata: fullConfig(config) });
    this.#objects.set(key, object);
    return object;
  }

  run(object: LoadedObject, program: string, data: Uint8Array): { verdict: number; data: Uint8Array } {
    const loaded = object.programs.get(program);
    assert.ok(loaded !== undefined, `${object.path} has no program ${program}`);
    const result = inNetworkNamespace(this.#namespace, () => runPacket(loaded.fd, { data }));
    return { verdict: result.retval | 0, data: result.data };
  }

  close(): void {
    for (const object of this.#objects.values()) object.close();
    if (this.#isReady) removeNetworkNamespace(this.#namespace);
  }
}

const loader = new Loader();
after(() => loader.close());

function prepare(object: LoadedObject, entries: readonly Entry[]): void {
  for (const spec of Object.values(mapSpecs)) {
    const fd = object.maps.get(spec.name);
    if (fd !== undefined) clear(fd, spec);
  }
  for (const one of entries) one.put(descriptor(object, one.map));
}

function verdictName(number: number): string {
  return Object.entries(verdicts).find(([, value]) => value === number)?.[0] ?? `verdict ${number}`;
}

/** Registers one test. */
export function packetTest(name: string, one: PacketCase): void {
  test(name, privileged('bpf'), () => {
    const object = loader.object(one.object, one.config ?? {});
    prepare(object, one.maps ?? []);
    for (const packet of one.before ?? []) loader.run(object, one.program, bytesOf(packet));
    clear(descriptor(object, 'metrics'), mapSpecs.metrics);
    const result = loader.run(object, one.program, bytesOf(one.in));
    const reasons = drops(object);
    assert.equal(verdictName(result.verdict), one.out.verdict, `drops: ${reasons.join(', ') || 'none'}`);
    if (one.out.packet !== undefined) {
      const wanted = bytesOf(one.out.packet);
      assert.equal(packetText(result.data), packetText(wanted));
      assert.deepEqual(Buffer.from(result.data), Buffer.from(wanted));
    }
    assert.deepEqual(reasons, one.out.drop === undefined ? [] : [one.out.drop]);
  });
}
