import { LbBackendFlags } from '@ciliate/abi';
import { type Address, addressBytes, bitPrefix, type NodeRow, type Tables } from '@ciliate/model';
import { TablePrefixIndex } from '@ciliate/tables';

const { LB_BACKEND_MANAGED, LB_BACKEND_LOCAL } = LbBackendFlags;

type PlaceTables = Pick<Tables, 'endpoints' | 'remoteEndpoints' | 'nodes'>;

/** Where an address is, as flags of a backend: ours or not, on this node or not. */
export class BackendPlaces {
  readonly #tables: PlaceTables;
  readonly #podCIDRs: TablePrefixIndex<NodeRow>;

  constructor(tables: PlaceTables) {
    this.#tables = tables;
    this.#podCIDRs = new TablePrefixIndex(tables.nodes, node => node.podCIDRs.map(bitPrefix));
  }

  flags(address: Address): number {
    const { endpoints, remoteEndpoints, nodes } = this.#tables;
    if (endpoints.by('address', address).length > 0) return LB_BACKEND_MANAGED | LB_BACKEND_LOCAL;
    if (nodes.by('address', address).some(node => node.local)) return LB_BACKEND_LOCAL;
    if (remoteEndpoints.by('address', address).length > 0) return LB_BACKEND_MANAGED;
    return this.#podCIDRs.longest(addressBytes(address)).length > 0 ? LB_BACKEND_MANAGED : 0;
  }
}
