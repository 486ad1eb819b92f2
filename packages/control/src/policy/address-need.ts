/** Whether the maps of addresses hold what policies ask of them: a block that has no room would leave its addresses to a wider one. */
import {
  type AddressBlockRow,
  firstCidrIdentity,
  firstClassIdentity,
  type PolicyContent,
  type Tables,
} from '@ciliate/model';

export interface AddressMapSizes {
  /** Entries that policy_classes may have. */
  readonly classes: number;
  readonly ipcache: number;
}

type AddressTables = Pick<Tables, 'addressBlocks' | 'addressClasses' | 'endpoints' | 'remoteEndpoints' | 'nodes'>;

/** Why the policy of a group cannot hold for all addresses that it names; undefined: it can. */
export function addressesUnfit(
  tables: AddressTables,
  { content, usesClasses }: { readonly content: PolicyContent; readonly usesClasses: boolean },
  sizes: AddressMapSizes,
): string | undefined {
  if (isFarFromFull(tables, sizes)) return undefined;
  const classes = blocksOf(tables, 'class') + addressesIn(tables.addressClasses.all());
  if (usesClasses && classes > sizes.classes) return tooMany('policy_classes', classes, sizes.classes);
  const { endpoints, remoteEndpoints, nodes } = tables;
  const others = addressesIn(endpoints.all()) + addressesIn(remoteEndpoints.all()) + addressesIn(nodes.all());
  const prefixes = blocksOf(tables, 'cidr') + others;
  return prefixes > sizes.ipcache && namesBlocks(content) ? tooMany('ipcache', prefixes, sizes.ipcache) : undefined;
}

const tooMany = (map: string, need: number, size: number): string =>
  `policies, pods and nodes need ${need} prefixes in ${map}, which has room for ${size}: name fewer or wider address blocks`;

/** Cheap, and enough on nearly every node. */
function isFarFromFull(tables: AddressTables, { classes, ipcache }: AddressMapSizes): boolean {
  const { addressBlocks, endpoints, remoteEndpoints, nodes } = tables;
  // Classes of single addresses are of pods and nodes.
  const others = 2 * (endpoints.size + remoteEndpoints.size) + 16 * nodes.size;
  return addressBlocks.size + others <= Math.min(classes, ipcache);
}

function blocksOf({ addressBlocks }: AddressTables, kind: AddressBlockRow['kind']): number {
  return addressBlocks.all().filter(row => row.kind === kind && row.leaving !== true).length;
}

const addressesIn = (rows: readonly { readonly addresses: readonly unknown[] }[]): number =>
  rows.reduce((sum, { addresses }) => sum + addresses.length, 0);

function namesBlocks(content: PolicyContent): boolean {
  for (const [{ identity }] of content.entries()) {
    if (identity >= firstCidrIdentity && identity < firstClassIdentity) return true;
  }
  return false;
}
