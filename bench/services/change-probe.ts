/** Sees services in the kernel's map, from outside the agent. */
import { join } from 'node:path';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { mapSpecs } from '@ciliate/abi';
import { KernelMap, openPin } from '@ciliate/kernel';
import { addressBytes, parseAddress } from '@ciliate/model';
import { servicePort } from './spec.ts';

const limitMs = 10_000;
const programLimitMs = 120_000;

const since = (sent: bigint): number => Number(process.hrtime.bigint() - sent) / 1e6;

export class ServiceMap {
  readonly #map;

  constructor(bpfRoot: string) {
    this.#map = new KernelMap(openPin(join(bpfRoot, 'ciliate/maps/lb_services')), mapSpecs.lb_services);
  }

  /** Backends of the service there; undefined when it is not in the map. */
  backends(clusterIp: string): number | undefined {
    const address = addressBytes(parseAddress(clusterIp));
    return this.#map.lookup({ address, dport: servicePort, backendSlot: 0, proto: 6, scope: 0 })?.count;
  }

  close(): void {
    this.#map.close();
  }
}

export class ChangeProbe {
  readonly #map: ServiceMap;
  readonly #clusterIp: string;

  constructor(bpfRoot: string, clusterIp: string) {
    this.#map = new ServiceMap(bpfRoot);
    this.#clusterIp = clusterIp;
  }

  /** Milliseconds from when `change` was sent until the master counts `backends`. @throws when that does not come */
  async measure(change: () => Promise<bigint>, backends: number): Promise<number> {
    const sent = await change();
    const end = performance.now() + limitMs;
    while (this.#map.backends(this.#clusterIp) !== backends) {
      if (performance.now() > end) throw new Error(`the service has not got ${backends} backends in ${limitMs} ms`);
      await setImmediate();
    }
    return since(sent);
  }

  close(): void {
    this.#map.close();
  }
}

/** Milliseconds from `sent` until each of the ClusterIPs has `backends`. Looks every 2 ms, to leave the CPU to the agent. @throws on timeout */
export async function allProgrammed(
  bpfRoot: string,
  clusterIps: readonly string[],
  backends: number,
  sent: bigint,
): Promise<number> {
  const map = new ServiceMap(bpfRoot);
  const end = performance.now() + programLimitMs;
  try {
    let done = 0;
    for (;;) {
      while (done < clusterIps.length && map.backends(clusterIps[done] ?? '') === backends) done += 1;
      if (done === clusterIps.length) return since(sent);
      if (performance.now() > end) throw new Error(`${done} of ${clusterIps.length} services in ${programLimitMs} ms`);
      await delay(2);
    }
  } finally {
    map.close();
  }
}
