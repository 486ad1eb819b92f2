/** Tables, controllers and reconcilers of a node over real kernel maps of our own: no device, no traffic, nothing pinned. */
import { join } from 'node:path';
import { encodeDatapathConfig, mapSpecs, type PolicyEntry, type PolicyKey } from '../../packages/abi/src/index.ts';
import { systemClock } from '../../packages/agent/src/clock.ts';
import { lbWrites, nothingRestored, registerControllers } from '../../packages/control/src/index.ts';
import { lbOperations, maglevCodec, policyGroupOperations } from '../../packages/datapath/src/index.ts';
import { KernelMap, KernelMapOfMaps, loadObject } from '../../packages/kernel/src/index.ts';
import { defineTables, type NodeConfig, nodeConfigDefaults, type Tables } from '../../packages/model/src/index.ts';
import { createDatabase, type Database, Reconciler, type WriteTxn } from '../../packages/tables/src/index.ts';

const zero = new Uint8Array(16);

const constants = encodeDatapathConfig({
  abiVersion: 1,
  flags: 0x3f,
  routingMode: 0,
  hostIfindex: 1,
  overlayIfindex: 0,
  directIfindex: 1,
  ...{ nodeIpv4: zero, nodeIpv6: zero, routerIpv4: zero, routerIpv6: zero, hairpinIpv4: zero, hairpinIpv6: zero },
  hostMac: new Uint8Array(6),
  mtu: 1500,
  ...{ nodePortMin: 30_000, nodePortMax: 32_767, snatPortMin: 1024, snatPortMax: 29_999 },
  ...{ ctTcpEstablished: 21_600, ctTcpSyn: 60, ctTcpClosing: 10, ctUdp: 60, ctOther: 60 },
  ...{ maglevSize: 16_381, maglevSeed: 1, tunnelPort: 8472, hostNetnsCookie: 0n },
});

const intent = [
  ...(['nodes', 'pods', 'namespaces', 'services', 'endpointSlices', 'remoteEndpoints', 'endpoints'] as const),
  ...(['identities', 'devices', 'policies', 'ciliumPolicies', 'clusterwidePolicies', 'cidrGroups'] as const),
  'localRedirects' as const,
];

export class ControlWorld {
  readonly database: Database = createDatabase();
  readonly tables: Tables = defineTables(this.database);
  readonly policyMaps: KernelMapOfMaps<number, PolicyKey, PolicyEntry>;
  readonly #controllers: ReturnType<typeof registerControllers>;
  readonly #reconcilers: readonly { start(): void; stop(): Promise<void>; settled(): Promise<void> }[];
  readonly #close: () => void;

  constructor(entries: number, config: Partial<NodeConfig> = {}) {
    const { database, tables } = this;
    const reports = intent.map(name => tables[name].registerInitializer('bench'));
    const sizes = Object.fromEntries(['lb_services', 'lb_backends', 'lb_dsr'].map(name => [name, entries]));
    const object = loadObject({
      path: join(import.meta.dirname, '../../build/bpf/host.bpf.o'),
      rodata: constants,
      maxEntries: sizes,
    });
    const fd = (name: string) => object.maps.get(name) ?? -1;
    const maps = {
      lb_services: new KernelMap(fd('lb_services'), mapSpecs.lb_services),
      lb_backends: new KernelMap(fd('lb_backends'), mapSpecs.lb_backends),
      lb_revnat: new KernelMap(fd('lb_revnat'), mapSpecs.lb_revnat),
      lb_affinity_match: new KernelMap(fd('lb_affinity_match'), mapSpecs.lb_affinity_match),
      lb_source_ranges: new KernelMap(fd('lb_source_ranges'), mapSpecs.lb_source_ranges),
      lb_dsr: new KernelMap(fd('lb_dsr'), mapSpecs.lb_dsr),
      lb_maglev: new KernelMapOfMaps(fd('lb_maglev'), mapSpecs.lb_maglev, {
        ...mapSpecs.lb_maglev.inner,
        value: maglevCodec(16_381),
      }),
    };
    const policy = new KernelMapOfMaps(fd('policy'), mapSpecs.policy, mapSpecs.policy.inner);
    this.policyMaps = policy;
    const whole = {
      ...nodeConfigDefaults,
      nodeName: 'node-1',
      ...config,
      lbServicesMax: entries,
      lbBackendsMax: entries,
    };
    const modules = { database, clock: systemClock };
    this.#controllers = registerControllers(tables, whole, modules, nothingRestored);
    this.#reconcilers = [
      new Reconciler(
        { name: 'lb' },
        { table: tables.lbRows, operations: lbOperations(maps, row => lbWrites(row, whole)), ...modules },
      ),
      new Reconciler(
        { name: 'policy' },
        { table: tables.policyGroups, operations: policyGroupOperations(policy), ...modules },
      ),
    ];
    this.#close = () => object.close();
    database.write(txn => {
      for (const report of reports) report(txn);
    });
  }

  start(): void {
    for (const part of [...this.#controllers, ...this.#reconcilers]) part.start();
  }

  write(body: (txn: WriteTxn) => void): void {
    this.database.write(txn => body(txn));
  }

  /** Until the kernel holds what the tables want. */
  async settle(): Promise<void> {
    for (let round = 0; round < 2; round += 1) {
      for (const part of [...this.#controllers, ...this.#reconcilers]) await part.settled();
    }
  }

  async stop(): Promise<void> {
    for (const controller of this.#controllers) controller.stop();
    await Promise.all(this.#reconcilers.map(one => one.stop()));
    this.#close();
  }
}
