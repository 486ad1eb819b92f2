import {
  type BackendHealthRow,
  type EndpointSliceRow,
  type FrontendRow,
  type LocalRedirectRow,
  type NodeConfig,
  type NodeRow,
  objectKey,
  type PodRow,
  type Prefix,
  type ServiceHealthRow,
  type ServiceRow,
  type Tables,
} from '@ciliate/model';
import {
  type ChangesOf,
  Controller,
  type ControllerModules,
  deepEqual,
  intern,
  upsert,
  type WriteTxn,
} from '@ciliate/tables';
import { writeWinners } from '../claim-controller.ts';
import { Claims } from '../claims.ts';
import {
  compileService,
  type FrontendContext,
  frontendClaims,
  hasHealthPort,
  isExposedOn,
  nodePortAddressesOf,
} from './compile-frontends.ts';
import { hostPortFrontends } from './host-ports.ts';
import { addressRedirect, lostFrontends, type Redirect, redirectPods, serviceRedirect } from './local-redirect.ts';
import { writeConflicts } from './service-conflicts.ts';

type FrontendInputs = {
  readonly services: ServiceRow;
  readonly endpointSlices: EndpointSliceRow;
  readonly nodes: NodeRow;
  readonly pods: PodRow;
  readonly localRedirects: LocalRedirectRow;
  readonly backendHealth: BackendHealthRow;
};
type FrontendTables = Pick<Tables, keyof FrontendInputs | 'frontends' | 'serviceHealth' | 'serviceConflicts'>;
export type FrontendConfig = Pick<
  NodeConfig,
  | 'nodeName'
  | 'ipv4'
  | 'ipv6'
  | 'lbAlgorithm'
  | 'lbMode'
  | 'lbModeAnnotation'
  | 'externalClusterIP'
  | 'sourceRangesForAll'
  | 'nodePortCIDRs'
>;

/** ms; what a change waits at most while others keep coming. */
const patience = 500;

/** services × endpointSlices × health of backends × this node, its pods and redirects → frontends. Recompiles the services that a change touches. */
export function frontendController(tables: FrontendTables, config: FrontendConfig, modules: ControllerModules) {
  const compiler = new FrontendCompiler(tables, config);
  const { services, endpointSlices, nodes, pods, localRedirects, backendHealth } = tables;
  return new Controller<FrontendInputs>(
    {
      name: 'service-frontends',
      inputs: { services, endpointSlices, nodes, pods, localRedirects, backendHealth },
      outputs: [tables.frontends, tables.serviceHealth, tables.serviceConflicts],
      // Services without their slices would look as if nothing served them.
      whole: true,
      // A service and its slices come by two watches.
      patience,
      run: (changes, txn) => compiler.run(changes, txn),
    },
    modules,
  );
}

class FrontendCompiler {
  readonly #tables: FrontendTables;
  readonly #claims = new Claims<FrontendRow>();
  readonly #serviceOfSlice = new Map<string, string>();
  /** Service that a redirect is about, by the redirect. */
  readonly #serviceOfRedirect = new Map<string, string>();
  /** Pods that a redirect used, by the redirect: to see whether a pod's change means anything to it. */
  readonly #podsOfRedirect = new Map<string, string>();
  readonly #nodePortCIDRs: readonly Prefix[];
  #context: FrontendContext;

