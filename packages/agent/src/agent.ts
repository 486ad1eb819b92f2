/** Composition root of ciliate-agent: the only place that builds things (STYLE rule 10). */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { sceneFromTables } from '@ciliate/control';
import { type Address, defineTables, LabelFilter, reservedIdentityRows, type Tables } from '@ciliate/model';
import { FileSource, KubeClient, KubernetesSource, KubeWriters, loadKubeConfig } from '@ciliate/sources';
import { createDatabase, type Database } from '@ciliate/tables';
import { accelerationProblems } from './acceleration.ts';
import type { AgentDatapath, OpenDatapath } from './agent-datapath.ts';
import { systemClock } from './clock.ts';
import { cniConfiguration, writeCniConfiguration } from './cni/write-conf.ts';
import { EndpointManager } from './endpoint/endpoint-manager.ts';
import { EndpointStore } from './endpoint/endpoint-store.ts';
import { BackendProber } from './health/backend-prober.ts';
import { HealthEndpoint } from './health/health-endpoint.ts';
import { Prober } from './health/prober.ts';
import { ProxyHealthz } from './health/proxy-healthz.ts';
import { HealthResponder } from './health/responder.ts';
import { ServiceHealthServers } from './health/service-health.ts';
import { HeapKeeper } from './heap.ts';
import { IdentityAllocator } from './identity/identity-allocator.ts';
import { Ipam } from './ipam/ipam.ts';
import type { WorkHealth } from './keyed-queue.ts';
import { Lifecycle, type Service } from './lifecycle.ts';
import { internalAddresses, LocalNode } from './local-node.ts';
import { describe, type Log } from './log.ts';
import type { AgentOptions } from './options/agent-options.ts';
import { forwardingOf } from './options/forwarding.ts';
import { serviceOnlyReason } from './options/service-only.ts';
import { HostTracked } from './policy/host-tracked.ts';
import { PolicyVerifier, verifyProblem } from './policy/policy-verifier.ts';
import { sceneSettings } from './policy/scene-settings.ts';
import { EndpointPublisher } from './publish/endpoint-publisher.ts';
import { NodePublisher } from './publish/node-publisher.ts';
import { PolicyReporter } from './publish/policy-reporter.ts';
import { ServiceReporter } from './publish/service-reporter.ts';
import { Readiness } from './readiness.ts';
import { cniRoutes } from './rest/cni-routes.ts';
import { readRoutes } from './rest/read-routes.ts';
import { RestServer, type Route } from './rest/router.ts';
import type { AgentContext } from './status/context.ts';
import { version } from './version.ts';

/** What a new pod's device needs to know of the node. */
interface Network {
  readonly routers: readonly Address[];
  readonly mtu: number;
}

/** What is there once the datapath is open. */
interface Parts {
  readonly datapath: AgentDatapath;
  readonly source: KubernetesSource;
  readonly file: FileSource | undefined;
  readonly writers: KubeWriters;
  readonly nodePublisher: NodePublisher;
  readonly api: KubeClient;
  readonly signal: AbortSignal;
}

interface Pods {
  readonly allocator: IdentityAllocator;
  readonly endpoints: EndpointManager;
}

/** Whose state the REST routes show. */
interface Reported {
  readonly controllers: readonly { health(): WorkHealth }[];
  readonly verifier: PolicyVerifier;
  readonly prober: Prober;
  readonly policyReporter: PolicyReporter;
}

/** Everything that a node runs: built, started in order, and stopped the other way round. */
export class Agent {
  readonly #options: AgentOptions;
  readonly #log: Log;
  readonly #open: OpenDatapath;
  readonly #db: Database;
  readonly #tables: Tables;
  readonly #ipam: Ipam;
  readonly #local: LocalNode;
  readonly #readiness: Readiness;
  readonly #lifecycle = new Lifecycle();
  /** Routes grow as parts come up; the server is there first, so that a second agent is refused before it acts. */
  readonly #routes: Route[] = [];

