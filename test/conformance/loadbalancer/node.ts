/** The node that a script talks about: its addresses, by device, and its labels. */
import { type DeviceRow, type NodeRow, parsePrefix, tryParseAddress } from '@ciliate/model';
import { parseAllDocuments } from 'yaml';
import type { Cells } from '../../script/text-table.ts';
import { nodeName } from './tables.ts';

interface NodeAddress {
  readonly addr: string;
  readonly nodeport?: boolean;
  readonly primary?: boolean;
  readonly devicename?: string;
}

export class ScriptNode {
  labels: Readonly<Record<string, string>> = {};
  /** What test/set-node-ip says; '' = nothing. */
  ip = '';
  readonly #rows = new Map<string, NodeAddress>();

  insert(text: string): void {
    for (const row of addressesIn(text)) this.#rows.set(row.addr, row);
  }

  remove(text: string): void {
    for (const row of addressesIn(text)) this.#rows.delete(row.addr);
  }

  get cells(): readonly Cells[] {
    return [...this.#rows.values()].map(row => ({
      Address: row.addr,
      NodePort: String(row.nodeport ?? false),
      Primary: String(row.primary ?? false),
      DeviceName: row.devicename ?? '',
    }));
  }

  /** Where NodePorts answer. */
  get nodePortAddresses(): readonly string[] {
    return [...this.#rows.values()].filter(row => row.nodeport === true).map(row => row.addr);
  }

  nodeRow(): NodeRow {
    const addresses = [...this.nodePortAddresses, this.ip].filter(text => tryParseAddress(text) !== undefined);
    return {
      name: nodeName,
      local: true,
      labels: this.labels,
      addresses: addresses.map(address => ({ type: 'InternalIP', address })),
      podCIDRs: [],
      routerAddresses: [],
      healthAddresses: [],
    };
  }

  deviceRows(): readonly DeviceRow[] {
    const devices = new Map<string, string[]>();
    for (const { addr, devicename = '' } of this.#rows.values()) {
      if (tryParseAddress(addr) === undefined) continue;
      devices.set(devicename, [...(devices.get(devicename) ?? []), addr]);
    }
    return [...devices].map(([name, addresses], i) => ({
      name,
      ifindex: i + 2,
      mac: '',
      mtu: 1500,
      kind: '',
      up: true,
      addresses: addresses.map(addr => parsePrefix(`${addr}/${addr.includes(':') ? 128 : 32}`)),
      native: false,
    }));
  }
}

function addressesIn(text: string): readonly NodeAddress[] {
  return parseAllDocuments(text).map(document => document.toJS() as NodeAddress);
}
