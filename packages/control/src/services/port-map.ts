import { type Address, type Protocol, protocolNumbers } from '@ciliate/model';

export interface PortAt {
  readonly address: Address;
  /** 0 to 65535. */
  readonly port: number;
  readonly protocol: Protocol;
}

/** Values by address, port and protocol. Texts as keys would be as much again as the map, and most of the time to ask it. */
export class PortMap<Value> {
  /** By protocol and port, which many share; then by address. */
  readonly #byPort = new Map<number, Map<Address, Value>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(at: PortAt): Value | undefined {
    return this.#byPort.get(portOf(at))?.get(at.address);
  }

  has(at: PortAt): boolean {
    return this.#byPort.get(portOf(at))?.has(at.address) === true;
  }

  set(at: PortAt, value: Value): void {
    const port = portOf(at);
    const values = this.#byPort.get(port) ?? new Map<Address, Value>();
    const before = values.size;
    if (before === 0) this.#byPort.set(port, values);
    values.set(at.address, value);
    this.#size += values.size - before;
  }

  delete(at: PortAt): boolean {
    const port = portOf(at);
    const values = this.#byPort.get(port);
    if (values?.delete(at.address) !== true) return false;
    this.#size -= 1;
    if (values.size === 0) this.#byPort.delete(port);
    return true;
  }

  *values(): IterableIterator<Value> {
    for (const values of this.#byPort.values()) yield* values.values();
  }
}

function portOf({ port, protocol }: PortAt): number {
  return protocolNumbers[protocol] * 0x1_0000 + port;
}
