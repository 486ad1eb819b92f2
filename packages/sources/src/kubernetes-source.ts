/** Everything that an agent reads from the API server: one reflector per resource, into the intent tables. */
import {
  type CiliumNodeRow,
  cidrGroupFromK8s,
  ciliumClusterwideNetworkPolicyFromK8s,
  ciliumEndpointFromK8s,
  ciliumIdentityFromK8s,
  ciliumNetworkPolicyFromK8s,
  ciliumNodeFromK8s,
  endpointSliceFromK8s,
  localRedirectFromK8s,
  mergeNode,
  type NodeRow,
  namespaceFromK8s,
  networkPolicyFromK8s,
  nodeFromK8s,
  type Parsed,
  type PolicyKind,
  type PolicyRow,
  podFromK8s,
  policyKey,
  serviceFromK8s,
  type Tables,
} from '@ciliate/model';
import type { Database, RWTable } from '@ciliate/tables';
import { JoinedSinks } from './joined-sink.ts';
import type { KubeApi } from './kube-client.ts';
import type { KubeObject } from './kube-object.ts';
import { parsedRow } from './parsed-object.ts';
import { Reflector, type ReflectorHealth, type ReflectorOptions, type Sink } from './reflector.ts';
import { resourcePaths } from './resources.ts';
import { type SourceLog, TableSink, type TableSinkOptions } from './table-sink.ts';

export interface KubernetesSourceOptions {
  readonly nodeName: string;
  /** 'node': Node.spec.podCIDRs; 'ciliumNode': what the operator of cluster-pool gave. */
  readonly podCIDRsFrom: 'node' | 'ciliumNode';
  /** True for an address of this node: its CiliumEndpoints are ours and not remote. */
  readonly isLocalAddress: (address: string) => boolean;
  /** A last word on each node's row before it is written: the local node's own addresses. */
  readonly completeNode?: (row: NodeRow) => NodeRow;
  /** Why no policy is enforced on this node; each says so itself. */
  readonly refusePolicies?: string;
}

export interface KubernetesSourceModules {
  readonly api: KubeApi;
  readonly db: Database;
  readonly tables: Pick<
    Tables,
    | 'nodes'
    | 'pods'
    | 'namespaces'
    | 'services'
    | 'endpointSlices'
    | 'remoteEndpoints'
    | 'identities'
    | 'policies'
    | 'ciliumPolicies'
    | 'clusterwidePolicies'
    | 'cidrGroups'
    | 'localRedirects'
  >;
  readonly log: SourceLog;
}

/** As kube-proxy: services that another proxy serves are not ours, nor are their slices. */
export function isOfAnotherProxy({ metadata }: KubeObject): boolean {
  return metadata?.labels?.['service.kubernetes.io/service-proxy-name'] !== undefined;
}

export class KubernetesSource {
  readonly name = 'kubernetes-source';
  readonly #modules: KubernetesSourceModules;
  readonly #reflectors: readonly Reflector[];