  constructor(options: AgentOptions, { log, open }: { readonly log: Log; readonly open: OpenDatapath }) {
    this.#options = options;
    this.#open = open;
    this.#log = log;
    this.#db = createDatabase({
      onWakeError: error => log.error('a table subscriber failed', { error: describe(error) }),
    });
    this.#tables = defineTables(this.#db);
    this.#ipam = new Ipam({
      ipv4: options['enable-ipv4'],
      ipv6: options['enable-ipv6'],
      serviceCIDRs: options['service-cidr'],
    });
    this.#local = new LocalNode(
      {
        stateDir: options['state-dir'],
        healthEndpoint: options['enable-health-checking'],
        hasPods: !options['service-only'],
      },
      { ipam: this.#ipam, log },
    );
    const noPods = options['service-only'] ? serviceOnlyReason : undefined;
    this.#readiness = new Readiness(this.#tables, this.#local, noPods);
  }

  async start(signal: AbortSignal): Promise<void> {
    const rest = new RestServer({ socketPath: this.#options['socket-path'] }, { routes: this.#routes, log: this.#log });
    await rest.start();
    this.#lifecycle.append({ name: 'rest', start: () => undefined, stop: () => rest.stop() });
    const api = new KubeClient(await loadKubeConfig(this.#options['k8s-kubeconfig-path']));
    const source = this.#startSource(api);
    const file = this.#fileSource();
    const writers = new KubeWriters(api);
    const nodePublisher = new NodePublisher(
      { node: this.#options['node-name'] },
      {
        nodes: this.#tables.nodes,
        writers,
        local: () => ({
          routers: this.#local.routers,
          health: this.#options['enable-health-checking'] ? this.#local.healthAddresses : [],
        }),
        log: this.#log,
      },
    );
    this.#lifecycle.append(source);
    if (file !== undefined) this.#lifecycle.append(file);
    // The node's condition NetworkUnavailable and its CiliumNode are about pods.
    if (!this.#options['service-only']) this.#lifecycle.append(nodePublisher);
    await this.#lifecycle.start();

    await this.#readiness.localNode(signal);
    const datapath = await this.#open(
      this.#options,
      { nodeAddresses: this.#local.takeAddresses(), routers: this.#local.routers },
      { db: this.#db, tables: this.#tables, log: this.#log },
    );
    await this.#serve({ datapath, source, file, writers, nodePublisher, api, signal });
  }

  async stop(): Promise<void> {
    await this.#lifecycle.stop();
  }

  #startSource(api: KubeClient): KubernetesSource {
    const { 'node-name': nodeName, ipam } = this.#options;
    const own = new Set(Object.values(networkInterfaces()).flatMap(list => (list ?? []).map(item => item.address)));
    const source = new KubernetesSource(
      {
        nodeName,
        podCIDRsFrom: ipam === 'kubernetes' ? 'node' : 'ciliumNode',
        isLocalAddress: address => own.has(address),
        completeNode: row => this.#local.complete(row),
        ...(this.#options['service-only'] ? { refusePolicies: serviceOnlyReason } : {}),
      },
      { api, db: this.#db, tables: this.#tables, log: (message, data) => this.#log.warn(message, data) },
    );
    const cached = this.#local.load(nodeName);
    this.#db.write(txn => {
      for (const row of reservedIdentityRows()) this.#tables.identities.insert(txn, row);
      if (cached !== undefined) this.#tables.nodes.insert(txn, cached);
    });
    return source;
  }

  #fileSource(): FileSource | undefined {
    const { 'lb-state-file': path, 'lb-state-file-interval': interval } = this.#options;
    if (path === '') return undefined;
    const log = (message: string, data: Readonly<Record<string, unknown>>): void => this.#log.warn(message, data);
    return new FileSource({ path, interval }, { db: this.#db, tables: this.#tables, log });
  }

  async #serve(parts: Parts): Promise<void> {
    const { datapath, nodePublisher, writers, api, signal } = parts;
    const network = (): Network => ({ routers: this.#local.routers, mtu: datapath.mtu() });
    const { allocator, endpoints } = this.#pods(parts, network);
    await this.#restore(endpoints);
    await datapath.start();
    this.#trackHost(api);
    const publisher = new EndpointPublisher({
      endpoints: this.#tables.endpoints,
      published: this.#tables.remoteEndpoints,
      writers,
      nodeAddress: () => internalAddresses(this.#local.row)[0],
      pods: this.#tables.pods,
      log: this.#log,
    });
    const prober = this.#prober();
    const verifier = this.#verifier(datapath);
    const policyReporter = new PolicyReporter({ ...this.#tables, log: this.#log });
    await this.#startMore(
      [
        allocator,
        publisher,
        verifier,
        policyReporter,
        ...this.#proxyServices(datapath, writers),
        ...this.#healthServices(endpoints, datapath, network, prober),
      ],
      signal,
    );
    this.#lifecycle.append({ name: 'datapath', start: () => undefined, stop: () => datapath.stop() });
    const controllers = [nodePublisher, allocator, publisher];
    this.#addRoutes(this.#context(parts, { controllers, verifier, prober, policyReporter }), endpoints);
    await this.#readiness.sources(signal);
    this.#ready(nodePublisher);
    this.#keepHeap(datapath, signal);
  }

  /** Endpoints of this node, and who gives them their identities. */
  #pods({ datapath, writers }: Parts, network: () => Network): Pods {
    const { endpoints: table, pods, namespaces, identities, remoteEndpoints } = this.#tables;
    const allocator = new IdentityAllocator(
      { cluster: this.#options['cluster-name'], filter: new LabelFilter(this.#options.labels) },
      {
        endpoints: table,
        pods,
        namespaces,
        identities,
        remoteEndpoints,
        writers,
        setIdentity: (id, identity, labels) => endpoints.setIdentity(id, identity, labels),
        log: this.#log,
      },
    );
    const endpoints = new EndpointManager({
      db: this.#db,
      endpoints: table,
      ipam: this.#ipam,
      devices: datapath.endpointDevices,
      store: new EndpointStore(this.#options['state-dir'], this.#log),
      log: this.#log,
      network,
      identify: pod => allocator.known(pod),
    });
    return { allocator, endpoints };
  }

  async #restore(endpoints: EndpointManager): Promise<void> {
    const restored = await endpoints.restore();
    this.#log.info('endpoints restored', restored);
    if (this.#options['service-only'] && restored.adopted > 0) {
      throw new Error(
        `${restored.adopted} pods of this node are wired by us, and ${serviceOnlyReason}: drain the node, or start without --service-only`,
      );
    }
  }

  /** What kube-proxy does beside the datapath: health of the proxy, of services and of backends; events. */
  #proxyServices(datapath: AgentDatapath, writers: KubeWriters): readonly Service[] {
    const log = this.#log;
    const reporter = new ServiceReporter({ ...this.#tables, forwarding: forwardingOf(this.#options), writers, log });
    return [
      new ProxyHealthz(
        { nodeName: this.#options['node-name'], host: '::', port: this.#options['kube-proxy-healthz-port'] },
        {
          nodes: this.#tables.nodes,
          lastUpdated: () => datapath.health().find(({ name }) => name === 'reconcile-bpf-lb')?.lastSuccess,
          log,
        },
      ),
      reporter,
      new BackendProber({ tick: 200, timeout: 1000, failures: 2 }, { db: this.#db, ...this.#tables, log }),
      this.#serviceHealth(reporter),
    ];
  }

  #serviceHealth(reporter: ServiceReporter): ServiceHealthServers {
    const { serviceHealth } = this.#tables;
    const reason = 'HealthPortInUse';
    return new ServiceHealthServers(
      { host: '::' },
      {
        serviceHealth,
        onProblem: (key, problem) => reporter.report(`health ${key}`, problem && { ...problem, reason }),
      },
    );
  }

  /** What the REST routes read. */
  #context(
    { datapath, source, file, api }: Parts,
    { controllers, verifier, prober, policyReporter }: Reported,
  ): AgentContext {
    return {
      version,
      nodeName: this.#options['node-name'],
      options: this.#options,
      tables: this.#tables,
      ipam: this.#ipam,
      datapath: datapath.view,
      controllers: () => [...controllers.map(one => one.health()), ...datapath.health()],
      reflectors: () => source.health(),
      apiServer: api.server,
      verifier,
      policyChanges: () => policyReporter.changes,
      health: () => prober.result(),
      probe: () => prober.probe(),
      nodeAddresses: () => internalAddresses(this.#local.row),
      routers: () => this.#local.routers,
      healthAddresses: () => this.#local.healthAddresses,
      cniConfPath: this.#cniConfPath(),
      startedAt: new Date(performance.timeOrigin),
      readyAfterMs: () => this.#readiness.readyAfterMs,
      degraded: () => [
        ...this.#readiness.degraded(source.health()),
        ...verifyProblem(verifier),
        ...policyReporter.degraded(),
        ...(file?.problem === undefined ? [] : [file.problem]),
        ...accelerationProblems(this.#options, datapath.view),
      ],
    };
  }

  /** Without an API server there is nothing to settle yet. */
  #keepHeap(datapath: AgentDatapath, signal: AbortSignal): void {
    const heap = new HeapKeeper({
      settled: () => datapath.settled(),
      onError: error => this.#log.warn('the heap stays as it is', { error: describe(error) }),
    });
    this.#lifecycle.append({ name: heap.name, start: () => undefined, stop: () => heap.stop() });
    this.#readiness.everySource(signal).then(
      () => heap.start(),
      () => undefined,
    );
  }

  #verifier({ view }: AgentDatapath): PolicyVerifier {
    const scene = () => sceneFromTables(this.#tables, sceneSettings(this.#options));
    return new PolicyVerifier(
      { interval: 1000, slice: 4096, pause: 5000 },
      { tables: this.#tables, loaded: view, scene, clock: systemClock, log: this.#log },
    );
  }

  /** Watches that are older than the host's firewall would end with its first policy. */
  #trackHost(api: KubeClient): void {
    if (!this.#options['enable-host-firewall']) return;
    const tracked = new HostTracked(this.#tables.endpointMapRows, () => api.reconnect());
    tracked.start();
    this.#lifecycle.append({ name: tracked.name, start: () => undefined, stop: () => tracked.stop() });
  }

  #prober(): Prober {
    return new Prober(
      {
        cluster: this.#options['cluster-name'],
        node: this.#options['node-name'],
        port: this.#options['cluster-health-port'],
        interval: this.#options['health-check-interval'] * 1000,
        timeout: 3000,
      },
      { nodes: this.#tables.nodes },
    );
  }

  #healthServices(
    endpoints: EndpointManager,
    datapath: AgentDatapath,
    network: () => Network,
    prober: Prober,
  ): readonly Service[] {
    if (!this.#options['enable-health-checking']) return [];
    const { 'node-name': node, 'cluster-health-port': port, 'state-dir': stateDir } = this.#options;
    const responder = new HealthResponder({ node, listen: { port, host: '::' } }, this.#log);
    const endpoint = new HealthEndpoint(
      { node, port, stateDir },
      {
        endpoints,
        devices: datapath.endpointDevices,
        addresses: () => this.#local.healthAddresses,
        network,
        log: this.#log,
      },
    );
    return [responder, endpoint, prober];
  }

  async #startMore(services: readonly Service[], signal: AbortSignal): Promise<void> {
    for (const service of services) {
      await service.start(signal);
      this.#lifecycle.append({ name: service.name, start: () => undefined, stop: () => service.stop?.() });
    }
  }

  #addRoutes(context: AgentContext, endpoints: EndpointManager): void {
    this.#routes.push(
      ...readRoutes(context),
      ...cniRoutes({
        endpoints,
        notReady: () => this.#readiness.whyNot(),
        observe: (command, seconds, failed) => this.#log.debug('CNI request', { command, seconds, failed }),
        log: this.#log,
      }),
    );
  }

  #ready(nodePublisher: NodePublisher): void {
    this.#readiness.reached();
    const path = this.#cniConfPath();
    if (path !== '') {
      const { 'socket-path': socketPath, 'state-dir': stateDir } = this.#options;
      writeCniConfiguration(path, cniConfiguration({ socketPath, stateDir }));
    }
    nodePublisher.ready();
    this.#log.info('ready', { afterMs: this.#readiness.readyAfterMs, rss: process.memoryUsage.rss() });
  }

  #cniConfPath(): string {
    const { 'write-cni-conf-when-ready': path, 'cni-conf-dir': dir } = this.#options;
    if (path !== '') return path;
    return dir === '' ? '' : join(dir, '05-ciliate.conflist');
  }
}
