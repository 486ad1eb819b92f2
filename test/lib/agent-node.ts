/** One node for tests of the agent alone: a namespace with a device, its bpffs and cgroup, a scripted API server, the real agent. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const root = join(import.meta.dirname, '../..');
const apiPort = 18_443;

export function sh(command: string): string {
  const run = spawnSync('/bin/sh', ['-ec', command], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`${command}: ${run.stderr}`);
  return run.stdout;
}

export interface PluginResult {
  readonly code: number;
  readonly output: Readonly<Record<string, unknown>>;
  readonly milliseconds: number;
}

export interface PluginCall {
  readonly command: string;
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: string;
  readonly config?: Readonly<Record<string, unknown>>;
}

function pluginResult(code: number | null, stdout: string, started: number): PluginResult {
  const output = stdout === '' ? {} : JSON.parse(stdout);
  return { code: code ?? 255, output, milliseconds: performance.now() - started };
}

export interface AgentNodeOptions {
  /** Unique on the machine. */
  readonly name: string;
  readonly podCIDRs?: readonly string[];
  readonly agentArguments?: readonly string[];
  /** More objects of the API server, by the path of their collection. */
  readonly objects?: Readonly<Record<string, readonly unknown[]>>;
  /** Commands that make the node's devices, inside its namespace; else it has an eth0 whose other end nobody has. */
  readonly wire?: readonly string[];
  /** Of eth0, without prefix lengths. */
  readonly addresses?: readonly [ipv4: string, ipv6: string];
  /** What --devices says; empty: the option is not given. */
  readonly devices?: string;
}

const ownAddresses = ['172.31.0.11', 'fd00:172:31::11'] as const;
const ownWires = [
  'ip link add eth0 type veth peer name eth0-peer',
  `ip addr add ${ownAddresses[0]}/24 dev eth0`,
  `ip addr add ${ownAddresses[1]}/64 dev eth0 nodad`,
  'ip link set eth0 up',
  'ip link set eth0-peer up',
  'ip route add default via 172.31.0.1',
];

export class AgentNode {
  readonly name: string;
  readonly directory: string;
  readonly netns: string;
  readonly #options: AgentNodeOptions;
  readonly #cgroup: string;
  readonly #pods = new Set<string>();
  #api: ChildProcess | undefined;
  #agent: ChildProcess | undefined;

  constructor(options: AgentNodeOptions) {
    this.#options = options;
    this.name = options.name;
    this.netns = `/run/netns/${options.name}`;
    this.directory = `/tmp/${options.name}`;
    const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
    const cgroup2 =
      mounts.map(line => line.split(' ')).find(fields => fields[2] === 'cgroup2')?.[1] ?? '/sys/fs/cgroup';
    this.#cgroup = join(cgroup2, options.name);
  }

  get socketPath(): string {
    return join(this.directory, 'state/ciliate.sock');
  }

  /** Processes in it are this node's to the socket programs. */
  get cgroup(): string {
    return this.#cgroup;
  }

  get agentPid(): number {
    return this.#agent?.pid ?? 0;
  }

