import { LbBackendFlags } from '@ciliate/abi';
import {
  type Address,
  addressBytes,
  bitPrefix,
  type FrontendBackend,
  type NodeConfig,
  type NodeRow,
  type Tables,
} from '@ciliate/model';
import { TablePrefixIndex } from '@ciliate/tables';

const { LB_BACKEND_MANAGED, LB_BACKEND_LOCAL } = LbBackendFlags;

type PlaceTables = Pick<Tables, 'endpoints' | 'remoteEndpoints' | 'nodes'>;
export type PlaceConfig = Pick<NodeConfig, 'nodeName' | 'serviceOnly'>;

/** Where a backend is, as flags: ours or not, on this node or not. */
export class BackendPlaces {
  readonly #tables: PlaceTables;
  readonly #config: PlaceConfig;
  readonly #podCIDRs: TablePrefixIndex<NodeRow>;

  constructor(tables: PlaceTables, config: PlaceConfig) {
    this.#tables = tables;
    this.#config = config;
    this.#podCIDRs = new TablePrefixIndex(tables.nodes, node => node.podCIDRs.map(bitPrefix));
  }

  flags({ address, nodeName }: Pick<FrontendBackend, 'address' | 'nodeName'>): number {
    const { endpoints, nodes } = this.#tables;
    const isNode = nodes.by('address', address).some(node => node.local);
    if (this.#config.serviceOnly) return isNode || nodeName === this.#config.nodeName ? LB_BACKEND_LOCAL : 0;
    if (endpoints.by('address', address).length > 0) return LB_BACKEND_MANAGED | LB_BACKEND_LOCAL;
    return isNode ? LB_BACKEND_LOCAL : this.#elsewhere(address);
  }

  #elsewhere(address: Address): number {
    if (this.#tables.remoteEndpoints.by('address', address).length > 0) return LB_BACKEND_MANAGED;
    return this.#podCIDRs.longest(addressBytes(address)).length > 0 ? LB_BACKEND_MANAGED : 0;
  }
}
