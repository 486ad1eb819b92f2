/** One packet through one program (BPF_PROG_TEST_RUN): verdict, packet out, drop reason. Maps are private to the harness. */
import assert from 'node:assert/strict';
import {
  DropReason,
  LbServiceFlags,
  type MapSpec,
  mapSpecs,
  type PolicyEntry,
  type PolicyKey,
} from '../../packages/abi/src/index.ts';
import { maglevCodec } from '../../packages/datapath/src/index.ts';
import { KernelMap, KernelMapOfMaps, KernelPerCpuMap, loadObject } from '../../packages/kernel/src/index.ts';
import { address, fullConfig, objectPath } from './config.ts';
import { describeFrame, mac } from './frame.ts';
import { runPacket } from './run-packet.ts';

export const Verdict = { TC_ACT_UNSPEC: -1, TC_ACT_OK: 0, TC_ACT_SHOT: 2, TC_ACT_REDIRECT: 7 } as const;

export interface Result {
  readonly verdict: keyof typeof Verdict | number;
  readonly packet: string;
  /** Name of the drop reason that was counted, '' when none. */
  readonly dropped: string;
  readonly bytes: Buffer;
}

/** struct __sk_buff with ifindex and ingress_ifindex of the loopback device: the only fields that a test may set freely. */
function context(): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(192));
  bytes.setUint32(40, 1, true);
  return new Uint8Array(bytes.buffer);
}

export class Harness {
  readonly #object: ReturnType<typeof loadObject>;
  readonly #program: string;

  constructor(file: string, program: string, config: Parameters<typeof fullConfig>[0] = {}) {
    this.#object = loadObject({ path: objectPath(file), rodata: fullConfig(config) });
    this.#program = program;
  }

  /** A map by its description: `mapSpecs.ct`. */
  map<K, V>(spec: MapSpec<K, V>): KernelMap<K, V> {
    const fd = this.#object.maps.get(spec.name);
    assert.ok(fd !== undefined, `no map ${spec.name}`);
    return new KernelMap(fd, spec);
  }

  /** Descriptor of a map. */
  fd(name: string): number {
    const fd = this.#object.maps.get(name);
    assert.ok(fd !== undefined, `no map ${name}`);
    return fd;
  }

  /** A pod of this node; its device is the loopback of the machine's namespace, which a test run does not touch. */
  endpoint(ip: string, last: number, flags = 0): void {
    this.map(mapSpecs.endpoints).put(
      { address: address(ip) },
      {
        ifindex: flags === 0 ? 1 : 0,
        identity: 1000 + last,
        id: last,
        flags,
        mac: mac(last),
        nodeMac: mac(0xee),
        policyGroup: 0,
        policyRevision: 0,
      },
    );
  }

  /** Replaces the policy map of a group. */
  policyGroup(group: number, entries: readonly (readonly [PolicyKey, PolicyEntry])[]): void {
    const fd = this.#object.maps.get('policy');
    assert.ok(fd !== undefined);
    new KernelMapOfMaps(fd, mapSpecs.policy, mapSpecs.policy.inner).replace(group, entries);
  }

  clusterPrefix(ip: string, bits: number, tunnel = ''): void {
    this.map(mapSpecs.ipcache).put(
      { prefixlen: bits, address: address(ip) },
      { identity: 6, tunnelEndpoint: tunnel === '' ? new Uint8Array(16) : address(tunnel), flags: 1 },
    );
  }

  /** A frontend with its backends; the id of backend i is 100 × `id` + i. */
  service(
    ip: string,
    port: number,
    proto: number,
    id: number,
    backends: readonly (readonly [ip: string, port: number])[],
    flags: number = LbServiceFlags.LB_SVC_NODE_PORT | LbServiceFlags.LB_SVC_ROUTABLE,
  ): void {
    this.map(mapSpecs.lb_revnat).put(id, { address: address(ip), port });
    this.#scope(ip, port, proto, { id, first: id * 100, scope: 0, flags }, backends);
  }

  /** What pods get of a service whose flags have LB_SVC_TWO_SCOPES. */
  innerScope(
    ip: string,
    port: number,
    proto: number,
    id: number,
    backends: readonly (readonly [ip: string, port: number])[],
  ): void {
    this.#scope(ip, port, proto, { id, first: id * 100 + 50, scope: 1, flags: 0 }, backends);
  }

  #scope(
    ip: string,
    port: number,
    proto: number,
    about: { readonly id: number; readonly first: number; readonly scope: number; readonly flags: number },
    backends: readonly (readonly [ip: string, port: number])[],
  ): void {
    const { id: revNatId, first, scope, flags } = about;
    const key = { address: address(ip), dport: port, proto, scope };
    backends.forEach(([backend, backendPort], index) => {
      const backendId = first + index;
      this.map(mapSpecs.lb_backends).put(backendId, { address: address(backend), port: backendPort, proto, flags: 1 });
      const slot = { backendId, count: 0, revNatId, flags, qcount: 0 };
      this.map(mapSpecs.lb_services).put({ ...key, backendSlot: index + 1 }, slot);
    });
    const master = { backendId: 0, count: backends.length, revNatId, flags, qcount: 0 };
    this.map(mapSpecs.lb_services).put({ ...key, backendSlot: 0 }, master);
  }

  /** The Maglev table of a service. */
  maglev(id: number, table: Uint32Array): void {
    const fd = this.#object.maps.get('lb_maglev');
    assert.ok(fd !== undefined);
    const inner = { ...mapSpecs.lb_maglev.inner, value: maglevCodec(table.length) };
    new KernelMapOfMaps(fd, mapSpecs.lb_maglev, inner).replace(id, [[0, table]]);
  }

  /** Forgets services and flows. */
  clear(): void {
    this.#empty(mapSpecs.lb_services);
    this.#empty(mapSpecs.lb_backends);
    this.#empty(mapSpecs.lb_affinity);
    this.#empty(mapSpecs.ct);
  }

  #empty<K, V>(spec: MapSpec<K, V>): void {
    const map = this.map(spec);
    for (const key of [...map.keys()]) map.remove(key);
  }

  #drops(): ReadonlyMap<number, bigint> {
    const fd = this.#object.maps.get('metrics');
    assert.ok(fd !== undefined);
    const entries = [...new KernelPerCpuMap(fd, mapSpecs.metrics).entries()];
    return new Map(
      entries
        .filter(([key]) => key.reason !== 0)
        .map(([key, values]) => [key.reason, values.reduce((total, value) => total + value.packets, 0n)]),
    );
  }

  run(packet: Buffer): Result {
    const program = this.#object.programs.get(this.#program);
    assert.ok(program !== undefined);
    const before = this.#drops();
    const { retval, data } = runPacket(program.fd, { data: packet, context: context() });
    const counted = [...this.#drops()].find(([reason, packets]) => packets !== before.get(reason));
    const dropped = Object.entries(DropReason).find(([, value]) => value === counted?.[0])?.[0] ?? '';
    const number = retval | 0;
    const verdict = Object.entries(Verdict).find(([, value]) => value === number)?.[0] as
      | keyof typeof Verdict
      | undefined;
    const bytes = Buffer.from(data);
    return {
      verdict: verdict ?? number,
      packet: describeFrame(bytes),
      dropped,
      bytes,
    };
  }

  close(): void {
    this.#object.close();
  }
}
