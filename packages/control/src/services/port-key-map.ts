import { intern } from '@ciliate/tables';

/**
 * A map whose keys are those of portKey. What stands before the port is kept as the address that slices have too, what stands after it once
 * for all that share it: the keys of all backends would be as much again as the map.
 */
export class PortKeyMap<Value> {
  /** By ':8080/TCP', then by address (with its brackets). */
  readonly #byPort = new Map<string, Map<string, Value>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): Value | undefined {
    const colon = key.lastIndexOf(':');
    return this.#byPort.get(key.slice(colon))?.get(key.slice(0, colon));
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  set(key: string, value: Value): void {
    const colon = key.lastIndexOf(':');
    const port = key.slice(colon);
    const address = key.slice(0, colon);
    const values = this.#byPort.get(port) ?? new Map<string, Value>();
    if (values.size === 0) this.#byPort.set(intern(port), values);
    if (!values.has(address)) this.#size += 1;
    values.set(intern(address), value);
  }

  delete(key: string): boolean {
    const colon = key.lastIndexOf(':');
    const port = key.slice(colon);
    const values = this.#byPort.get(port);
    if (values?.delete(key.slice(0, colon)) !== true) return false;
    this.#size -= 1;
    if (values.size === 0) this.#byPort.delete(port);
    return true;
  }

  *values(): IterableIterator<Value> {
    for (const values of this.#byPort.values()) yield* values.values();
  }
}
