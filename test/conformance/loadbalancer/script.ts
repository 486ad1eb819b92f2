/** Runs a script of the data against our sources' parsers, tables, controllers, reconcilers and maps in memory. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { ServiceHealthServers } from '@ciliate/agent';
import { parsePrefix, prefixContains, tryParseAddress } from '@ciliate/model';
import { parseAllDocuments } from 'yaml';
import { Kubernetes } from '../../script/kubernetes.ts';
import type { ScriptMaps } from '../../script/map-text.ts';
import { type Cells, formatTable } from '../../script/text-table.ts';
import { makeMaps, World, type WorldOptions } from '../../script/world.ts';
import { type ScriptFlags, scriptFlags } from './flags.ts';
import { dumpMaps, isDump, meaning } from './map-dump.ts';
import { deleteSkipPod, dumpSkips, insertSkipPod, skipPodCells, skipPodText } from './skip-pods.ts';
import { backendCells, frontendCells, nodeName, redirectCells, serviceCells } from './tables.ts';
import { abbreviated, normal, parseTable, unquote, words } from './text.ts';

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
  readonly #files: Map<string, string>;
  readonly #flags: ScriptFlags;
  readonly #options: WorldOptions;
  readonly #maps: ScriptMaps;
  readonly #env = new Map([
    ['HEALTHADDR', healthAddress],
    ['WORK', '.'],
  ]);
  #world: World;
  #kubernetes: Kubernetes;
  #health: ServiceHealthServers;
  #isStarted = false;
  #nodeAddresses: readonly string[] = [];
  #nodeLabels: Readonly<Record<string, string>> = {};
  #nodeAddressRows: readonly Cells[] = [];
  #stdout = '';
  #snapshot: string | undefined;

  constructor({ script, files }: ScriptCase) {
    this.#files = new Map(Object.entries(files));
    this.#flags = scriptFlags(script);
    this.#options = { faults: 0, seed: 1, config: this.#flags.config };
    this.#maps = makeMaps(this.#options);
    this.#world = new World(this.#maps, this.#options);
    this.#kubernetes = new Kubernetes(this.#world.tables, nodeName);
    this.#health = this.#healthServers();
    this.#writeNode();
  }

  #healthServers(): ServiceHealthServers {
    const { serviceHealth } = this.#world.tables;
    return new ServiceHealthServers({ host: healthAddress }, { serviceHealth, log: { warn: () => undefined } });
  }

  async end(): Promise<void> {
    await this.#health.stop();
    await this.#world.stop();
  }

  /** '* ' may take time, '! ' must fail, '!* ' must fail in the end. */
  async line(text: string): Promise<void> {
    if (text === '' || text.startsWith('#')) return;
    // Privileged commands ask for the other program's metrics.
    if (text.startsWith('[')) return;
    const [, sign = '', rest = ''] = /^([!?*]*)\s*(.*)$/.exec(text) ?? [];
    const [name = '', ...args] = words(rest.replace(/\s#.*$/, ''), word => this.#expand(word));
    const command = name === 'hive' || name === 'hive/start' ? ['hive/start'] : [name, ...args];
    await this.#settle();
    if (!sign.includes('!')) return this.#command(command[0] ?? '', command.slice(1));
    await assert.rejects(this.#command(command[0] ?? '', command.slice(1)), `${text}: should not be so`);
  }

  async #settle(): Promise<void> {
    if (this.#isStarted) await this.#world.settle();
  }

  #expand(word: string): string {
    return word.replaceAll(/\$(\w+)/g, (whole, name: string) => this.#env.get(name) ?? whole);
  }

  async #command(name: string, args: readonly string[]): Promise<void> {
    const [first = '', second = '', third = ''] = args;
    switch (name) {
      case 'hive/start':
        return this.#start();
      case 'k8s/add':
      case 'k8s/update':
        return this.#kubernetesFiles(args, 'put');
      case 'k8s/delete':
        return this.#kubernetesFiles(args, 'delete');
      case 'k8s/resync':
        return this.#resync(first);
      case 'db/insert':
        return this.#insert(first, args.slice(1));
      case 'db/delete':
        return this.#remove(first, args.slice(1));
      case 'db/cmp':
        return this.#compareTable(args);
      case 'db/empty':
        for (const table of args)
          assert.equal(formatTable(['Name', 'Address'], this.#cells(table)).split('\n').length, 2, table);
        return;
      case 'db/get':
        assert.equal(first, 'desired-skiplbmap', `no rows of ${first} as text`);
        return this.#output(args, skipPodText(second, this.#world.tables));
      case 'skiplbmap':
        this.#files.set(first, dumpSkips(this.#maps));
        return;
      case 'db/show':
        return this.#show(args);
      case 'lb/maps-dump':
        this.#files.set(first, dumpMaps(this.#maps));
        return;
      case 'lb/maps-empty':
        assert.equal(dumpMaps(this.#maps), '');
        return;
      case 'lb/maps-snapshot':
        this.#snapshot = dumpMaps(this.#maps);
        this.#copies = copyMaps(this.#maps);
        return;
      case 'lb/maps-restore':
        return this.#restore(args);
      case 'lb/prune':
        return this.#prune();
      case 'cmp':
        return this.#compare(this.#file(first), this.#file(second));
      case 'empty':
        assert.equal(this.#file(first).trim(), '');
        return;
      case 'grep':
        assert.match(this.#file(second), new RegExp(first, 'm'));
        return;
      case 'stdout':
        assert.match(this.#stdout, new RegExp(first, 'm'));
        return;
      case 'cp':
        this.#files.set(second, this.#file(first));
        return;
      case 'mv':
        this.#files.set(second, this.#file(first));
        this.#files.delete(first);
        return;
      case 'replace':
        this.#files.set(third, this.#file(third).replaceAll(unquote(first), unquote(second)));
        return;
      case 'sed':
        this.#files.set(third, this.#file(third).replaceAll(new RegExp(first, 'gm'), second));
        return;
      case 'env': {
        const [key = '', value = ''] = first.split('=');
        this.#env.set(key, value);
        return;
      }
      case 'sleep':
        await this.#world.clock.advance(100);
        return;
      case 'test/init-wait':
        return;
      case 'test/set-node-labels':
        this.#nodeLabels = Object.fromEntries(args.map(arg => arg.split('=')));
        this.#writeNode();
        return;
      case 'http/get':
        return this.#get(first, second);
      default:
        throw new Error(`no command ${name}`);
    }
  }

  #file(name: string): string {
    const text = this.#files.get(name);
    assert.ok(text !== undefined, `no file ${name}`);
    return text;
  }

  async #start(): Promise<void> {
    this.#world.start();
    this.#world.synced([]);
    this.#isStarted = true;
    this.#health.start();
    await this.#settle();
  }

  #kubernetesFiles(files: readonly string[], verb: 'put' | 'delete'): void {
    const { database } = this.#world;
    for (const file of files) {
      database.write(txn => {
        this.#kubernetes.apply(this.#file(file), verb, txn);
      });
      this.#refuseRedirects();
    }
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

  /** The resource is listed anew, and the list is empty. */
  #resync(resource: string): void {
    const { database, tables } = this.#world;
    const table = resource.includes('endpointslice') ? tables.endpointSlices : tables.services;
    database.write(txn => {
      for (const row of table.all()) table.delete(txn, `${row.namespace}/${row.name}`);
    });
  }

  #insert(table: string, files: readonly string[]): void {
    if (table === 'desired-skiplbmap') {
      this.#skipPods(files, insertSkipPod);
      return;
    }
    assert.equal(table, 'node-addresses', `no rows for ${table}`);
    const known = new Map(this.#nodeAddressRows.map(row => [row.Address, row]));
    for (const row of files.flatMap(file => this.#addressRows(file))) {
      known.set(row.addr, {
        Address: row.addr,
        NodePort: String(row.nodeport ?? false),
        Primary: String(row.primary ?? false),
        DeviceName: row.devicename ?? '',
      });
    }
    this.#setAddresses([...known.values()]);
  }

  #skipPods(files: readonly string[], write: typeof insertSkipPod): void {
    const { database, tables } = this.#world;
    for (const file of files) database.write(txn => write(this.#file(file), tables, txn));
  }

  #remove(table: string, files: readonly string[]): void {
    if (table === 'desired-skiplbmap') {
      this.#skipPods(files, deleteSkipPod);
      return;
    }
    assert.equal(table, 'node-addresses', `no rows for ${table}`);
    const gone = new Set(files.flatMap(file => this.#addressRows(file)).map(row => row.addr));
    this.#setAddresses(this.#nodeAddressRows.filter(row => !gone.has(row.Address ?? '')));
  }

  #addressRows(file: string): readonly NodeAddress[] {
    return parseAllDocuments(this.#file(file)).map(document => document.toJS() as NodeAddress);
  }

  #setAddresses(rows: readonly Cells[]): void {
    this.#nodeAddressRows = rows;
    this.#nodeAddresses = rows.filter(row => row.NodePort === 'true').map(row => row.Address ?? '');
    this.#writeNode();
  }

  #writeNode(): void {
    const { database, tables } = this.#world;
    const addresses = this.#nodeAddresses
      .filter(text => tryParseAddress(text) !== undefined)
      .map(address => ({ type: 'InternalIP', address }) as const);
    database.write(txn =>
      tables.nodes.insert(txn, {
        name: nodeName,
        local: true,
        labels: this.#nodeLabels,
        annotations: {},
        addresses,
        podCIDRs: [],
        routerAddresses: [],
        healthAddresses: [],
      }),
    );
  }

  #cells(table: string): readonly Cells[] {
    const { tables } = this.#world;
    switch (table) {
      case 'services':
        return serviceCells(tables);
      case 'frontends':
        return frontendCells(tables, this.#nodeAddresses);
      case 'backends':
        return backendCells(tables);
      case 'localredirectpolicies':
        return redirectCells(tables);
      case 'desired-skiplbmap':
        return skipPodCells(this.#world.tables);
      case 'node-addresses':
        return this.#nodeAddressRows;
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

  async #compareTable(args: readonly string[]): Promise<void> {
    const [table = '', file = ''] = args.filter(arg => !arg.startsWith('--'));
    const wanted = parseTable(this.#file(file));
    if (table === 'health') await delay(50);
    const shown = this.#cells(table).map(row => wanted.columns.map(column => normal(column, row[column] ?? '')));
    const asked = wanted.rows.map(row => row.map((cell, i) => normal(wanted.columns[i] ?? '', cell)));
    const text = (rows: readonly (readonly string[])[]) => rows.map(row => row.join(' | ')).sort();
    assert.deepEqual(abbreviated(text(shown), text(asked)), text(asked), table);
  }

  #show(args: readonly string[]): void {
    const columns = args
      .find(arg => arg.startsWith('--columns='))
      ?.slice('--columns='.length)
      .split(',');
    const [table = ''] = args;
    const cells = this.#cells(table);
    const text = formatTable(columns ?? Object.keys(cells[0] ?? {}), cells);
    this.#output(args, text);
  }

  /** Into the file that -o names. */
  #output(args: readonly string[], text: string): void {
    const output = args[args.indexOf('-o') + 1];
    if (args.includes('-o') && output !== undefined) this.#files.set(output, text);
    else this.#stdout = text;
  }

  #copies: readonly (() => void)[] = [];

  /** What a former agent left. */
  #restore(args: readonly string[]): void {
    assert.ok(this.#snapshot !== undefined, 'no snapshot');
    assert.deepEqual(args, [], `no restore with ${args.join(' ')}`);
    for (const put of this.#copies) put();
  }

  async #prune(): Promise<void> {
    this.#world.prune();
    await this.#settle();
  }

  #compare(a: string, b: string): void {
    if (isDump(a) || isDump(b)) assert.deepEqual(meaning(a), meaning(b));
    else assert.equal(a.trim(), b.trim());
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
    this.#files.set(file, `${response.status} ${response.statusText}\n${lines.join('\n')}\n---\n${body}`);
  }
}

interface NodeAddress {
  readonly addr: string;
  readonly nodeport?: boolean;
  readonly primary?: boolean;
  readonly devicename?: string;
}

function copyMaps(maps: ScriptMaps): readonly (() => void)[] {
  return [
    ...[...maps.lb_backends.entries()].map(
      ([key, value]) =>
        () =>
          maps.lb_backends.put(key, value),
    ),
    ...[...maps.lb_revnat.entries()].map(
      ([key, value]) =>
        () =>
          maps.lb_revnat.put(key, value),
    ),
    ...[...maps.lb_services.entries()].map(
      ([key, value]) =>
        () =>
          maps.lb_services.put(key, value),
    ),
  ];
}
