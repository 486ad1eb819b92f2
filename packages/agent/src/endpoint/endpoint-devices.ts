import type { Address, EndpointRow } from '@ciliate/model';

/** What the endpoint manager needs of the datapath; tests give a fake. */
export interface EndpointDevices {
  /** Makes the device pair. Undoes itself when it throws. */
  create(spec: EndpointDeviceSpec): EndpointDevice | Promise<EndpointDevice>;
  /** Removing what is gone is no error. */
  remove(row: EndpointRow): void | Promise<void>;
  /** Those of `rows` whose device is still there: a veth lives as long as its other end, so one look at our side is enough. */
  survivors(rows: readonly EndpointRow[]): readonly EndpointRow[] | Promise<readonly EndpointRow[]>;
  /** Both ends are there and are the ones that we made. */
  check(row: EndpointRow): boolean | Promise<boolean>;
  /** SO_NETNS_COOKIE of the network namespace at the path; '0': there is none. */
  cookieOf(netns: string): string;
  /** Resolves when what the kernel needs for this endpoint is in place; rejects after a while. */
  wired(row: EndpointRow, signal: AbortSignal): Promise<void>;
}

export interface EndpointDeviceSpec {
  readonly endpointId: number;
  readonly containerId: string;
  readonly containerDevice: string;
  /** Path of the network namespace. */
  readonly netns: string;
  readonly addresses: readonly Address[];
  readonly routers: readonly Address[];
  readonly mtu: number;
}

export interface EndpointDevice {
  readonly device: string;
  readonly ifindex: number;
  readonly mac: string;
  readonly nodeMac: string;
}
