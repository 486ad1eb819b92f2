/** Devices of this node into their table: what the kernel has now, read anew (debounced) at each change it tells of. */
import {
  type Link,
  listAddresses,
  listLinks,
  listXdpFeatures,
  NetlinkGroup,
  type NetlinkSocket,
  watchNetlink,
  watchXdpFeatures,
  XdpFeature,
} from '@ciliate/kernel';
import { addressFromBytes, type DeviceRow, makePrefix, type XdpSupport } from '@ciliate/model';
import type { Database, RWTable } from '@ciliate/tables';
import { hostDevice, overlayDevice } from './base-devices.ts';

export interface DeviceReflectorOptions {
  /** Names or patterns ('eth*'); empty: chosen by their addresses. */
  readonly patterns: readonly string[];
  /** What drivers can do with XDP is read too. */
  readonly xdp?: boolean;
}

const scopeLink = 253;

function addressOf(bytes: Uint8Array) {
  if (bytes.length === 16) return addressFromBytes(bytes);
  return addressFromBytes(Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes]));
}

function matches(name: string, pattern: string): boolean {
  return pattern.endsWith('*') || pattern.endsWith('+') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** Ours and the loopback are never native; of others, those with an address that the world can use. */
function isNative(link: Link, hasGlobalAddress: boolean, patterns: readonly string[]): boolean {
  if (link.loopback || [hostDevice, overlayDevice].includes(link.name) || /^lxc[0-9a-f]{12}$/.test(link.name))
    return false;
  return patterns.length > 0 ? patterns.some(pattern => matches(link.name, pattern)) : hasGlobalAddress;
}

function xdpSupport(features: number | undefined): { readonly xdp?: XdpSupport } {
  if (features === undefined) return {};
  const has = (wanted: number): boolean => (features & wanted) === wanted;
  return {
    xdp: {
      runs: has(XdpFeature.BASIC),
      transmits: has(XdpFeature.NDO_XMIT),
      transmitsScattered: has(XdpFeature.NDO_XMIT | XdpFeature.NDO_XMIT_SG),
    },
  };
}

export function readDevices(socket: NetlinkSocket, options: DeviceReflectorOptions): readonly DeviceRow[] {
  const addresses = listAddresses(socket);
  const features = options.xdp === true ? listXdpFeatures() : undefined;
  return listLinks(socket)
    .filter(link => !/^lxc[0-9a-f]{12}$/.test(link.name))
    .map(link => {
      const global = addresses.filter(entry => entry.ifindex === link.ifindex && entry.scope < scopeLink);
      return {
        name: link.name,
        ifindex: link.ifindex,
        mac: link.mac,
        mtu: link.mtu,
        kind: link.kind,
        up: link.up,
        addresses: global.map(entry => makePrefix(addressOf(entry.address), entry.prefixLength)),
        native: isNative(link, global.length > 0, options.patterns),
        ...xdpSupport(features?.get(link.ifindex)),
      };
    });
}

/** Prefixes lose host bits, so a device's own addresses are kept apart as host prefixes. */
function withHostPrefixes(row: DeviceRow, socketAddresses: ReadonlyMap<number, DeviceRow['addresses']>): DeviceRow {
  return { ...row, addresses: socketAddresses.get(row.ifindex) ?? [] };
}

function hostPrefixes(socket: NetlinkSocket): ReadonlyMap<number, DeviceRow['addresses']> {
  const found = new Map<number, DeviceRow['addresses'][number][]>();
  for (const entry of listAddresses(socket)) {
    if (entry.scope >= scopeLink) continue;
    const list = found.get(entry.ifindex) ?? [];
    list.push(makePrefix(addressOf(entry.address), entry.address.length * 8));
    found.set(entry.ifindex, list);
  }
  return found;
}

export class DeviceReflector {
  readonly #options: DeviceReflectorOptions;
  readonly #modules: {
    readonly socket: NetlinkSocket;
    readonly database: Database;
    readonly devices: RWTable<DeviceRow>;
  };
  #stopWatching: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #initialized: ReturnType<RWTable<DeviceRow>['registerInitializer']> | undefined;

  constructor(
    options: DeviceReflectorOptions,
    modules: { readonly socket: NetlinkSocket; readonly database: Database; readonly devices: RWTable<DeviceRow> },
  ) {
    this.#options = options;
    this.#modules = modules;
    this.#initialized = modules.devices.registerInitializer('netlink');
  }

  start(): void {
    const groups = NetlinkGroup.LINK | NetlinkGroup.IPV4_IFADDR | NetlinkGroup.IPV6_IFADDR;
    const changed = (): void => {
      this.#timer ??= setTimeout(() => this.refresh(), 100);
    };
    const stops = [watchNetlink(groups, changed), ...(this.#options.xdp === true ? [watchXdpFeatures(changed)] : [])];
    this.#stopWatching = () => {
      for (const stop of stops) stop();
    };
    this.refresh();
  }

  refresh(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { socket, database, devices } = this.#modules;
    const own = hostPrefixes(socket);
    const rows = readDevices(socket, this.#options).map(row => withHostPrefixes(row, own));
    database.write(txn => {
      const names = new Set(rows.map(row => row.name));
      for (const old of devices.all()) if (!names.has(old.name)) devices.delete(txn, old.name);
      for (const row of rows)
        if (JSON.stringify(devices.get(row.name)) !== JSON.stringify(row)) devices.insert(txn, row);
      this.#initialized?.(txn);
      this.#initialized = undefined;
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#stopWatching?.();
  }
}