  constructor(tables: FrontendTables, config: FrontendConfig) {
    this.#tables = tables;
    this.#nodePortCIDRs = config.nodePortCIDRs;
    this.#context = {
      ipv4: config.ipv4,
      ipv6: config.ipv6,
      nodeName: config.nodeName,
      nodeLabels: {},
      nodePortAddresses: [],
      nodeAddresses: [],
      algorithm: config.lbAlgorithm,
      forwarding: { mode: config.lbMode, byAnnotation: config.lbModeAnnotation },
      externalClusterIP: config.externalClusterIP,
      sourceRangesForAll: config.sourceRangesForAll,
    };
  }

  run(changes: ChangesOf<FrontendInputs>, txn: WriteTxn): void {
    const dirty = new Set(changes.services.map(change => change.key));
    for (const { key, row, deleted } of changes.endpointSlices) {
      const before = this.#serviceOfSlice.get(key);
      if (before !== undefined) dirty.add(before);
      const service = intern(`${row.namespace}/${row.service}`);
      if (deleted) this.#serviceOfSlice.delete(key);
      else this.#serviceOfSlice.set(key, service);
      dirty.add(service);
    }
    for (const { row } of changes.backendHealth) dirty.add(row.service);
    const isOtherNode = this.#readNode(changes);
    if (isOtherNode) for (const row of this.#tables.services.all()) dirty.add(objectKey(row));
    this.#readPods(changes, isOtherNode);
    this.#readRedirects(changes, isOtherNode, dirty);
    for (const key of dirty) this.#compile(key, txn);
    writeConflicts(this.#claims, this.#tables.serviceConflicts, txn);
    writeWinners(this.#claims, this.#tables.frontends, txn);
  }

  /** True when this node's addresses or labels are others than before. */
  #readNode(changes: ChangesOf<FrontendInputs>): boolean {
    const { nodeName } = this.#context;
    if (!changes.nodes.some(change => change.key === nodeName)) return false;
    const local = this.#tables.nodes.get(nodeName);
    const nodePortAddresses = nodePortAddressesOf(local, this.#nodePortCIDRs);
    const nodeAddresses = nodePortAddressesOf(local);
    const next = { ...this.#context, nodePortAddresses, nodeAddresses, nodeLabels: local?.labels ?? {} };
    if (deepEqual(next, this.#context)) return false;
    this.#context = next;
    return true;
  }

  #readPods(changes: ChangesOf<FrontendInputs>, all: boolean): void {
    const keys = new Set(changes.pods.map(({ key }) => key));
    if (all) for (const pod of this.#tables.pods.all()) if (pod.hostPorts.length > 0) keys.add(objectKey(pod));
    for (const key of keys) {
      const pod = this.#tables.pods.get(key);
      const rows = pod === undefined ? [] : hostPortFrontends(pod, this.#context);
      this.#claims.set(`host-port ${key}`, frontendClaims(rows, 0));
    }
  }

  #readRedirects(changes: ChangesOf<FrontendInputs>, all: boolean, dirty: Set<string>): void {
    const touched = new Set(changes.localRedirects.map(({ key }) => key));
    for (const row of this.#tables.localRedirects.all()) {
      if (all || (changes.pods.length > 0 && this.#podsChanged(row))) touched.add(objectKey(row));
    }
    for (const key of touched) {
      const before = this.#serviceOfRedirect.get(key);
      if (before !== undefined) dirty.add(before);
      const row = this.#tables.localRedirects.get(key);
      if (row === undefined) this.#podsOfRedirect.delete(key);
      else this.#podsChanged(row);
      const rows = row === undefined ? [] : addressRedirect(row, this.#tables.pods.all(), this.#context);
      this.#claims.set(`redirect ${key}`, frontendClaims(rows, row?.created ?? 0));
      if (row?.frontend.kind === 'service') {
        const service = `${row.frontend.namespace}/${row.frontend.name}`;
        this.#serviceOfRedirect.set(key, service);
        dirty.add(service);
      } else this.#serviceOfRedirect.delete(key);
    }
  }

  /** Whether the pods behind a redirect are others than at the last call. */
  #podsChanged(row: LocalRedirectRow): boolean {
    const pods = redirectPods(row, this.#tables.pods.all(), this.#context.nodeName);
    const text = pods
      .map(pod => `${pod.name} ${pod.podIPs.join(' ')} ${JSON.stringify(pod.namedPorts)}`)
      .sort()
      .join(', ');
    const key = objectKey(row);
    if (this.#podsOfRedirect.get(key) === text) return false;
    this.#podsOfRedirect.set(key, text);
    return true;
  }

  #compile(key: string, txn: WriteTxn): void {
    const { services, endpointSlices, serviceHealth } = this.#tables;
    const service = services.get(key);
    const slices = endpointSlices.by('service', key);
    const redirects = this.#redirectsOf(key);
    const rows =
      service === undefined
        ? []
        : compileService(service, slices, this.#context, redirects, this.#tables.backendHealth);
    this.#claims.set(key, frontendClaims(rows, service?.created ?? 0));
    // The service itself has them: these only tell who goes without.
    for (const redirect of redirects)
      this.#claims.set(`redirect ${redirect.key}`, frontendClaims(lostFrontends(redirect, rows, service?.ports), 0));
    const health = service === undefined ? undefined : this.#health(key, service, slices);
    if (health === undefined) serviceHealth.delete(txn, key);
    else upsert(serviceHealth, txn, health);
  }

  /** Redirects about a service, the oldest first. */
  #redirectsOf(service: string): readonly Redirect[] {
    const { localRedirects, pods } = this.#tables;
    const keys = [...this.#serviceOfRedirect].filter(([, one]) => one === service).map(([key]) => key);
    return keys
      .sort()
      .map(key => localRedirects.get(key))
      .filter(row => row !== undefined)
      .toSorted((a, b) => a.created - b.created)
      .map(row => serviceRedirect(row, pods.all(), this.#context.nodeName));
  }

  /** Counts ready endpoints of this node, each pod once, whatever ports it has. */
  #health(key: string, service: ServiceRow, slices: readonly EndpointSliceRow[]): ServiceHealthRow | undefined {
    if (!hasHealthPort(service) || !isExposedOn(service, this.#context.nodeLabels)) return undefined;
    // The proxy is on every node.
    if (service.proxyPort !== undefined) {
      return { service: key, port: service.healthCheckNodePort, localEndpoints: 1 };
    }
    const local = slices
      .flatMap(slice => slice.endpoints)
      .filter(endpoint => endpoint.ready && endpoint.nodeName === this.#context.nodeName);
    const names = new Set(local.map(({ targetPod, address }) => (targetPod === '' ? address : targetPod)));
    return { service: key, port: service.healthCheckNodePort, localEndpoints: names.size };
  }
}