  async up(): Promise<void> {
    mkdirSync(join(this.directory, 'bpf'), { recursive: true });
    mkdirSync(this.#cgroup, { recursive: true });
    sh(`ip netns add ${this.name}
      mount -t bpf none ${this.directory}/bpf
      ${this.#inside('ip link set lo up')}
      ${(this.#options.wire ?? ownWires).map(command => this.#inside(command)).join('\n')}`);
    this.startApi();
    await this.startAgent();
  }

  /** `more`: objects of this run alone, by the path of their collection; `version`: resourceVersion of the first list. */
  startApi(more: Readonly<Record<string, readonly unknown[]>> = {}, version = 10): void {
    const podCIDRs = this.#options.podCIDRs ?? ['10.244.1.0/24', 'fd00:10:244::/64'];
    const addresses = (this.#options.addresses ?? ownAddresses).map(address => ({ type: 'InternalIP', address }));
    const objects = {
      '/api/v1/nodes': [{ metadata: { name: this.name }, spec: { podCIDRs }, status: { addresses } }],
      '/api/v1/namespaces': [{ metadata: { name: 'default', labels: {} } }],
      ...this.#options.objects,
      ...more,
    };
    const child = this.#spawn('api', [join(root, 'test/lib/scripted-api.ts'), String(apiPort), String(version)]);
    child.stdin?.end(JSON.stringify(objects));
    this.#api = child;
    writeFileSync(
      join(this.directory, 'kubeconfig'),
      JSON.stringify({
        'current-context': 'test',
        contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
        clusters: [{ name: 'test', cluster: { server: `http://127.0.0.1:${apiPort}` } }],
        users: [{ name: 'test', user: {} }],
      }),
    );
  }

  /** Replaces whole collections of the API server, by path; the agent's watches see what changed. */
  setObjects(objects: Readonly<Record<string, readonly unknown[]>>): void {
    const url = `http://127.0.0.1:${apiPort}/test/objects`;
    const argv = [`--net=${this.netns}`, 'curl', '--silent', '--fail', '--data-binary', '@-', url];
    const run = spawnSync('nsenter', argv, { input: JSON.stringify(objects), encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`the API server does not take objects: ${run.stderr}`);
  }

  /** Waits until its port is free. */
  async stopApi(): Promise<void> {
    const api = this.#api;
    if (api === undefined || api.exitCode !== null || api.signalCode !== null) return;
    const ended = new Promise<void>(resolve => api.once('exit', () => resolve()));
    api.kill('SIGKILL');
    await ended;
  }

  agentCommand(more: readonly string[] = []): readonly string[] {
    const bundle = join(root, 'build/agent.mjs');
    const entry =
      existsSync(bundle) && process.env.CILIATE_TEST_SOURCE !== '1'
        ? bundle
        : join(root, 'packages/agent/src/bin/agent.ts');
    return [
      entry,
      ...['--node-name', this.name, '--k8s-kubeconfig-path', join(this.directory, 'kubeconfig')],
      ...['--state-dir', join(this.directory, 'state'), '--bpf-root', join(this.directory, 'bpf')],
      ...['--cgroup-root', this.#cgroup, '--object-dir', join(root, 'build/bpf')],
      ...(this.#options.devices === '' ? [] : ['--devices', this.#options.devices ?? 'eth0']),
      ...['--cni-conf-dir', join(this.directory, 'net.d')],
      ...(this.#options.agentArguments ?? []),
      ...more,
    ];
  }

  /** Resolves when the agent says that it is ready. */
  async startAgent(more: readonly string[] = []): Promise<void> {
    this.#agent = this.#spawn('agent', this.agentCommand(more));
    for (let tries = 0; tries < 600; tries++) {
      if (this.#agent.exitCode !== null) throw new Error(`the agent has ended: ${this.log()}`);
      const status = await this.get('/v1/healthz').catch(() => undefined);
      if ((status as { ciliate?: { ready?: boolean } } | undefined)?.ciliate?.ready === true) return;
      await delay(50);
    }
    throw new Error(`the agent does not get ready: ${this.log()}`);
  }

  /** Waits until the process is gone. */
  async stopAgent(signal: NodeJS.Signals): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    const ended = new Promise<void>(resolve => agent.once('exit', () => resolve()));
    agent.kill(signal);
    await ended;
  }

  log(): string {
    return readFileSync(join(this.directory, 'agent.log'), 'utf8').slice(-4000);
  }

  addPod(id: string): string {
    sh(`ip netns add ${this.name}-${id}`);
    this.#pods.add(id);
    return `/run/netns/${this.name}-${id}`;
  }

  removePod(id: string): void {
    sh(`ip netns del ${this.name}-${id}`);
    this.#pods.delete(id);
  }

  /** Runs the plugin as a runtime does. */
  plugin(call: PluginCall, input = this.#networkConfig(call)): PluginResult {
    const started = performance.now();
    const run = spawnSync(join(root, 'build/bin/ciliate-cni'), [], {
      input,
      encoding: 'utf8',
      env: this.#pluginEnvironment(call),
    });
    return pluginResult(run.status, run.stdout, started);
  }

  /** The same, beside others. */
  pluginAsync(call: PluginCall): Promise<PluginResult> {
    const started = performance.now();
    const child = spawn(join(root, 'build/bin/ciliate-cni'), [], {
      env: this.#pluginEnvironment(call),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', chunk => chunks.push(chunk));
    child.stdin.end(this.#networkConfig(call));
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', code => resolve(pluginResult(code, Buffer.concat(chunks).toString(), started)));
    });
  }

  #networkConfig(call: PluginCall): string {
    return JSON.stringify({
      cniVersion: '1.1.0',
      name: 'ciliate',
      type: 'ciliate-cni',
      socketPath: this.socketPath,
      stateDir: join(this.directory, 'state'),
      ...call.config,
    });
  }

  #pluginEnvironment(call: PluginCall): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      CNI_COMMAND: call.command,
      CNI_CONTAINERID: call.containerId ?? 'c1',
      CNI_NETNS: call.netns ?? '',
      CNI_IFNAME: call.ifname ?? 'eth0',
      CNI_ARGS: call.args ?? '',
      CNI_PATH: join(root, 'build/bin'),
    };
  }

  async get(path: string): Promise<unknown> {
    return JSON.parse(await this.getText(path));
  }

  getText(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.socketPath, path, agent: false }, response => {
        const chunks: Buffer[] = [];
        response.on('data', chunk => chunks.push(chunk));
        response.on('end', () => resolve(Buffer.concat(chunks).toString()));
      });
      call.on('error', reject);
      call.end();
    });
  }

  /** Leaves nothing, whatever state it is in. */
  async down(): Promise<void> {
    await this.stopAgent('SIGKILL');
    this.#api?.kill('SIGKILL');
    await delay(100);
    for (const id of this.#pods) spawnSync('ip', ['netns', 'del', `${this.name}-${id}`]);
    spawnSync('umount', ['--lazy', join(this.directory, 'bpf')]);
    spawnSync('/bin/sh', ['-c', `umount --lazy ${this.directory}/state/netns/* 2>/dev/null`]);
    spawnSync('ip', ['netns', 'del', this.name]);
    spawnSync('rmdir', [this.#cgroup]);
    rmSync(this.directory, { recursive: true, force: true });
  }

  #inside(command: string): string {
    return `nsenter --net=${this.netns} ${command}`;
  }

  #spawn(name: string, argv: readonly string[]): ChildProcess {
    const log = openSync(join(this.directory, `${name}.log`), 'a');
    return spawn('nsenter', [`--net=${this.netns}`, process.execPath, ...argv], { stdio: ['pipe', log, log] });
  }
}
