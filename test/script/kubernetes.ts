/** k8s/add, k8s/update and k8s/delete: documents through the parsers into the tables, as the sources do it. */
import {
  type CiliumNodeRow,
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
  type ParseProblem,
  podFromK8s,
  serviceFromK8s,
  type Tables,
} from '@ciliate/model';
import { isOfAnotherProxy, type KubeObject } from '@ciliate/sources';
import type { RWTable, WriteTxn } from '@ciliate/tables';
import { parseAllDocuments } from 'yaml';

type Verb = 'put' | 'delete';
type Write = (txn: WriteTxn, verb: Verb) => void;

export class Kubernetes {
  readonly #tables: Tables;
  readonly #localNode: string;
  /** Objects that could not be used, and parts of objects that were left out. */
  readonly problems: ParseProblem[] = [];
  readonly #nodes = new Map<string, NodeRow>();
  readonly #ciliumNodes = new Map<string, CiliumNodeRow>();

  readonly #others: 'others-ignored' | 'others-refused';

  /** `others`: objects of kinds that no source asks for. */
  constructor(tables: Tables, localNode = 'node-1', others: 'others-ignored' | 'others-refused' = 'others-refused') {
    this.#tables = tables;
    this.#localNode = localNode;
    this.#others = others;
  }

  apply(text: string, verb: Verb, txn: WriteTxn): void {
    for (const document of parseAllDocuments(text)) this.#write(document.toJS())?.(txn, verb);
  }

  #write(object: KubeObject & { readonly kind?: string }): Write | undefined {
    const tables = this.#tables;
    switch (object.kind) {
      case 'Service':
        return this.#unlessForeign(object, this.#rows(tables.services, serviceFromK8s(object)));
      case 'EndpointSlice':
        return this.#unlessForeign(object, this.#rows(tables.endpointSlices, endpointSliceFromK8s(object)));
      case 'Pod':
        return this.#rows(tables.pods, podFromK8s(object));
      case 'Namespace':
        return this.#rows(tables.namespaces, namespaceFromK8s(object));
      case 'CiliumEndpoint':
        return this.#rows(tables.remoteEndpoints, ciliumEndpointFromK8s(object));
      case 'CiliumIdentity':
        return this.#rows(tables.identities, ciliumIdentityFromK8s(object));
      case 'Node':
        return this.#half(this.#nodes, nodeFromK8s(object, this.#localNode));
      case 'CiliumLocalRedirectPolicy':
        return this.#rows(tables.localRedirects, localRedirectFromK8s(object));
      case 'NetworkPolicy':
        return this.#rows(tables.policies, networkPolicyFromK8s(object));
      case 'CiliumNetworkPolicy':
        return this.#rows(tables.ciliumPolicies, ciliumNetworkPolicyFromK8s(object));
      case 'CiliumClusterwideNetworkPolicy':
        return this.#rows(tables.clusterwidePolicies, ciliumClusterwideNetworkPolicyFromK8s(object));
      case 'CiliumNode':
        return this.#half(this.#ciliumNodes, ciliumNodeFromK8s(object));
      default:
        if (this.#others === 'others-ignored') return undefined;
        throw new Error(`no parser for kind ${object.kind}`);
    }
  }

  #unlessForeign(object: KubeObject, write: Write | undefined): Write | undefined {
    return isOfAnotherProxy(object) ? txn => write?.(txn, 'delete') : write;
  }

  #taken<Row>(parsed: Parsed<Row>): Row | undefined {
    if ('error' in parsed) {
      this.problems.push(parsed.error);
      return undefined;
    }
    this.problems.push(...parsed.problems);
    return parsed.row;
  }

  #rows<Row>(table: RWTable<Row, never>, parsed: Parsed<Row>): Write | undefined {
    const row = this.#taken(parsed);
    if (row === undefined) return undefined;
    return (txn, verb) => {
      if (verb === 'put') table.insert(txn, row);
      else table.delete(txn, table.spec.key(row));
    };
  }

  #half<Half extends { readonly name: string }>(halves: Map<string, Half>, parsed: Parsed<Half>): Write | undefined {
    const half = this.#taken(parsed);
    if (half === undefined) return undefined;
    const { name } = half;
    return (txn, verb) => {
      if (verb === 'put') halves.set(name, half);
      else halves.delete(name);
      const row = mergeNode(this.#nodes.get(name), this.#ciliumNodes.get(name), this.#localNode);
      if (row === undefined) this.#tables.nodes.delete(txn, name);
      else this.#tables.nodes.insert(txn, row);
    };
  }
}
