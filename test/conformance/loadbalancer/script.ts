/** Runs a script of the data against our sources' parsers, tables, controllers, reconcilers and maps in memory. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { ServiceHealthServers } from '@ciliate/agent';
import { parsePrefix, prefixContains } from '@ciliate/model';
import { FileSource } from '@ciliate/sources';
import { Kubernetes } from '../../script/kubernetes.ts';
import type { ScriptMaps } from '../../script/map-text.ts';
import { type Cells, formatTable } from '../../script/text-table.ts';
import { makeMaps, World, type WorldOptions } from '../../script/world.ts';
import { backendCells, instanceCells } from './backend-tables.ts';
import { compareTables } from './compare-tables.ts';
import { ScriptFiles } from './files.ts';
import { type ScriptFlags, scriptFlags } from './flags.ts';
import { copyMaps, leftovers, type MapCopy, putCopy } from './map-copy.ts';
import { dumpMaps } from './map-dump.ts';
import { ScriptNode } from './node.ts';
import { ScriptObjects } from './objects.ts';
import { type Arguments, parseArguments } from './options.ts';
import { type Match, queryRows } from './queries.ts';
import { deleteSkipPod, dumpSkips, insertSkipPod, skipPodCells, skipPodText } from './skip-pods.ts';
import { tableText } from './structures.ts';
import { frontendCells, nodeName, redirectCells, serviceCells } from './tables.ts';
import { parseLine } from './words.ts';

const healthAddress = '127.0.0.1';

export interface ScriptCase {
  readonly script: string;
  readonly files: Readonly<Record<string, string>>;
}

export async function runLoadBalancerScript(one: ScriptCase): Promise<void> {
  const run = new Run(one);
  try {
    for (const [i, line] of one.script.split('\n').entries()) {
      try {
        await run.line(line.trim());
      } catch (error) {
        if (error instanceof Error) error.message = `line ${i + 1}: ${line}\n${error.message}`;
        throw error;
      }
    }
  } finally {
    await run.end();
  }
}

class Run {
  readonly #files: ScriptFiles;
  readonly #flags: ScriptFlags;
  readonly #options: WorldOptions;
  readonly #maps: ScriptMaps;
  readonly #node = new ScriptNode();
  readonly #objects = new ScriptObjects();
  #world: World;
  #kubernetes: Kubernetes;
  #health: ServiceHealthServers;
  #stateFile: FileSource | undefined;
  /** Services with it are probed; '' = none. */
  #healthAnnotation = '';
  readonly #proxyPorts = new Map<string, number>();
  #isStarted = false;
  #isStopped = false;
  #snapshot: MapCopy | undefined;
  /** The node's labels have changed since a service was written that is exposed by them. */
  #isExposureOpen = false;

  constructor({ script, files }: ScriptCase) {
    this.#files = new ScriptFiles(files, { HEALTHADDR: healthAddress, WORK: '.' });
    this.#flags = scriptFlags(script);
    this.#options = { faults: 0, seed: 1, config: this.#flags.config };
    this.#maps = makeMaps(this.#options);
    this.#world = new World(this.#maps, this.#options);
    this.#kubernetes = new Kubernetes(this.#world.tables, nodeName, 'others-ignored');
    this.#health = this.#healthServers();
    this.#stateFile = this.#fileSource();
    this.#writeNode();
  }

  /** Looked at before each command. */
  #fileSource(): FileSource | undefined {
    const path = this.#flags.stateFile;
    if (path === '') return undefined;
    const { database: db, tables } = this.#world;
    const read = () => (this.#files.has(path) ? this.#files.read(path) : undefined);
    return new FileSource({ path, interval: 0 }, { db, tables, log: () => undefined, read });
  }

  #healthServers(): ServiceHealthServers {
    const { serviceHealth } = this.#world.tables;
    return new ServiceHealthServers({ host: healthAddress }, { serviceHealth, onProblem: () => undefined });
  }

  async end(): Promise<void> {
    await this.#health.stop();
    await this.#world.stop();
  }

  /** '* ' may take time, '! ' must fail, '!* ' must fail in the end. */
  async line(text: string): Promise<void> {
    const command = parseLine(text, word => this.#files.expand(word));
    if (command === undefined || this.#isStopped) return;
    await this.#settle();
    const [name = '', ...args] = command.words;
    const run = (): Promise<void> => this.#command(name, args);
    if (command.outcome === '') return run();
    if (command.outcome === '!') return assert.rejects(run(), `${text}: should not be so`);
    await run().catch(() => undefined);
  }

  async #settle(): Promise<void> {
    if (!this.#isStarted) return;
    this.#stateFile?.refresh();
    await this.#world.settle();
  }

  async #command(name: string, args: readonly string[]): Promise<void> {
    if (this.#files.command(name, args)) return;
    const options = parseArguments(args);
    const { rest } = options;
    const [first = ''] = args;
    switch (name) {
      case 'hive':
        return first === 'stop' ? this.#stop() : this.#start();
      case 'hive/start':
        return this.#start();
      case 'hive/stop':
        return this.#stop();
      case 'hive/recreate':
        return this.#recreate();
      case 'test/bpfops-reset':
        await this.#stop();
        this.#recreate();
        return this.#start();
      case 'k8s/add':
      case 'k8s/update':
        return this.#kubernetesFiles(args, 'put');
      case 'k8s/delete':
        return this.#kubernetesFiles(args, 'delete');
      case 'k8s/resync':
        return this.#resync(args);
      case 'k8s/get':
      case 'k8s/list':
      case 'k8s/resources':
        return this.#files.print(this.#objects.text(name.slice(4), rest), options.output);
      case 'k8s/summary':
        return this.#files.print(this.#objects.text('summary', rest), first === '' ? undefined : first);
      case 'db/insert':
        return this.#changeAddresses('insert', args);
      case 'db/delete':
        return this.#changeAddresses('remove', args);
      case 'db/cmp':
        return this.#compareTable(rest, options.grep);
      case 'db/empty':
        for (const table of args) assert.deepEqual(this.#cells(table), [], table);
        return;
      case 'db/show':
        if (options.format === 'json' || options.format === 'yaml')
          return this.#files.print(tableText(rest[0] ?? '', this.#world.tables, options.format), options.output);
        return this.#show(this.#cells(first), options);
      case 'db/list':
      case 'db/prefix':
      case 'db/lowerbound': {
        const match = ({ list: 'equal', prefix: 'prefix', lowerbound: 'from' } as const)[name.slice(3)];
        return this.#show(this.#query(rest, options, match ?? 'equal'), options);
      }
      case 'db/get':
        if (rest[0] === 'desired-skiplbmap')
          return this.#files.print(skipPodText(rest[1] ?? '', this.#world.tables), options.output);
        return this.#show(this.#query(rest, options, 'equal').slice(0, 1), options);
      case 'skiplbmap':
        return this.#files.print(dumpSkips(this.#maps), first === '' ? undefined : first);
      case 'lb/maps-dump':
        return this.#files.print(dumpMaps(this.#maps), first === '' ? undefined : first);
      case 'lb/maps-empty':
        return assert.equal(dumpMaps(this.#maps), '');
      case 'lb/maps-snapshot':
        this.#snapshot = copyMaps(this.#maps);
        return;
      case 'lb/maps-restore':
        return this.#restore(args);
      case 'lb/prune':
        return this.#prune();
      case 'stop':
      case 'skip':
        this.#isStopped = true;
        return;
      // About the other program's tables, or about waiting for what is settled before every command here.
      case 'db':
      case 'db/initialized':
      case 'db/watch':
      case 'k8s/wait-watchers':
      case 'test/init-wait':
      case 'wait':
        return;
      case 'sleep':
        await this.#world.clock.advance(100);
        return;
      case 'test/set-node-labels':
        return this.#setLabels(args);
      case 'test/set-node-ip':
        this.#node.ip = first;
        return this.#writeNode();
      case 'test/set-is-service-healthchecked':
        this.#healthAnnotation = first;
        return;
      case 'test/update-backend-health':
        return this.#reportHealth(first, args[1] ?? '', args[2] === 'true');
      case 'svc/set-proxy-redirect':
        this.#proxyPorts.set(first, Number(args[1]));
        return this.#putProxies();
      case 'test/bpfops-summary':
        return this.#files.print(leftovers(this.#world.tables, this.#maps), undefined);
      case 'metrics':
        return this.#files.print(this.#isStarted ? 'reconciler_prune_count 1\n' : '', options.output);
      case 'http/get':
        return this.#get(first, args[1] ?? '');
      default:
        throw new Error(`no command ${name}`);
    }
  }

  async #start(): Promise<void> {
    this.#world.start();
    this.#world.synced([]);
    this.#isStarted = true;
    this.#stateFile?.refresh();
    this.#health.start();
    await this.#settle();
  }

  async #stop(): Promise<void> {
    await this.#health.stop();
    await this.#world.stop();
    this.#isStarted = false;
  }

  /** Another agent over the maps of the one before it, with what the API server had. */
  #recreate(): void {
    this.#world = new World(this.#maps, this.#options);
    this.#kubernetes = new Kubernetes(this.#world.tables, nodeName, 'others-ignored');
    this.#health = this.#healthServers();
    this.#stateFile = this.#fileSource();
    this.#writeNode();
    const { database } = this.#world;
    database.write(txn => {
      for (const text of this.#objects.texts()) this.#kubernetes.apply(text, 'put', txn);
    });
    this.#refuseRedirects();
    this.#putProxies();
  }

  /** Options are about checks that only the other program's API server makes. */
  #kubernetesFiles(words: readonly string[], verb: 'put' | 'delete'): void {
    this.#isExposureOpen = false;
    const { database } = this.#world;
    for (const file of words.filter(word => !word.startsWith('-'))) {
      const text = this.#asProbed(this.#files.read(file));
      database.write(txn => {
        this.#kubernetes.apply(text, verb, txn);
      });
      this.#objects[verb](text);
      this.#refuseRedirects();
      this.#putProxies();
    }
  }

  /** The data's annotation in our words. */
  #asProbed(text: string): string {
    if (this.#healthAnnotation === '') return text;
    return text.replaceAll(`${this.#healthAnnotation}: "true"`, 'ciliate.io/health-check: tcp');
  }

  /** As the annotation ciliate.io/proxy-port does; port 0 ends it. */
  #putProxies(): void {
    const { database, tables } = this.#world;
    database.write(txn => {
      for (const [service, port] of this.#proxyPorts) {
        const row = tables.services.get(service);
        if (row === undefined) continue;
        const { proxyPort: _before, ...own } = row;
        tables.services.insert(txn, port > 0 ? { ...own, proxyPort: port } : own);
      }
    });
  }

  #reportHealth(service: string, backend: string, healthy: boolean): void {
    const { database, tables } = this.#world;
    database.write(txn => tables.backendHealth.insert(txn, { service, backend, healthy }));
  }

  /** As the option says: an address outside of the allowed blocks is not redirected. */
  #refuseRedirects(): void {
    const { database, tables } = this.#world;
    const allowed = this.#flags.redirectCidrs.map(parsePrefix);
    if (allowed.length === 0) return;
    database.write(txn => {
      for (const row of tables.localRedirects.all()) {
        const { frontend } = row;
        if (frontend.kind !== 'address' || allowed.some(prefix => prefixContains(prefix, frontend.address))) continue;
        tables.localRedirects.delete(txn, `${row.namespace}/${row.name}`);
      }
    });
  }

  /** The resource is listed anew, and the list has what the files have. */
  #resync([resource = '', ...files]: readonly string[]): void {
    const gone = this.#objects.takeAll(resource);
    const come = files.map(file => this.#asProbed(this.#files.read(file)));
    this.#world.database.write(txn => {
      for (const text of gone) this.#kubernetes.apply(text, 'delete', txn);
      for (const text of come) this.#kubernetes.apply(text, 'put', txn);
    });
    for (const text of come) this.#objects.put(text);
    this.#refuseRedirects();
    this.#putProxies();
  }

  #changeAddresses(verb: 'insert' | 'remove', [table = '', ...files]: readonly string[]): void {
    if (table === 'desired-skiplbmap') {
      const write = verb === 'insert' ? insertSkipPod : deleteSkipPod;
      const { database, tables } = this.#world;
      for (const file of files) database.write(txn => write(this.#files.read(file), tables, txn));
      return;
    }
    assert.equal(table, 'node-addresses', `no rows for ${table}`);
    for (const file of files) this.#node[verb](this.#files.read(file));
    this.#writeNode();
  }

  #setLabels(args: readonly string[]): void {
    this.#node.labels = Object.fromEntries(args.map(arg => arg.split('=')));
    this.#isExposureOpen = this.#world.tables.services.all().some(row => row.exposedNodes !== undefined);
    this.#writeNode();
  }

  #writeNode(): void {
    const { database, tables } = this.#world;
    database.write(txn => {
      tables.nodes.insert(txn, this.#node.nodeRow());
      for (const row of tables.devices.all()) tables.devices.delete(txn, row.name);
      for (const row of this.#node.deviceRows()) tables.devices.insert(txn, row);
    });
  }

  #cells(table: string, columns: readonly string[] = []): readonly Cells[] {
    const { tables } = this.#world;
    switch (table) {
      case 'services':
        return serviceCells(tables);
      case 'frontends':
        return frontendCells(tables, this.#node.nodePortAddresses);
      case 'backends':
        // Newer scripts have a row for each service that uses a backend.
        return columns.includes('Service') ? instanceCells(tables) : backendCells(tables);
      case 'localredirectpolicies':
        return redirectCells(tables);
      case 'desired-skiplbmap':
        return skipPodCells(tables);
      case 'node-addresses':
        return this.#node.cells;
      case 'health':
        return this.#healthCells();
      default:
        throw new Error(`no table ${table}`);
    }
  }

  #healthCells(): readonly Cells[] {
    const ports = [...this.#health.listening];
    const line = (component: string, message: string) => ({
      Module: 'loadbalancer-healthserver',
      Component: component,
      Level: 'OK',
      Message: message,
      Error: '',
    });
    return [
      line('job-control-loop', `${ports.length} health servers running`),
      ...ports.map(port => line(`job-listener-${port}`, 'Running')),
    ];
  }

  async #compareTable([table = '', file = '']: readonly string[], grep: string | undefined): Promise<void> {
    if (table === 'health') await delay(50);
    // Others look at the node's labels when a service changes, and we at once: between the two there is nothing to compare.
    if (this.#isExposureOpen && (table === 'services' || table === 'frontends')) return;
    compareTables(table, columns => this.#cells(table, columns), this.#files.read(file), grep);
  }

  #query([table = '', key = '']: readonly string[], { index }: Arguments, match: Match): readonly Cells[] {
    return queryRows(this.#cells(table), index ?? 'name', match, key);
  }

  #show(cells: readonly Cells[], { columns, output }: Pick<Arguments, 'columns' | 'output'>): void {
    const names = columns ?? Object.keys(cells[0] ?? {});
    this.#files.print(formatTable(names, cells, { sorted: false }), output);
  }

  /** What a former agent left; a very old one of the other program, when it knew no protocols. */
  #restore(args: readonly string[]): void {
    assert.ok(this.#snapshot !== undefined, 'no snapshot');
    putCopy(this.#maps, this.#snapshot, args.includes('--any-proto'));
  }

  async #prune(): Promise<void> {
    this.#world.prune();
    await this.#settle();
  }

  async #get(url: string, file: string): Promise<void> {
    await delay(50);
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    const body = await response.text();
    const kept = ['content-length', 'content-type', 'x-content-type-options', 'x-load-balancing-endpoint-weight'];
    const headers = kept.map(name => [
      name.replaceAll(/(^|-)[a-z]/g, part => part.toUpperCase()),
      response.headers.get(name),
    ]);
    const lines = [...headers.map(([name, value]) => `${name}=${value}`), 'Date=<omitted>'].sort();
    this.#files.write(file, `${response.status} ${response.statusText}\n${lines.join('\n')}\n---\n${body}`);
  }
}
