import { type Address, type Prefix, tryParseAddress } from '../address.ts';
import type { NodeAddress, NodeRow } from '../rows.ts';
import { type Parsed, type ParseProblem, parsing } from './parsed.ts';
import { Reader } from './reader.ts';

/** What a CiliumNode adds to a node. */
export interface CiliumNodeRow {
  readonly name: string;
  readonly addresses: readonly NodeAddress[];
  /** spec.ipam.podCIDRs: what the operator of cluster-pool has given. */
  readonly podCIDRs: readonly Prefix[];
  readonly healthAddresses: readonly Address[];
}

const addressTypes: readonly NodeAddress['type'][] = ['InternalIP', 'ExternalIP', 'Hostname', 'CiliumInternalIP'];

/** A core/v1 Node, seen from the node `localName`. Router and health addresses come from its CiliumNode: mergeNode. */
export function nodeFromK8s(object: unknown, localName: string): Parsed<NodeRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const name = root.at('metadata', 'name').text();
    const status = root.at('status', 'addresses').list();
    return {
      name,
      local: name === localName,
      labels: root.at('metadata', 'labels').labels(),
      addresses: status.flatMap(item => nodeAddress(item.at('type').text(), item.at('address'), problems)),
      podCIDRs: podCIDRs(root, problems),
      routerAddresses: [],
      healthAddresses: [],
      ...(isLeaving(root) ? { leaving: true } : {}),
    };
  });
}

const leavingTaint = 'ToBeDeletedByClusterAutoscaler';

function isLeaving(root: Reader): boolean {
  const taints = root.at('spec', 'taints').list();
  return (
    !root.at('metadata', 'deletionTimestamp').absent || taints.some(taint => taint.at('key').text('') === leavingTaint)
  );
}

/** A cilium.io/v2 CiliumNode. */
export function ciliumNodeFromK8s(object: unknown): Parsed<CiliumNodeRow> {
  return parsing(problems => {
    const root = new Reader(object);
    const spec = root.at('spec');
    const health = [spec.at('health', 'ipv4'), spec.at('health', 'ipv6')].filter(item => item.text('') !== '');
    const addresses = spec.at('addresses').list();
    return {
      name: root.at('metadata', 'name').text(),
      addresses: addresses.flatMap(item => nodeAddress(item.at('type').text(), item.at('ip'), problems)),
      podCIDRs: spec.at('ipam', 'podCIDRs').prefixes(problems),
      healthAddresses: health.map(item => item.address(problems)).filter(address => address !== undefined),
    };
  });
}

/**
 * One row of both halves; undefined when there is neither. `podCIDRsFrom` says whose pod CIDRs count. With 'ciliumNode' those of
 * the Node are never used: kube-controller-manager may have handed out others, which belong to nobody here.
 */
export function mergeNode(
  node: NodeRow | undefined,
  ciliumNode: CiliumNodeRow | undefined,
  localName: string,
  podCIDRsFrom: 'node' | 'ciliumNode' = 'node',
): NodeRow | undefined {
  const name = node?.name ?? ciliumNode?.name;
  if (name === undefined) return undefined;
  const own = ciliumNode?.addresses ?? [];
  const known = new Set(node?.addresses.map(item => item.address));
  const routers = own.filter(item => item.type === 'CiliumInternalIP');
  const added = own.filter(item => item.type !== 'CiliumInternalIP' && !known.has(item.address));
  const ofNode = podCIDRsFrom === 'node' ? (node?.podCIDRs ?? []) : [];
  const cidrs = ofNode.length > 0 ? ofNode : (ciliumNode?.podCIDRs ?? []);
  return {
    name,
    local: name === localName,
    labels: node?.labels ?? {},
    addresses: [...(node?.addresses ?? []), ...added],
    podCIDRs: cidrs,
    routerAddresses: routers.map(item => tryParseAddress(item.address)).filter(address => address !== undefined),
    healthAddresses: ciliumNode?.healthAddresses ?? [],
    ...(node?.leaving === true ? { leaving: true } : {}),
  };
}

/** Types that we do not know are left out; IP types must carry an address. */
function nodeAddress(type: string, value: Reader, problems: ParseProblem[]): readonly NodeAddress[] {
  const known = addressTypes.find(name => name === type);
  if (known === undefined) return [];
  const address = known === 'Hostname' ? value.text('') : value.address(problems);
  return address === undefined || address === '' ? [] : [{ type: known, address }];
}

function podCIDRs(root: Reader, problems: ParseProblem[]): readonly Prefix[] {
  const list = root.at('spec', 'podCIDRs');
  if (list.list().length > 0) return list.prefixes(problems);
  const single = root.at('spec', 'podCIDR');
  const prefix = single.text('') === '' ? undefined : single.prefix(problems);
  return prefix === undefined ? [] : [prefix];
}
