/** Our peer: an agent on node A of a topology, fed by an API server that holds the services. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { nodeIp, sh, type Topology } from './topology.ts';

const root = join(import.meta.dirname, '../..');
const apiPort = 18_443;

export type Objects = Readonly<Record<string, readonly object[]>>;

function cgroupRoot(): string {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  return mounts.map(line => line.split(' ')).find(fields => fields[2] === 'cgroup2')?.[1] ?? '/sys/fs/cgroup';
}

export const nodeObjects: readonly object[] = [
  {
    metadata: { name: 'node-a' },
    spec: { podCIDRs: ['10.1.1.0/24'] },
    status: { addresses: [{ type: 'InternalIP', address: nodeIp }] },
  },
  {
    metadata: { name: 'node-b' },
    spec: { podCIDRs: ['10.1.2.0/24'] },
    status: { addresses: [{ type: 'InternalIP', address: '192.168.77.2' }] },
  },
];

export class AgentPeer {
  readonly #topology: Topology;
  readonly #directory: string;
  readonly #cgroup: string;
  #api: ChildProcess | undefined;
  #agent: ChildProcess | undefined;
  #sent: (line: string) => void = () => undefined;
  #arguments: readonly string[] = [];

  constructor(topology: Topology) {
    this.#topology = topology;
    this.#directory = `/tmp/${topology.prefix}agent`;
    this.#cgroup = join(cgroupRoot(), `${topology.prefix}agent`);
  }

  get bpfRoot(): string {
    return join(this.#directory, 'bpf');
  }

  get pid(): number {
    return this.#agent?.pid ?? 0;
  }

  /** Resolves to the milliseconds from the start of the agent's process until it is ready. */
  async up(objects: Objects, agentArguments: readonly string[] = []): Promise<number> {
    mkdirSync(this.bpfRoot, { recursive: true });
    mkdirSync(this.#cgroup, { recursive: true });
    sh(`mount -t bpf none ${this.bpfRoot}`);
    this.#arguments = agentArguments;
    await this.#startApi({
      '/api/v1/nodes': nodeObjects,
      '/api/v1/namespaces': [{ metadata: { name: 'default', labels: {} } }],
      ...objects,
    });
    return this.startAgent();
  }

  async #startApi(objects: Objects): Promise<void> {
    const server = { server: `http://127.0.0.1:${apiPort}` };
    writeFileSync(
      join(this.#directory, 'kubeconfig'),
      JSON.stringify({
        'current-context': 'bench',
        contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
        clusters: [{ name: 'bench', cluster: server }],
        users: [{ name: 'bench', user: {} }],
      }),
    );
    const api = this.#spawn('api', [process.execPath, join(root, 'bench/services/feed-api.ts'), String(apiPort)]);
    this.#api = api;
    if (api.stdout === null) throw new Error('the API server has no output');
    createInterface({ input: api.stdout }).on('line', line => this.#sent(line));
    const ready = new Promise<string>(resolve => {
      this.#sent = resolve;
    });
    api.stdin?.write(`${JSON.stringify({ objects })}\n`);
    await ready;
    await delay(200);
  }

  async startAgent(): Promise<number> {
    const started = performance.now();
    this.#agent = this.#spawn('agent', [
      join(root, 'build/bin/ciliate-agent'),
      ...['--node-name', 'node-a', '--k8s-kubeconfig-path', join(this.#directory, 'kubeconfig')],
      ...['--state-dir', join(this.#directory, 'state'), '--bpf-root', this.bpfRoot],
      ...['--cgroup-root', this.#cgroup, '--object-dir', join(root, 'build/bpf'), '--devices', 'eth0'],
      ...['--cni-conf-dir', join(this.#directory, 'net.d'), '--enable-health-checking=false'],
      ...['--routing-mode', 'native', '--auto-direct-node-routes=true', '--enable-ipv6=false'],
      ...this.#arguments,
    ]);
    this.#agent.stdout?.resume();
    for (let tries = 0; tries < 1200; tries += 1) {
      if (this.#agent.exitCode !== null) throw new Error(`the agent has ended: ${this.log()}`);
      const status = await this.get('/v1/healthz').catch(() => undefined);
      if ((status as { ciliate?: { ready?: boolean } } | undefined)?.ciliate?.ready === true)
        return performance.now() - started;
      await delay(25);
    }
    throw new Error(`the agent does not get ready: ${this.log()}`);
  }

  async stopAgent(): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    const ended = new Promise<void>(resolve => agent.once('exit', () => resolve()));
    agent.kill('SIGKILL');
    await ended;
  }

  log(): string {
    return readFileSync(join(this.#directory, 'agent.log'), 'utf8').slice(-3000);
  }

  /** Adds the namespace as a pod; gives its IPv4 address. */
  addPod(name: string, netns: string): string {
    const run = spawnSync(join(root, 'build/bin/ciliate-cni'), [], {
      input: JSON.stringify({
        cniVersion: '1.1.0',
        name: 'ciliate',
        type: 'ciliate-cni',
        socketPath: join(this.#directory, 'state/ciliate.sock'),
        stateDir: join(this.#directory, 'state'),
      }),
      encoding: 'utf8',
      env: {
        PATH: process.env.PATH ?? '',
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: name,
        CNI_NETNS: netns,
        CNI_IFNAME: 'eth0',
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
        CNI_PATH: join(root, 'build/bin'),
      },
    });
    if (run.status !== 0) throw new Error(`CNI ADD of ${name}: ${run.stdout}${run.stderr}`);
    const { ips }: { ips: readonly { address: string }[] } = JSON.parse(run.stdout);
    return ips[0]?.address.split('/')[0] ?? '';
  }

  /** The argv that runs a command as a process of a pod: its sockets are balanced. */
  inCgroup(argv: readonly string[]): readonly string[] {
    return ['sh', '-c', `echo $$ > ${this.#cgroup}/cgroup.procs; exec "$@"`, 'sh', ...argv];
  }

  /** An event on the watch of slices. Resolves to when it was sent, in nanoseconds of CLOCK_MONOTONIC. */
  changeSlice(object: object): Promise<bigint> {
    return this.#tell({ type: 'MODIFIED', object });
  }

  /** Many new objects, by the path of their collection, as events on its watch. Resolves to when the first was sent. */
  addObjects(add: Objects): Promise<bigint> {
    return this.#tell({ add });
  }

  async #tell(step: object): Promise<bigint> {
    const line = new Promise<string>(resolve => {
      this.#sent = resolve;
    });
    this.#api?.stdin?.write(`${JSON.stringify(step)}\n`);
    return BigInt((await line).split(' ')[1] ?? '0');
  }

  rssBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  }

  /** What the kernel charges for all maps of the node. */
  mapBytes(): number {
    const { stdout } = spawnSync(
      'sh',
      ['-c', `for pin in ${this.bpfRoot}/ciliate/maps/*; do bpftool -j map show pinned $pin; echo; done`],
      { encoding: 'utf8' },
    );
    const maps = stdout.split('\n').filter(line => line.startsWith('{'));
    return maps.reduce((sum, line) => sum + ((JSON.parse(line) as { bytes_memlock?: number }).bytes_memlock ?? 0), 0);
  }

  get(path: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const socketPath = join(this.#directory, 'state/ciliate.sock');
      const call = request({ socketPath, path, agent: false }, response => {
        const chunks: Buffer[] = [];
        response.on('data', chunk => chunks.push(chunk));
        response.on('end', () => {
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString()));
          } catch (error) {
            reject(error);
          }
        });
      });
      call.on('error', reject);
      call.end();
    });
  }

  /** Leaves nothing, whatever state it is in. Before the topology goes. */
  async down(): Promise<void> {
    await this.stopAgent();
    this.#api?.kill('SIGKILL');
    if (!existsSync(this.#directory)) return;
    spawnSync('umount', ['--lazy', this.bpfRoot], { stdio: 'ignore' });
    spawnSync('sh', ['-c', `umount --lazy ${this.#directory}/state/netns/* 2>/dev/null`]);
    await delay(100);
    spawnSync('rmdir', [this.#cgroup], { stdio: 'ignore' });
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #spawn(name: string, argv: readonly string[]): ChildProcess {
    const log = openSync(join(this.#directory, `${name}.log`), 'a');
    const [command = '', ...args] = this.#topology.at('node-a', argv);
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', log] });
    closeSync(log);
    return child;
  }
}
