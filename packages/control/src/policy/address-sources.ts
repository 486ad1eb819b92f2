/** Nodes and pods of the tables → what policies ask of their addresses. */
import type {
  Address,
  DeviceRow,
  EndpointRow,
  EndpointSliceRow,
  NodeRow,
  PodRow,
  RemoteEndpointRow,
  Tables,
} from '@ciliate/model';
import type { Change } from '@ciliate/tables';
import { deviceAddresses, nodeIPs } from '../network/addresses.ts';
import { apiServerAddresses, isApiServerSlice } from '../network/api-servers.ts';
import type { AddressAsks, AskChanges, PeerNode } from './address-asks.ts';
import type { ExactClasses } from './exact-classes.ts';
import { namedPortEntries } from './named-addresses.ts';

type SourceTables = Pick<Tables, 'nodes' | 'devices' | 'endpointSlices' | 'endpoints' | 'remoteEndpoints' | 'pods'>;

interface SourceChanges {
  readonly nodes: readonly Change<NodeRow>[];
  readonly devices: readonly Change<DeviceRow>[];
  readonly endpointSlices: readonly Change<EndpointSliceRow>[];
  readonly endpoints: readonly Change<EndpointRow>[];
  readonly remoteEndpoints: readonly Change<RemoteEndpointRow>[];
  readonly pods: readonly Change<PodRow>[];
}

/** A node as policies see it. `servers`: addresses of the API server. */
export function peerNode(
  node: NodeRow,
  { devices }: Pick<SourceTables, 'devices'>,
  servers: ReadonlySet<Address>,
): PeerNode {
  const own = node.local ? devices.all().filter(({ native }) => native) : [];
  const addresses = [...nodeIPs(node), ...node.routerAddresses, ...own.flatMap(deviceAddresses)];
  const { name, labels, local } = node;
  return { name, labels, local, addresses, apiServers: addresses.filter(address => servers.has(address)) };
}

export class AddressSources {
  readonly #tables: SourceTables;
  readonly #asks: AddressAsks;
  readonly #classes: ExactClasses;
  #apiServers: ReadonlySet<Address> = new Set();

  constructor(tables: SourceTables, asks: AddressAsks, classes: ExactClasses) {
    this.#tables = tables;
    this.#asks = asks;
    this.#classes = classes;
  }

  /** `now` in ms since 1970. */
  read(changes: SourceChanges, asked: AskChanges, now: number): void {
    const serversMoved = changes.endpointSlices.some(({ row }) => isApiServerSlice(row));
    if (serversMoved) this.#apiServers = apiServerAddresses(this.#tables.endpointSlices);
    if (asked.blocks.length > 0 || asked.labels || serversMoved || changes.devices.length > 0) this.#allNodes(now);
    else for (const { key } of changes.nodes) this.#node(key, now);
    if (asked.ports || (asked.blocks.length > 0 && this.#asks.asksPorts)) this.#allPods(now);
    else if (this.#asks.asksPorts) this.#changedPods(changes, now);
  }

  #allNodes(now: number): void {
    const claiming = this.#classes.sources().filter(source => source.startsWith('node '));
    const names = [...this.#tables.nodes.all().map(({ name }) => name), ...claiming.map(source => source.slice(5))];
    for (const name of new Set(names)) this.#node(name, now);
  }

  #node(name: string, now: number): void {
    const row = this.#tables.nodes.get(name);
    const claims = row === undefined ? [] : this.#asks.ofNode(peerNode(row, this.#tables, this.#apiServers));
    this.#classes.set(`node ${name}`, claims, now);
  }

  #allPods(now: number): void {
    const claiming = this.#classes.sources().filter(source => !source.startsWith('node '));
    for (const source of claiming) this.#classes.set(source, [], now);
    for (const { id } of this.#tables.endpoints.all()) this.#local(String(id), now);
    for (const { namespace, name } of this.#tables.remoteEndpoints.all()) this.#remote(`${namespace}/${name}`, now);
  }

  #changedPods({ endpoints, remoteEndpoints, pods }: SourceChanges, now: number): void {
    for (const { key } of endpoints) this.#local(key, now);
    for (const { key } of remoteEndpoints) this.#remote(key, now);
    for (const { key } of pods) {
      for (const { id } of this.#tables.endpoints.by('pod', key)) this.#local(String(id), now);
    }
  }

  #local(key: string, now: number): void {
    const row = this.#tables.endpoints.get(key);
    const pod = row === undefined ? undefined : this.#tables.pods.get(`${row.podNamespace}/${row.podName}`);
    this.#pod(`local ${key}`, row?.addresses, pod?.namedPorts, now);
  }

  #remote(key: string, now: number): void {
    const row = this.#tables.remoteEndpoints.get(key);
    this.#pod(`remote ${key}`, row?.addresses, row?.namedPorts, now);
  }

  #pod(source: string, addresses: readonly Address[] = [], ports: PodRow['namedPorts'] = {}, now: number): void {
    this.#classes.set(source, this.#asks.ofPod(addresses, namedPortEntries(ports)), now);
  }
}