  constructor(options: KubernetesSourceOptions, modules: KubernetesSourceModules) {
    this.#modules = modules;
    const { tables } = modules;
    const nodes = this.#nodeSinks(options);
    const { nodeName, refusePolicies } = options;
    const policy = (parse: PolicyParser): PolicyParser =>
      refusePolicies === undefined ? parse : object => refusedPolicy(parse(object), refusePolicies);
    this.#reflectors = [
      this.#reflector({ name: 'nodes', path: resourcePaths.nodes }, nodes.first),
      this.#reflector({ name: 'ciliumnodes', path: resourcePaths.ciliumNodes, optional: true }, nodes.second),
      this.#table('services', resourcePaths.services, tables.services, unlessForeign(serviceFromK8s), {
        foreign: row => row.fromFile === true,
      }),
      this.#table(
        'endpointslices',
        resourcePaths.endpointSlices,
        tables.endpointSlices,
        unlessForeign(endpointSliceFromK8s),
        { foreign: row => row.fromFile === true },
      ),
      this.#table('namespaces', resourcePaths.namespaces, tables.namespaces, namespaceFromK8s),
      this.#table('pods', resourcePaths.pods, tables.pods, podFromK8s, {
        query: { fieldSelector: `spec.nodeName=${nodeName}` },
      }),
      this.#table(
        'ciliumendpoints',
        resourcePaths.ciliumEndpoints,
        tables.remoteEndpoints,
        object => {
          const parsed = ciliumEndpointFromK8s(object);
          return 'row' in parsed && options.isLocalAddress(parsed.row.nodeAddress) ? undefined : parsed;
        },
        { optional: true },
      ),
      this.#table('networkpolicies', resourcePaths.networkPolicies, tables.policies, policy(networkPolicyFromK8s), {
        optional: true,
        key: keyOfPolicy('NetworkPolicy'),
      }),
      this.#table(
        'ciliumnetworkpolicies',
        resourcePaths.ciliumNetworkPolicies,
        tables.ciliumPolicies,
        policy(ciliumNetworkPolicyFromK8s),
        { optional: true, key: keyOfPolicy('CiliumNetworkPolicy') },
      ),
      this.#table(
        'ciliumclusterwidenetworkpolicies',
        resourcePaths.ciliumClusterwideNetworkPolicies,
        tables.clusterwidePolicies,
        policy(ciliumClusterwideNetworkPolicyFromK8s),
        { optional: true, key: keyOfPolicy('CiliumClusterwideNetworkPolicy') },
      ),
      this.#table(
        'ciliumlocalredirectpolicies',
        resourcePaths.localRedirectPolicies,
        tables.localRedirects,
        localRedirectFromK8s,
        { optional: true },
      ),
      this.#table('ciliumcidrgroups', resourcePaths.ciliumCidrGroups, tables.cidrGroups, cidrGroupFromK8s, {
        optional: true,
      }),
      this.#table('ciliumidentities', resourcePaths.ciliumIdentities, tables.identities, ciliumIdentityFromK8s, {
        optional: true,
        foreign: row => row.reserved,
      }),
    ];
  }

  start(): void {
    for (const reflector of this.#reflectors) reflector.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#reflectors.map(reflector => reflector.stop()));
  }

  health(): readonly ReflectorHealth[] {
    return this.#reflectors.map(reflector => reflector.health);
  }

  #table<Row, Index extends string>(
    name: string,
    path: string,
    table: RWTable<Row, Index>,
    parse: (object: KubeObject) => Parsed<Row> | undefined,
    { key, foreign, ...more }: Partial<ReflectorOptions> & Pick<TableSinkOptions<Row>, 'key' | 'foreign'> = {},
  ): Reflector {
    const { db, log } = this.#modules;
    const sink = new TableSink(
      {
        name,
        parse: object => {
          const parsed = parse(object);
          return parsed === undefined ? undefined : this.#rowOf(name, object, parsed);
        },
        ...(key === undefined ? {} : { key }),
        ...(foreign === undefined ? {} : { foreign }),
      },
      { db, table, log },
    );
    return this.#reflector({ name, path, ...more }, sink);
  }

  #reflector(options: ReflectorOptions, sink: Sink): Reflector {
    return new Reflector(options, { api: this.#modules.api, sink, log: this.#modules.log });
  }

  #nodeSinks({ nodeName, podCIDRsFrom, completeNode }: KubernetesSourceOptions) {
    const { db, log, tables } = this.#modules;
    return new JoinedSinks<NodeRow, CiliumNodeRow, NodeRow, 'address'>(
      {
        first: { name: 'nodes', parse: object => this.#rowOf('nodes', object, nodeFromK8s(object, nodeName)) },
        second: { name: 'ciliumnodes', parse: object => this.#rowOf('ciliumnodes', object, ciliumNodeFromK8s(object)) },
        join: (node, ciliumNode) => {
          const row = mergeNode(node, ciliumNode, nodeName, podCIDRsFrom);
          return row === undefined || completeNode === undefined ? row : completeNode(row);
        },
      },
      { db, table: tables.nodes, log },
    );
  }

  #rowOf<Row>(source: string, object: KubeObject, parsed: Parsed<Row>): Row {
    return parsedRow(source, object, parsed, this.#modules.log);
  }
}

type PolicyParser = (object: KubeObject) => Parsed<PolicyRow>;

/** Read, shown, and not enforced. */
export function refusedPolicy(parsed: Parsed<PolicyRow>, reason: string): Parsed<PolicyRow> {
  return 'error' in parsed ? parsed : { ...parsed, row: { ...parsed.row, refused: [reason, ...parsed.row.refused] } };
}

/** As policyKey of the row that the object makes. */
const keyOfPolicy =
  (kind: PolicyKind) =>
  ({ metadata }: KubeObject): string => {
    const namespace = kind === 'CiliumClusterwideNetworkPolicy' ? '' : (metadata?.namespace ?? 'default');
    return policyKey({ kind, namespace, name: metadata?.name ?? '' });
  };

function unlessForeign<Row>(
  parse: (object: KubeObject) => Parsed<Row>,
): (object: KubeObject) => Parsed<Row> | undefined {
  return object => (isOfAnotherProxy(object) ? undefined : parse(object));
}
