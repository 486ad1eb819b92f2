/** Sees a service's number of backends change in the kernel's map, from outside the agent. */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { mapSpecs } from '@ciliate/abi';
import { KernelMap, openPin } from '@ciliate/kernel';
import { addressBytes, parseAddress } from '@ciliate/model';
import { servicePort } from './spec.ts';

const limitMs = 10_000;

export class ChangeProbe {
  readonly #map;
  readonly #key;

  constructor(bpfRoot: string, clusterIp: string) {
    this.#map = new KernelMap(openPin(join(bpfRoot, 'ciliate/maps/lb_services')), mapSpecs.lb_services);
    const address = addressBytes(parseAddress(clusterIp));
    this.#key = { address, dport: servicePort, backendSlot: 0, proto: 6, scope: 0 };
  }

  /** Milliseconds from when `change` was sent until the master counts `backends`. @throws when that does not come */
  async measure(change: () => Promise<bigint>, backends: number): Promise<number> {
    const sent = await change();
    const end = performance.now() + limitMs;
    while (this.backends() !== backends) {
      if (performance.now() > end) throw new Error(`the service has not got ${backends} backends in ${limitMs} ms`);
      await setImmediate();
    }
    return Number(process.hrtime.bigint() - sent) / 1e6;
  }

  /** That the service has in the kernel; undefined: it is not there. */
  backends(): number | undefined {
    return this.#map.lookup(this.#key)?.count;
  }

  close(): void {
    this.#map.close();
  }
}
