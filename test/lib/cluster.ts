/**
 * A sandbox for tests, driven as a user would: the `ciliate` command and the real kubectl, in child processes.
 * Each has a name of its own, so that it stands beside a user's sandbox; `down` runs in the test's `after`.
 */
import { type ChildProcessByStdio, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

const root = join(import.meta.dirname, '../..');

export interface ClusterOptions {
  readonly name: string;
  readonly routing?: 'vxlan' | 'native';
  readonly nodes?: number;
  readonly ipam?: 'kubernetes' | 'cluster-pool';
  /** 'name=value' for every agent. */
  readonly agentOptions?: readonly string[];
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function outcome(run: SpawnSyncReturns<string>): Outcome {
  return { code: run.status ?? 255, stdout: run.stdout, stderr: `${run.stderr}${run.error?.message ?? ''}` };
}

/** Runs a command and gives its outcome without blocking the event loop of a test that serves something meanwhile. */
export function run(
  command: string,
  args: readonly string[],
  options: { readonly timeout?: number; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  return new Promise(resolve => {
    const child = spawn(command, [...args], {
      cwd: root,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeout ?? 60_000,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', chunk => {
      stdout += String(chunk);
    });
    child.stderr.on('data', chunk => {
      stderr += String(chunk);
    });
    child.on('error', error => resolve({ code: 255, stdout, stderr: `${stderr}${error.message}` }));
    child.on('close', code => resolve({ code: code ?? 255, stdout, stderr }));
  });
}

export class Cluster {
  readonly name: string;
  readonly #options: ClusterOptions;
  readonly #env: NodeJS.ProcessEnv;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.name = options.name;
    this.#env = {
      ...process.env,
      CILIATE_SANDBOX: options.name,
      KUBECONFIG: join('/run/ciliate', options.name, 'kubeconfig'),
    };
  }

  /** Blocks until nodes are Ready and cluster DNS runs. Throws with the output when it does not come up. */
  up(): void {
    const { routing = 'vxlan', nodes = 2, ipam = 'kubernetes', agentOptions = [] } = this.#options;
    const args = ['sandbox', 'up', '--detach', '--routing', routing, '--nodes', String(nodes), '--ipam', ipam];
    args.push(...agentOptions.flatMap(option => ['--agent-option', option]));
    const result = this.ciliateSync(args, 180_000);
    if (result.code !== 0) throw new Error(`sandbox up failed (${result.code}):\n${result.stdout}\n${result.stderr}`);
  }

  down(): Outcome {
    return this.ciliateSync(['sandbox', 'down'], 120_000);
  }

  ciliateSync(args: readonly string[], timeout = 60_000): Outcome {
    return outcome(
      spawnSync(join(root, 'ciliate'), [...args], { cwd: root, env: this.#env, encoding: 'utf8', timeout }),
    );
  }

  /** `ciliate …` of this sandbox. */
  ciliate(...args: readonly string[]): Promise<Outcome> {
    return run(join(root, 'ciliate'), args, { env: this.#env });
  }

  /** Runs a command in 'outside', 'node-1' or 'pod/NAMESPACE/NAME'. */
  exec(target: string, ...argv: readonly string[]): Promise<Outcome> {
    return this.ciliate('sandbox', 'exec', target, '--', ...argv);
  }

  /** A command in a target that goes on; to be killed by who started it. */
  start(target: string, ...argv: readonly string[]): ChildProcessByStdio<null, Readable, null> {
    return spawn(join(root, 'ciliate'), ['sandbox', 'exec', target, '--', ...argv], {
      cwd: root,
      env: this.#env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  /** As exec, with a timeout (ms) of its own. */
  execLong(target: string, timeout: number, ...argv: readonly string[]): Promise<Outcome> {
    const args = ['sandbox', 'exec', target, '--', ...argv];
    return run(join(root, 'ciliate'), args, { env: this.#env, timeout });
  }

  kubectl(...args: readonly string[]): Promise<Outcome> {
    return run('kubectl', args, { env: this.#env, timeout: 120_000 });
  }

  /** kubectl that must succeed; its output, trimmed. */
  async kube(...args: readonly string[]): Promise<string> {
    const result = await this.kubectl(...args);
    if (result.code !== 0)
      throw new Error(`kubectl ${args.join(' ')}: exit ${result.code}\n${result.stdout}${result.stderr}`);
    return result.stdout.trim();
  }

  async apply(manifest: string): Promise<void> {
    const file = join(tmpdir(), `ciliate-${this.name}-${process.pid}-${Math.random().toString(36).slice(2)}.yaml`);
    writeFileSync(file, manifest);
    try {
      await this.kube('apply', '-f', file);
    } finally {
      rmSync(file, { force: true });
    }
  }
}

/** Asks until `probe` gives something; throws with `what` and the last error after `timeout` ms. */
export async function eventually<T>(what: string, probe: () => Promise<T | undefined>, timeout = 60_000): Promise<T> {
  const end = Date.now() + timeout;
  let last = '';
  while (Date.now() < end) {
    try {
      const result = await probe();
      if (result !== undefined) return result;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    await new Promise(resolve => setTimeout(resolve, 250));
  }
  throw new Error(`gave up after ${timeout} ms: ${what}${last === '' ? '' : `; last: ${last}`}`);
}
